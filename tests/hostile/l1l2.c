/* l1l2.c - one entry of the L1 or of an L2 table is wrong: never a lost byte, never a write
 * SPDX-License-Identifier: MIT */
#include "hostile.h"

/* Synthesising refuses with the first bad entry, and counts it when it is allowed to go on. */
static void expect_damage(const char *name, const struct image_builder *b, uint64_t offset, uint64_t dirty_bytes)
{
    struct qcbm_synth_options opt = QCBM_SYNTH_OPTIONS_INIT;
    struct qcbm_error err = { 0 };
    struct qcbm_image *img = build_open(b, 0);
    struct qcbm_synth_result *r = NULL;
    struct qcbm_synth_summary sum;
    struct qcbm_edit *edit;

    assert_int_equal(qcbm_edit_begin(img, &edit, &err), 0);
    expect(name, qcbm_edit_synth(edit, img, "n", NULL, NULL, &err), &err, QCBM_E_UNSAFE, offset);
    opt.flags = QCBM_SYNTH_ALLOW_DAMAGE;
    opt.granularity = 512;
    expect(name, qcbm_edit_synth(edit, img, "n", &opt, &r, &err), &err, 0, 0);
    qcbm_synth_result_summary(r, &sum, sizeof(sum));
    assert_int_equal(sum.damaged_entries, 1);
    assert_int_equal(sum.dirty_bytes, dirty_bytes);
    qcbm_synth_result_free(r);
    qcbm_edit_free(edit);
    qcbm_close(img);
}

/* 64 KiB in clusters of 4 KiB, data in the first; the entry of the second is set. */
static void l2_entries(void **state)
{
    static const struct {
        const char *name;
        uint64_t raw;
        bool plan_too; /* a bitmap cannot be written beside it */
    } cases[] = {
        { "unaligned", COPIED | 0x1200, true },
        { "past the end", COPIED | FAR, true },
        { "at the largest offset", UINT64_C(0x00fffffffffff000), true },
        { "reserved bit 1", 2, true },
        { "reserved bit 56", UINT64_C(1) << 56, true },
        { "all ones", UINT64_MAX, true },
        { "zero with an unaligned offset", 0x1201, true },
        { "compressed and COPIED", COPIED | BUILD_COMPRESSED | 0x1000, true },
        { "compressed past the end", BUILD_COMPRESSED | FAR, true },
        { "compressed with more than is there", BUILD_COMPRESSED | UINT64_C(0xf) << 58 | 0x4f00, true },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct build_options opt = { .size = KIB(64), .cluster_bits = 12, .backing = "base" };
        struct image_builder b;
        uint64_t at;

        build_start(&b, &opt);
        build_data(&b, 0);
        build_map(&b, KIB(4), cases[i].raw, 0);
        at = build_l2_entry(&b, KIB(4));
        build_finish(&b);
        expect_damage(cases[i].name, &b, at, KIB(8));
        expect_plan(cases[i].name, &b, cases[i].plan_too ? QCBM_E_UNSAFE : 0, at);
        build_free(&b);
    }
}

static void subcluster_words(void **state)
{
    static const struct {
        const char *name;
        uint64_t raw, word;
    } cases[] = {
        { "allocated and zero", COPIED | 0x4000, 1 | UINT64_C(1) << 32 },
        { "allocated without a cluster", 0, 1u << 31 },
        { "compressed with a word", BUILD_COMPRESSED | 0x4000, 1 },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct build_options opt = { .size = KIB(256), .cluster_bits = 14, .extended_l2 = true };
        struct image_builder b;
        uint64_t at;

        build_start(&b, &opt);
        build_data(&b, 0);
        build_map(&b, KIB(16), cases[i].raw, cases[i].word);
        at = build_l2_entry(&b, KIB(16));
        build_finish(&b);
        expect_damage(cases[i].name, &b, at, KIB(32));
        expect_plan(cases[i].name, &b, QCBM_E_UNSAFE, at);
        build_free(&b);
    }
}

static void entries_of_a_data_file(void **state)
{
    static const uint64_t bad[] = { COPIED | 0x3000, COPIED, BUILD_COMPRESSED | 0x1000 };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct build_options opt = { .size = KIB(64), .cluster_bits = 12, .data_file = "d" };
        struct image_builder b;
        uint64_t at;

        build_start(&b, &opt);
        build_map(&b, 0, COPIED, 0);
        build_map(&b, KIB(4), bad[i], 0);
        at = build_l2_entry(&b, KIB(4));
        build_finish(&b);
        expect_damage("data file", &b, at, KIB(8));
        expect_plan("data file", &b, 0, 0); /* the data is elsewhere: nothing here is in the way */
        build_free(&b);
    }
}

