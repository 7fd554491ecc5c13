/* test_sort.c - order of 64-bit numbers, and lower bounds beside a loop
 * SPDX-License-Identifier: MIT */
#include "unit.h"

#include "base/sort.h"

struct pair {
    uint64_t key, second;
};

static void compares_over_the_whole_range(void **state)
{
    (void)state;
    assert_true(u64_compare(0, UINT64_MAX) < 0);
    assert_true(u64_compare(UINT64_MAX, 0) > 0);
    assert_true(u64_compare(UINT64_C(1) << 63, (UINT64_C(1) << 63) - 1) > 0);
    assert_int_equal(u64_compare(7, 7), 0);
}

static void sorts_by_the_first_word_then_the_second(void **state)
{
    struct pair v[] = { { 2, 1 }, { UINT64_MAX, 0 }, { 2, 0 }, { 0, 9 }, { 2, UINT64_MAX } };
    static const struct pair sorted[] = { { 0, 9 }, { 2, 0 }, { 2, 1 }, { 2, UINT64_MAX }, { UINT64_MAX, 0 } };
    uint64_t words[] = { 5, UINT64_MAX, 0, 5 };
    static const uint64_t words_sorted[] = { 0, 5, 5, UINT64_MAX };

    (void)state;
    qcbmi_sort(v, ARRAY_LEN(v), sizeof(v[0]), qcbmi_by_two_u64);
    assert_memory_equal(v, sorted, sizeof(v));
    qcbmi_sort(words, ARRAY_LEN(words), sizeof(words[0]), qcbmi_by_u64);
    assert_memory_equal(words, words_sorted, sizeof(words));
    assert_int_equal(qcbmi_by_u64(&v[1], &v[2]), 0); /* the first word alone */
}

static void nothing_is_sorted_without_an_array(void **state)
{
    (void)state;
    qcbmi_sort(NULL, 0, 8, qcbmi_by_u64);
    assert_int_equal(qcbmi_lower_bound_u64(NULL, 0, 8, 3), 0);
}

static size_t naive_bound(const struct pair *v, size_t n, uint64_t key)
{
    size_t i = 0;

    while (i < n && v[i].key < key)
        i++;
    return i;
}

static void lower_bound_is_that_of_a_loop(void **state)
{
    (void)state;
    for (size_t n = 0; n <= 40; n++) {
        struct pair *v = calloc(n ? n : 1, sizeof(*v)); /* of exact length, for the sanitizer */

        assert_non_null(v);
        for (size_t i = 0; i < n; i++)
            v[i].key = 3 * (i / 2); /* each twice, with gaps */
        for (uint64_t key = 0; key < 70; key++)
            assert_int_equal(qcbmi_lower_bound_u64(v, n, sizeof(*v), key), naive_bound(v, n, key));
        assert_int_equal(qcbmi_lower_bound_u64(v, n, sizeof(*v), UINT64_MAX), n);
        free(v);
    }
}

static bool ends_by(const void *elem, const void *off)
{
    const struct pair *range = elem;

    return range->key + range->second <= *(const uint64_t *)off;
}

static void order_may_be_the_callers(void **state)
{
    static const struct pair ranges[] = { { 0, 10 }, { 10, 5 }, { 20, 1 } }; /* offset, length */
    static const struct {
        uint64_t off;
        size_t first_behind;
    } cases[] = { { 0, 0 }, { 9, 0 }, { 10, 1 }, { 14, 1 }, { 15, 2 }, { 20, 2 }, { 21, 3 } };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_int_equal(qcbmi_lower_bound(ranges, ARRAY_LEN(ranges), sizeof(ranges[0]), ends_by, &cases[i].off),
                         cases[i].first_behind);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(compares_over_the_whole_range),      cmocka_unit_test(sorts_by_the_first_word_then_the_second),
        cmocka_unit_test(nothing_is_sorted_without_an_array), cmocka_unit_test(lower_bound_is_that_of_a_loop),
        cmocka_unit_test(order_may_be_the_callers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
