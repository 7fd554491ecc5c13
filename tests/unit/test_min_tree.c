/* test_min_tree.c - the first small number, and the least of the first so many, beside a loop
 * SPDX-License-Identifier: MIT */
#include "unit.h"

#include "base/min_tree.h"

static uint64_t naive_before(const uint64_t *v, size_t i)
{
    uint64_t least = UINT64_MAX;

    for (size_t k = 0; k < i; k++)
        least = v[k] < least ? v[k] : least;
    return least;
}

static void answers_are_those_of_a_loop(void **state)
{
    uint64_t values[201] = { 0 }, seed = 1;

    (void)state;
    for (size_t n = 1; n <= 201; n += n < 10 ? 1 : 47) {
        struct qcbmi_min_tree t;

        memset(values, 0, sizeof(values));
        assert_int_equal(qcbmi_min_tree_init(&t, n, NULL), 0);
        assert_int_equal(qcbmi_min_tree_first(&t, 0), 0);
        for (unsigned round = 0; round < 2000; round++) {
            size_t i, first = 0;
            uint64_t limit;

            seed = seed * UINT64_C(6364136223846793005) + 1;
            i = (size_t)(seed >> 40) % n;
            values[i] = round % 50 == 0 ? UINT64_MAX : seed >> 20 & 1023;
            qcbmi_min_tree_set(&t, i, values[i]);
            limit = seed >> 30 & 1023;
            while (first < n && values[first] > limit)
                first++;
            if (first < n)
                assert_int_equal(qcbmi_min_tree_first(&t, limit), first);
            else
                assert_true(qcbmi_min_tree_first(&t, limit) >= n);
            assert_true(qcbmi_min_tree_before(&t, i) == naive_before(values, i));
            assert_true(qcbmi_min_tree_before(&t, n - 1) == naive_before(values, n - 1));
        }
        qcbmi_min_tree_free(&t);
    }
}

static void free_takes_a_zeroed_struct(void **state)
{
    struct qcbmi_min_tree t = { 0 };

    (void)state;
    qcbmi_min_tree_free(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_are_those_of_a_loop),
        cmocka_unit_test(free_takes_a_zeroed_struct),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
