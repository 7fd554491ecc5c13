/* test_sized.c - structs of callers that are shorter, equal or longer than ours
 * SPDX-License-Identifier: MIT */
#include "unit.h"

#include "base/sized.h"

struct options {
    size_t struct_size;
    uint64_t old, new;
};

struct older_options {
    size_t struct_size;
    uint64_t old;
};

struct later_options {
    struct options known;
    uint64_t unknown;
};

static void missing_options_are_defaults(void **state)
{
    struct options o = { sizeof(o), 1, 2 };

    (void)state;
    assert_int_equal(qcbmi_take_options(&o, sizeof(o), NULL, NULL), 0);
    assert_int_equal(o.old, 1);
    assert_int_equal(o.new, 2);
}

static void older_callers_set_what_they_know(void **state)
{
    struct options o = { sizeof(o), 1, 2 };
    struct older_options *from = malloc(sizeof(*from)); /* alone, for the sanitizer */

    (void)state;
    assert_non_null(from);
    from->struct_size = sizeof(*from);
    from->old = 7;
    assert_int_equal(qcbmi_take_options(&o, sizeof(o), from, NULL), 0);
    assert_int_equal(o.old, 7);
    assert_int_equal(o.new, 2);
    free(from);
}

static void later_callers_reach_no_further_than_ours(void **state)
{
    struct {
        struct options o;
        uint64_t behind;
    } to = { { sizeof(to.o), 1, 2 }, 3 };
    struct later_options from = { { sizeof(from), 7, 8 }, 9 };

    (void)state;
    assert_int_equal(qcbmi_take_options(&to.o, sizeof(to.o), &from, NULL), QCBM_E_UNSUPPORTED);
    assert_int_equal(to.o.old, 1); /* all or nothing */
    from.unknown = 0;
    assert_int_equal(qcbmi_take_options(&to.o, sizeof(to.o), &from, NULL), 0);
    assert_int_equal(to.o.old, 7);
    assert_int_equal(to.o.new, 8);
    assert_int_equal(to.behind, 3);
}

static void results_are_cut_to_the_caller(void **state)
{
    const uint32_t ours[2] = { 1, 2 };
    uint32_t to[4] = { 9, 9, 9, 9 };
    static const uint32_t longer[4] = { 1, 2, 0, 9 }, shorter[4] = { 1, 9, 9, 9 };

    (void)state;
    qcbmi_give(to, 12, ours, sizeof(ours));
    assert_memory_equal(to, longer, sizeof(to));
    memset(to, 0, sizeof(to));
    to[1] = to[2] = to[3] = 9;
    qcbmi_give(to, 4, ours, sizeof(ours));
    assert_memory_equal(to, shorter, sizeof(to));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(missing_options_are_defaults),
        cmocka_unit_test(older_callers_set_what_they_know),
        cmocka_unit_test(later_callers_reach_no_further_than_ours),
        cmocka_unit_test(results_are_cut_to_the_caller),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
