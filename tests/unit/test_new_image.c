/* test_new_image.c - which parts of a new image have references, so that no refcount block is written for the others
 * SPDX-License-Identifier: MIT */
#include "unit.h"

#include "write/new_image.h"

static void parts_without_a_reference_are_not_used(void **state)
{
    struct qcbmi_counts counts;
    struct qcbmi_new_image n = { .counts = &counts, .first_meta = 9000 };

    (void)state;
    assert_int_equal(qcbmi_counts_init(&counts, 0, 10000, NULL), 0);
    assert_int_equal(qcbmi_counts_add(&counts, 100, 1, 1, 10, &(uint64_t){ 0 }, NULL), 0);
    assert_int_equal(qcbmi_counts_add(&counts, 5000, 1, 2, 10, &(uint64_t){ 0 }, NULL), 0);
    assert_int_equal(qcbmi_counts_add(&counts, 9500, 1, 1, 10, &(uint64_t){ 0 }, NULL), 0);
    assert_false(qcbmi_new_is_used(&n, 0, 100));
    assert_true(qcbmi_new_is_used(&n, 0, 101));
    assert_true(qcbmi_new_is_used(&n, 100, 101));
    assert_false(qcbmi_new_is_used(&n, 101, 5000));
    assert_true(qcbmi_new_is_used(&n, 101, 5001)); /* one that is shared, and no other */
    assert_false(qcbmi_new_is_used(&n, 5001, 9000));
    assert_false(qcbmi_new_is_used(&n, 5001, 10000)); /* metadata is counted by who places it */
    assert_false(qcbmi_new_is_used(&n, 9000, 10000));
    assert_false(qcbmi_new_is_used(&n, 100, 100));
    qcbmi_counts_free(&counts);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts_without_a_reference_are_not_used),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
