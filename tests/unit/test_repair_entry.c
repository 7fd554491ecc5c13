/* test_repair_entry.c - what becomes of a damaged entry: flags that mean nothing go, what is lost reads as zeros
 * SPDX-License-Identifier: MIT */
#include "unit.h"

#include "repair/repair_entry.h"

#define OFF UINT64_C(0x50000)
#define GUEST UINT64_C(0x30000)
#define ZEROS (UINT64_C(0xffffffff) << 32)

static struct q2_geometry g;

static bool is_own(const void *opaque, uint64_t off)
{
    (void)opaque;
    return off == OFF;
}

static struct qcbmi_mend_rules rules(uint32_t version, bool extended, bool backing)
{
    struct q2_header h = { .version = version, .cluster_bits = 16, .size = UINT64_C(1) << 30, .refcount_order = 4 };

    h.incompatible = extended ? QCBM_INCOMPAT_EXTENDED_L2 : 0;
    q2_geometry_derive(&h, &g);
    return (struct qcbmi_mend_rules){ .g = &g, .file_len = UINT64_C(0x100000), .backing = backing, .is_own = is_own };
}

static void mends(const struct qcbmi_mend_rules *r, uint64_t raw, uint64_t word, enum qcbmi_mend how, uint64_t new_raw,
                  uint64_t new_word)
{
    assert_int_equal(qcbmi_mend_l2(r, GUEST, false, &raw, &word), how);
    assert_true(raw == new_raw);
    assert_true(word == new_word);
    assert_int_equal(qcbmi_mend_l2(r, GUEST, false, &raw, &word), how == QCBMI_MEND_LEFT ? how : QCBMI_MEND_NONE);
}

static void sound_entries_stay(void **state)
{
    struct qcbmi_mend_rules r = rules(3, false, true);

    (void)state;
    mends(&r, 0, 0, QCBMI_MEND_NONE, 0, 0);
    mends(&r, OFF | Q2_ENTRY_COPIED, 0, QCBMI_MEND_NONE, OFF | Q2_ENTRY_COPIED, 0);
    mends(&r, Q2_L2_ZERO, 0, QCBMI_MEND_NONE, Q2_L2_ZERO, 0);
    mends(&r, Q2_L2_COMPRESSED | 0x50123, 0, QCBMI_MEND_NONE, Q2_L2_COMPRESSED | 0x50123, 0);
}

static void flags_that_mean_nothing_go(void **state)
{
    struct qcbmi_mend_rules r = rules(3, false, true);

    (void)state;
    mends(&r, OFF | UINT64_C(0x10), 0, QCBMI_MEND_SAME, OFF, 0);
    mends(&r, OFF | UINT64_C(1) << 60, 0, QCBMI_MEND_SAME, OFF, 0);
    mends(&r, Q2_L2_COMPRESSED | Q2_ENTRY_COPIED | 0x50123, 0, QCBMI_MEND_SAME, Q2_L2_COMPRESSED | 0x50123, 0);
    r = rules(3, true, true);
    mends(&r, Q2_L2_COMPRESSED | 0x50123, 7, QCBMI_MEND_SAME, Q2_L2_COMPRESSED | 0x50123, 0);
    mends(&r, Q2_L2_COMPRESSED | OFF, 7, QCBMI_MEND_FOUND, OFF, 7); /* the refcount knows of a cluster there */
}

static void an_offset_is_put_straight_where_a_refcount_knows_of_it(void **state)
{
    struct qcbmi_mend_rules r = rules(3, false, true);

    (void)state;
    mends(&r, OFF | 0x200 | Q2_ENTRY_COPIED, 0, QCBMI_MEND_FOUND, OFF | Q2_ENTRY_COPIED, 0);
    mends(&r, (OFF + 0x10000) | 0x200, 0, QCBMI_MEND_LOST, Q2_L2_ZERO, 0);
}

