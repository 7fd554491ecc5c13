/* test_alloc.c - allocation helpers at their edges
 * SPDX-License-Identifier: MIT */
#include "unit.h"

#include "base/alloc.h"

static void array_is_zeroed_and_never_null(void **state)
{
    uint32_t *p = qcbmi_alloc_array(1000, sizeof(*p), NULL);

    (void)state;
    assert_non_null(p);
    for (size_t i = 0; i < 1000; i++)
        assert_int_equal(p[i], 0);
    free(p);
    p = qcbmi_alloc_array(0, sizeof(*p), NULL);
    assert_non_null(p);
    free(p);
}

static void array_that_cannot_be_fails(void **state)
{
    static const struct {
        uint64_t n;
        size_t size;
    } cases[] = {
        { UINT64_MAX, 1 },
        { UINT64_MAX, 8 },
        { UINT64_C(1) << 61, 8 },       /* 2^64: the product overflows to 0 */
        { (UINT64_C(1) << 61) + 1, 8 }, /* ... and to 8 */
        { UINT64_C(1) << 63, 1 },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct qcbm_error err = { 0 };

        assert_null(qcbmi_alloc_array(cases[i].n, cases[i].size, &err));
        assert_failure(err.code, &err, QCBM_E_NOMEM, QCBM_NO_OFFSET, "memory");
    }
}

static void array_grows_and_keeps_its_content(void **state)
{
    uint64_t *items = NULL;
    size_t capacity = 0, moves = 0;

    (void)state;
    for (size_t n = 0; n < 10000; n++) {
        size_t before = capacity;

        assert_int_equal(qcbmi_grow_array(&items, &capacity, n, sizeof(items[0]), NULL), 0);
        assert_true(capacity > n);
        moves += capacity != before;
        items[n] = n;
    }
    for (size_t n = 0; n < 10000; n++)
        assert_int_equal(items[n], n);
    assert_true(moves < 20); /* geometric */
    free(items);
}

static void growth_that_cannot_be_changes_nothing(void **state)
{
    uint64_t *items = NULL;
    size_t capacity = SIZE_MAX / 2 + 1;
    struct qcbm_error err = { 0 };

    (void)state;
    assert_int_equal(qcbmi_grow_array(&items, &capacity, capacity, 8, &err), QCBM_E_NOMEM);
    assert_int_equal(err.code, QCBM_E_NOMEM);
    assert_null(items);
    assert_int_equal(capacity, SIZE_MAX / 2 + 1);
    capacity = SIZE_MAX / 8;
    assert_int_equal(qcbmi_grow_array(&items, &capacity, capacity, 8, &err), QCBM_E_NOMEM);
    assert_null(items);
    assert_int_equal(capacity, SIZE_MAX / 8);
}

static void memdup_adds_a_nul(void **state)
{
    uint8_t *bytes = exact_copy("a\0b", 3);
    char *p = qcbmi_memdup_nul(bytes, 3, NULL);

    (void)state;
    assert_memory_equal(p, "a\0b\0", 4);
    free(p);
    free(bytes);
    p = qcbmi_memdup_nul(NULL, 0, NULL);
    assert_string_equal(p, "");
    free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(array_is_zeroed_and_never_null),
        cmocka_unit_test(array_that_cannot_be_fails),
        cmocka_unit_test(array_grows_and_keeps_its_content),
        cmocka_unit_test(growth_that_cannot_be_changes_nothing),
        cmocka_unit_test(memdup_adds_a_nul),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
