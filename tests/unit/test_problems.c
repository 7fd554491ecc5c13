/* test_problems.c - the one table of problems: a row for each id, codes that are unique and can be typed
 * SPDX-License-Identifier: MIT */
#include "unit.h"

#include "image/problems.h"

static void every_id_has_its_row(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < QCBMI_PROBLEM_COUNT; i++) {
        const struct qcbm_problem *p = qcbm_problem_get(i);

        assert_non_null(p);
        assert_int_equal(p->id, i);
        assert_non_null(p->code);
        assert_true(strlen(p->consequence) > 10 && strlen(p->cure) > 10);
        assert_true(p->severity <= QCBM_CHECK_FAULT && p->repair <= QCBM_REPAIR_BITMAPS);
        assert_true(p->repair == QCBM_REPAIR_NONE ? p->mends <= QCBM_REPAIR_ALL : p->mends == p->repair);
    }
    assert_null(qcbm_problem_get(QCBMI_PROBLEM_COUNT));
    assert_null(qcbm_problem_get(UINT32_MAX));
}

static void codes_are_words_with_dashes_and_come_once(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < QCBMI_PROBLEM_COUNT; i++) {
        const char *code = qcbm_problem_get(i)->code;

        assert_int_equal(strspn(code, "abcdefghijklmnopqrstuvwxyz0123456789-"), strlen(code));
        for (uint32_t k = 0; k < i; k++)
            assert_string_not_equal(code, qcbm_problem_get(k)->code);
    }
}

/* Damage that qemu-img does not see is what check --strict is for; of warnings only some are. */
static void strict_goes_with_the_severity(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < QCBMI_PROBLEM_COUNT; i++) {
        const struct qcbm_problem *p = qcbm_problem_get(i);

        if (p->severity != QCBM_CHECK_WARNING)
            assert_int_equal(p->strict, p->severity == QCBM_CHECK_DAMAGE);
    }
    assert_true(qcbm_problem_get(QCBM_PROBLEM_BITMAP_IN_USE)->strict);
    assert_false(qcbm_problem_get(QCBM_PROBLEM_BITMAP_TAIL_BITS)->strict);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_id_has_its_row),
        cmocka_unit_test(codes_are_words_with_dashes_and_come_once),
        cmocka_unit_test(strict_goes_with_the_severity),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