static void what_is_lost_reads_as_zeros(void **state)
{
    struct qcbmi_mend_rules r = rules(3, false, true);

    (void)state;
    mends(&r, UINT64_C(0x100000), 0, QCBMI_MEND_LOST, Q2_L2_ZERO, 0);
    r.to_backing = true;
    mends(&r, UINT64_C(0x100000), 0, QCBMI_MEND_LOST, 0, 0);
    r = rules(3, false, false);
    mends(&r, UINT64_C(0x100000), 0, QCBMI_MEND_LOST, 0, 0);
    r = rules(3, true, true);
    mends(&r, UINT64_C(0x100000), 0xff, QCBMI_MEND_LOST, 0, ZEROS);
}

static void version_2_cannot_say_zeros(void **state)
{
    struct qcbmi_mend_rules r = rules(2, false, true);

    (void)state;
    mends(&r, UINT64_C(0x100000), 0, QCBMI_MEND_LEFT, UINT64_C(0x100000), 0);
    mends(&r, OFF | Q2_L2_ZERO, 0, QCBMI_MEND_FOUND, OFF, 0);
    r = rules(2, false, false);
    mends(&r, UINT64_C(0x100000), 0, QCBMI_MEND_LOST, 0, 0);
}

static void zeros_with_a_bad_place_stay_zeros(void **state)
{
    struct qcbmi_mend_rules r = rules(3, false, true);

    (void)state;
    mends(&r, UINT64_C(0x100000) | Q2_L2_ZERO, 0, QCBMI_MEND_SAME, Q2_L2_ZERO, 0);
    mends(&r, UINT64_C(0x60200) | Q2_L2_ZERO, 0, QCBMI_MEND_SAME, Q2_L2_ZERO, 0);
}

static void of_subclusters_that_are_both_the_data_stays(void **state)
{
    struct qcbmi_mend_rules r = rules(3, true, true);

    (void)state;
    mends(&r, OFF, UINT64_C(0x0000000f000000f9), QCBMI_MEND_FOUND, OFF, UINT64_C(0x00000006000000f9));
    mends(&r, 0, UINT64_C(0x0000000f000000f0), QCBMI_MEND_LOST, 0, UINT64_C(0x000000ff00000000));
    r.to_backing = true;
    mends(&r, 0, UINT64_C(0x0000000f000000f0), QCBMI_MEND_LOST, 0, UINT64_C(0x0000000f00000000));
}

static void l1_mends(const struct qcbmi_mend_rules *r, bool give_up, uint64_t raw, enum qcbmi_mend how, uint64_t now)
{
    assert_int_equal(qcbmi_mend_l1(r, give_up, &raw), how);
    assert_true(raw == now);
}

static void l1_entries(void **state)
{
    struct qcbmi_mend_rules r = rules(3, false, true);

    (void)state;
    l1_mends(&r, true, 0, QCBMI_MEND_NONE, 0);
    l1_mends(&r, false, OFF | Q2_ENTRY_COPIED, QCBMI_MEND_NONE, OFF | Q2_ENTRY_COPIED);
    l1_mends(&r, true, OFF | Q2_ENTRY_COPIED, QCBMI_MEND_LOST, 0);
    l1_mends(&r, false, OFF | 1, QCBMI_MEND_SAME, OFF);
    l1_mends(&r, false, Q2_ENTRY_COPIED, QCBMI_MEND_SAME, 0);
    l1_mends(&r, false, OFF | 0x200, QCBMI_MEND_FOUND, OFF);
    l1_mends(&r, false, UINT64_C(0x60200), QCBMI_MEND_LOST, 0);
    l1_mends(&r, false, UINT64_C(0x100000), QCBMI_MEND_LOST, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sound_entries_stay),
        cmocka_unit_test(flags_that_mean_nothing_go),
        cmocka_unit_test(an_offset_is_put_straight_where_a_refcount_knows_of_it),
        cmocka_unit_test(what_is_lost_reads_as_zeros),
        cmocka_unit_test(version_2_cannot_say_zeros),
        cmocka_unit_test(zeros_with_a_bad_place_stay_zeros),
        cmocka_unit_test(of_subclusters_that_are_both_the_data_stays),
        cmocka_unit_test(l1_entries),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
