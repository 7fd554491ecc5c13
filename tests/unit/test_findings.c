/* test_findings.c - findings are kept in order, up to a limit that a hostile image cannot pass
 * SPDX-License-Identifier: MIT */
#include "unit.h"

#include "bitmap/findings.h"

static void findings_keep_their_order_and_texts(void **state)
{
    struct qcbmi_findings all = { 0 };

    (void)state;
    qcbmi_finding_add(&all, QCBM_PROBLEM_SNAPSHOT_LOST, 72, UINT32_MAX, "the %s", "first");
    qcbmi_finding_add(&all, QCBM_PROBLEM_SNAPSHOT_TABLE, QCBM_NO_OFFSET, 3, "%d", 2);
    assert_int_equal(all.n, 2);
    assert_ptr_equal(all.list[0].problem, qcbm_problem_get(QCBM_PROBLEM_SNAPSHOT_LOST));
    assert_int_equal(all.list[0].offset, 72);
    assert_int_equal(all.list[0].bitmap, UINT32_MAX);
    assert_string_equal(all.list[0].message, "the first");
    assert_int_equal(all.list[1].bitmap, 3);
    assert_string_equal(all.list[1].message, "2");
    qcbmi_findings_free(&all);
}

static void there_is_a_limit(void **state)
{
    struct qcbmi_findings all = { 0 };

    (void)state;
    for (unsigned i = 0; i < 5000; i++)
        qcbmi_finding_add(&all, QCBM_PROBLEM_SNAPSHOT_LOST, i, 0, "%u", i);
    assert_int_equal(all.n, 4096);
    assert_string_equal(all.list[4095].message, "4095"); /* the first ones stay */
    qcbmi_findings_free(&all);
}

static void a_long_text_is_cut(void **state)
{
    struct qcbmi_findings all = { 0 };

    (void)state;
    qcbmi_finding_add(&all, QCBM_PROBLEM_SNAPSHOT_LOST, 0, 0, "%01000d", 0);
    assert_int_equal(strlen(all.list[0].message), sizeof(all.list[0].message) - 1);
    qcbmi_findings_free(&all);
}

static void free_leaves_a_zeroed_struct(void **state)
{
    struct qcbmi_findings all = { 0 };

    (void)state;
    qcbmi_findings_free(&all);
    qcbmi_finding_add(&all, QCBM_PROBLEM_SNAPSHOT_LOST, 0, 0, "x");
    qcbmi_findings_free(&all);
    assert_null(all.list);
    assert_int_equal(all.n + all.capacity, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(findings_keep_their_order_and_texts),
        cmocka_unit_test(there_is_a_limit),
        cmocka_unit_test(a_long_text_is_cut),
        cmocka_unit_test(free_leaves_a_zeroed_struct),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