static void zero_flag_in_version_2(void **state)
{
    struct build_options opt = { .size = KIB(64), .version = 2 };
    struct build_options into = { .size = KIB(64) };
    struct image_builder b, target;
    struct qcbm_image *overlay, *img;
    struct qcbm_error err = { 0 };
    struct qcbm_edit *edit;

    (void)state;
    build_start(&b, &opt);
    build_map(&b, KIB(4), 1, 0);
    build_finish(&b);
    build_start(&target, &into);
    build_finish(&target);
    overlay = build_open(&b, 0);
    img = build_open(&target, 0);
    assert_int_equal(qcbm_edit_begin(img, &edit, NULL), 0);
    expect("version 2", qcbm_edit_synth(edit, overlay, "n", NULL, NULL, &err), &err, QCBM_E_UNSAFE,
           build_l2_entry(&b, KIB(4)));
    qcbm_edit_free(edit);
    qcbm_close(img);
    qcbm_close(overlay);
    build_free(&b);
    build_free(&target);
}

/* 4 MiB in clusters of 4 KiB: two L1 entries, the second is set. */
static void l1_entries(void **state)
{
    static const struct {
        const char *name;
        uint64_t raw;
        int plan_code;
    } cases[] = {
        { "unaligned", COPIED | 0x1200, QCBM_E_UNSAFE },
        { "reserved bit 0", 1, QCBM_E_UNSAFE },
        { "reserved bit 62", UINT64_C(1) << 62, QCBM_E_UNSAFE },
        { "all ones", UINT64_MAX, QCBM_E_UNSAFE },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct build_options opt = { .size = KIB(4096), .cluster_bits = 12, .backing = "base" };
        struct image_builder b;

        build_start(&b, &opt);
        build_data(&b, 0);
        build_finish(&b);
        be64_store(b.bytes + b.l1 + 8, cases[i].raw);
        expect_damage(cases[i].name, &b, b.l1 + 8, KIB(4) + KIB(2048));
        expect_plan(cases[i].name, &b, cases[i].plan_code, b.l1 + 8);
        build_free(&b);
    }
}

/* Offset 0 with COPIED: QEMU reads no table there, and takes the header for the image's own table when it writes. In an
 * L2 table such an entry is unallocated for QEMU, whatever it does. */
static void copied_entries_without_an_offset(void **state)
{
    struct build_options opt = { .size = KIB(4096), .cluster_bits = 12, .backing = "base" };
    struct image_builder b;

    (void)state;
    build_start(&b, &opt);
    build_data(&b, 0);
    build_snapshot(&b, "1", "s");
    build_map(&b, KIB(4), COPIED, 0);
    build_finish(&b);
    expect_plan("L2 entry", &b, 0, 0);
    be64_store(b.bytes + b.l1 + 8, COPIED);
    expect_plan("L1 entry", &b, QCBM_E_UNSAFE, b.l1 + 8);
    be64_store(b.bytes + b.l1 + 8, 0);
    be64_store(b.bytes + b.snapshots[0].l1 + 8, COPIED);
    expect_plan("L1 entry of a snapshot", &b, QCBM_E_UNSAFE, b.snapshots[0].l1 + 8);
    build_free(&b);
}

/* Refcount table and bitmap tables have no COPIED bit; an entry of it alone is a reserved bit. */
static void copied_entries_of_other_tables(void **state)
{
    struct build_options opt = { .size = KIB(64), .cluster_bits = 12 };
    struct image_builder b;

    (void)state;
    build_start(&b, &opt);
    build_bitmap(&b, "a", 9, 2, NULL, 0);
    build_finish(&b);
    be64_store(b.bytes + b.bitmaps[0].table, COPIED);
    expect_plan("bitmap table", &b, QCBM_E_UNSAFE, b.bitmaps[0].table);
    be64_store(b.bytes + b.bitmaps[0].table, 0);
    be64_store(b.bytes + b.reftable + 8, COPIED);
    expect_plan("refcount table", &b, QCBM_E_UNSAFE, b.reftable + 8);
    build_free(&b);
}

static void an_l2_table_past_the_end(void **state)
{
    static const uint64_t raws[] = { COPIED | FAR, UINT64_C(0x00fffffffffff000) };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(raws); i++) {
        struct build_options opt = { .size = KIB(4096), .cluster_bits = 12, .backing = "base" };
        struct image_builder b;

        build_start(&b, &opt);
        build_data(&b, 0);
        build_finish(&b);
        be64_store(b.bytes + b.l1 + 8, raws[i]);
        expect_damage("past the end", &b, b.l1 + 8, KIB(4) + KIB(2048));
        build_free(&b);
    }
}

static void an_l1_table_past_the_end(void **state)
{
    struct build_options opt = { .size = KIB(64) };
    struct image_builder b;
    struct qcbm_image *img;
    struct qcbm_error err = { 0 };

    (void)state;
    build_start(&b, &opt);
    build_finish(&b);
    be64_store(b.bytes + 40, FAR);
    img = build_open(&b, QCBM_OPEN_WRITE); /* it can be looked at */
    expect("L1", qcbm_synth(img, "n", NULL, NULL, &err), &err, QCBM_E_CORRUPT, 40);
    qcbm_close(img);
    build_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(l2_entries),
        cmocka_unit_test(subcluster_words),
        cmocka_unit_test(entries_of_a_data_file),
        cmocka_unit_test(zero_flag_in_version_2),
        cmocka_unit_test(l1_entries),
        cmocka_unit_test(copied_entries_without_an_offset),
        cmocka_unit_test(copied_entries_of_other_tables),
        cmocka_unit_test(an_l2_table_past_the_end),
        cmocka_unit_test(an_l1_table_past_the_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
