/* test_allocation.c - what one layer has allocated: every kind of entry, damage, and the ends of the disk
 * SPDX-License-Identifier: MIT */
#include "image_unit.h"

#include "format/q2_l1l2.h"
#include "ops/allocation.h"

#define COPIED BUILD_COPIED
#define COMPRESSED BUILD_COMPRESSED
#define SUB_ZERO(i) (UINT64_C(1) << (32 + (i)))
#define SUB_ALLOC(i) (UINT64_C(1) << (i))

struct marked {
    struct qcbm_image *img;
    struct qcbmi_dirtymap map;
    struct qcbmi_allocation a;
};

/* Mark in sectors. */
static void mark_by(struct marked *m, const struct image_builder *b, unsigned gran_bits)
{
    struct qcbm_error err = { 0 };

    memset(m, 0, sizeof(*m));
    m->img = build_open(b, 0);
    assert_int_equal(qcbmi_dirtymap_init(&m->map, b->opt.size, gran_bits, NULL), 0);
    assert_ok(qcbmi_allocation_mark(m->img->image, &m->map, &m->a, NULL, &err), &err);
}

static void mark(struct marked *m, const struct image_builder *b)
{
    mark_by(m, b, 9);
}

static void unmark(struct marked *m)
{
    qcbmi_dirtymap_free(&m->map);
    qcbm_close(m->img);
}

/* What is dirty as text, "0-512 4096-8192". */
static void assert_marked(const struct marked *m, const char *want)
{
    uint64_t start, end = 0;
    char got[512] = "";

    while (qcbmi_dirtymap_next(&m->map, end, &start, &end)) {
        size_t n = strlen(got);

        snprintf(got + n, sizeof(got) - n, "%s%llu-%llu", n ? " " : "", (unsigned long long)start,
                 (unsigned long long)end);
    }
    assert_string_equal(got, want);
}

/* ---- one entry ---- */

enum image_kind { V3, V2, DATA_FILE, EXTENDED, N_KINDS };

static const struct build_options kinds[N_KINDS] = {
    [V3] = { .size = KIB(512), .cluster_bits = 12 },
    [V2] = { .size = KIB(512), .cluster_bits = 12, .version = 2 },
    [DATA_FILE] = { .size = KIB(512), .cluster_bits = 12, .data_file = "d" },
    [EXTENDED] = { .size = KIB(512), .cluster_bits = 14, .extended_l2 = true },
};

struct row {
    const char *name;
    enum image_kind kind;
    uint64_t guest; /* KiB */
    uint64_t raw, sub_word;
    bool host; /* add the offset of a cluster to @raw */
    const char *dirty;
    bool damaged;
};

static const struct row rows[] = {
    /* semantics of the entries, one line each */
    { "normal", V3, 16, COPIED, 0, true, "16384-20480", false },
    { "normal, shared", V3, 16, 0, 0, true, "16384-20480", false },
    { "compressed", V3, 16, COMPRESSED, 0, true, "16384-20480", false },
    { "zero plain", V3, 16, 1, 0, false, "16384-20480", false },
    { "zero, cluster kept", V3, 16, COPIED | 1, 0, true, "16384-20480", false },
    { "unallocated", V3, 16, 0, 0, false, "", false },
    { "offset 0, COPIED", V3, 16, COPIED, 0, false, "", false },
    { "normal", V2, 16, COPIED, 0, true, "16384-20480", false },
    { "compressed", V2, 16, COMPRESSED, 0, true, "16384-20480", false },
    { "unallocated", V2, 16, 0, 0, false, "", false },
    /* damage: dirty, and counted */
    { "unaligned", V3, 16, COPIED | 512, 0, true, "16384-20480", true },
    { "zero, unaligned", V3, 16, 512 | 1, 0, true, "16384-20480", true },
    { "past the end", V3, 16, COPIED | UINT64_C(1) << 40, 0, false, "16384-20480", true },
    { "zero, past the end", V3, 16, COPIED | 1 | UINT64_C(1) << 40, 0, false, "16384-20480", true },
    { "compressed, past the end", V3, 16, COMPRESSED | UINT64_C(1) << 40, 0, false, "16384-20480", true },
    { "compressed, COPIED", V3, 16, COMPRESSED | COPIED, 0, true, "16384-20480", true },
    { "reserved low bit", V3, 16, COPIED | 2, 0, true, "16384-20480", true },
    { "reserved high bit", V3, 16, COPIED | UINT64_C(1) << 61, 0, true, "16384-20480", true },
    { "reserved bit alone", V3, 16, UINT64_C(1) << 56, 0, false, "16384-20480", true },
    { "reserved bit, zero", V3, 16, 0x100 | 1, 0, false, "16384-20480", true },
    { "zero flag in version 2", V2, 16, 1, 0, false, "16384-20480", true },
    /* data file: the host offset is the guest's */
    { "data file", DATA_FILE, 16, COPIED | KIB(16), 0, false, "16384-20480", false },
    { "data file, cluster 0", DATA_FILE, 0, COPIED, 0, false, "0-4096", false },
    { "data file, cluster 0, no COPIED", DATA_FILE, 0, 0, 0, false, "", false },
    { "data file, past the end of the image file", DATA_FILE, 508, COPIED | KIB(508), 0, false, "520192-524288",
      false },
    { "data file, zero", DATA_FILE, 16, 1, 0, false, "16384-20480", false },
    { "data file, another offset", DATA_FILE, 16, COPIED | KIB(20), 0, false, "16384-20480", true },
    { "data file, offset 0 of another cluster", DATA_FILE, 16, COPIED, 0, false, "16384-20480", true },
    { "data file, compressed", DATA_FILE, 16, COMPRESSED | KIB(16), 0, false, "16384-20480", true },
    /* subclusters of 512 bytes, in guest cluster 1 */
    { "all allocated", EXTENDED, 16, COPIED, 0xffffffff, true, "16384-32768", false },
    { "one allocated", EXTENDED, 16, COPIED, SUB_ALLOC(0), true, "16384-16896", false },
    { "first and last", EXTENDED, 16, COPIED, SUB_ALLOC(0) | SUB_ALLOC(31), true, "16384-16896 32256-32768", false },
    { "allocated and zero", EXTENDED, 16, COPIED, SUB_ALLOC(1) | SUB_ZERO(2), true, "16896-17920", false },
    { "zero alone", EXTENDED, 16, 0, SUB_ZERO(4), false, "18432-18944", false },
    { "all zero", EXTENDED, 16, 0, UINT64_C(0xffffffff) << 32, false, "16384-32768", false },
    { "host cluster, nothing in it", EXTENDED, 16, COPIED, 0, true, "", false },
    { "nothing", EXTENDED, 16, 0, 0, false, "", false },
    { "compressed", EXTENDED, 16, COMPRESSED, 0, true, "16384-32768", false },
    { "bit 0 means nothing", EXTENDED, 16, 1, SUB_ZERO(0), false, "16384-16896", false },
    { "both bits", EXTENDED, 16, COPIED, SUB_ALLOC(3) | SUB_ZERO(3), true, "16384-32768", true },
    { "allocated without a cluster", EXTENDED, 16, 0, SUB_ALLOC(3), false, "16384-32768", true },
    { "compressed with a word", EXTENDED, 16, COMPRESSED, SUB_ZERO(1), true, "16384-32768", true },
    { "unaligned", EXTENDED, 16, COPIED | 512, SUB_ALLOC(1), true, "16384-32768", true },
    { "past the end", EXTENDED, 16, COPIED | UINT64_C(1) << 40, SUB_ALLOC(1), false, "16384-32768", true },
    { "reserved bit", EXTENDED, 16, 2, 0, false, "16384-32768", true },
};

static void check_row(const struct row *r)
{
    struct image_builder b;
    struct marked m;
    uint64_t bytes = 0, start, end = 0, at;

    build_start(&b, &kinds[r->kind]);
    at = build_l2_entry(&b, KIB(r->guest));
    build_map(&b, KIB(r->guest), r->raw + (r->host ? build_clusters(&b, 2) : 0), r->sub_word);
    build_finish(&b);
    mark(&m, &b);
    assert_marked(&m, r->dirty);
    assert_int_equal(m.a.damage.count, r->damaged);
    if (r->damaged) {
        assert_int_equal(m.a.damage.first.code, QCBM_E_CORRUPT);
        assert_int_equal(m.a.damage.first.offset, at);
        assert_null(strchr(m.a.damage.first.message, '\n'));
    }
    while (qcbmi_dirtymap_next(&m.map, end, &start, &end))
        bytes += end - start;
    assert_int_equal(m.a.allocated_bytes, bytes);
    unmark(&m);
    build_free(&b);
}

static void every_kind_of_entry(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        print_message("  %s\n", rows[i].name);
        check_row(&rows[i]);
    }
}

/* The same entries side by side: runs are joined, and broken where they must be. */
static void entries_side_by_side(void **state)
{
    static const struct {
        const char *pattern; /* one entry each: n normal, z zero, c compressed, . unallocated, x damaged */
        const char *dirty;
        unsigned damaged;
    } cases[] = {
        { "nnnn", "0-16384", 0 }, { "n.n.", "0-4096 8192-12288", 0 }, { "..nz", "8192-16384", 0 },
        { "zcxn", "0-16384", 1 }, { ".xx.", "4096-12288", 2 },        { "....", "", 0 },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct image_builder b;
        struct marked m;

        build_start(&b, &kinds[V3]);
        for (uint64_t k = 0; k < 4; k++) {
            char c = cases[i].pattern[k];

            if (c == 'n')
                build_data(&b, KIB(4) * k);
            else if (c == 'c')
                build_map(&b, KIB(4) * k, COMPRESSED | build_clusters(&b, 1), 0);
            else
                build_map(&b, KIB(4) * k, c == 'z' ? 1 : c == 'x' ? 4 : 0, 0);
        }
        build_finish(&b);
        mark(&m, &b);
        assert_marked(&m, cases[i].dirty);
        assert_int_equal(m.a.damage.count, cases[i].damaged);
        unmark(&m);
        build_free(&b);
    }
}

/* ---- the file and the disk end ---- */

static void a_last_cluster_that_is_cut_short_is_no_damage(void **state)
{
    static const struct {
        size_t cut;
        unsigned damaged;
    } cases[] = { { 0, 0 }, { 1, 0 }, { 4095, 0 }, { 4096, 1 } };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct image_builder b;
        struct marked m;

        build_start(&b, &kinds[V3]);
        build_data(&b, 0);
        build_finish(&b);
        build_resize(&b, b.len - cases[i].cut);
        mark(&m, &b);
        assert_marked(&m, "0-4096");
        assert_int_equal(m.a.damage.count, cases[i].damaged);
        unmark(&m);
        build_free(&b);
    }
}

static void nothing_behind_the_virtual_size_counts(void **state)
{
    static const struct {
        uint64_t size;
        const char *dirty;
    } cases[] = {
        { KIB(8), "0-8192" }, { KIB(8) + 512, "0-8704" }, { KIB(8) + 100, "0-8292" }, { 1, "0-1" }, { 0, "" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        /* 2 MiB per L2 table; the second L1 entry is VM state */
        struct build_options opt = { .size = cases[i].size, .cluster_bits = 12, .l1_entries = 2 };
        struct image_builder b;
        struct marked m;

        build_start(&b, &opt);
        for (uint64_t k = 0; k < 5; k++)
            build_data(&b, KIB(4) * k);
        build_data(&b, MIB(2));
        build_finish(&b);
        mark(&m, &b);
        assert_marked(&m, cases[i].dirty);
        assert_int_equal(m.a.allocated_bytes, cases[i].size);
        assert_int_equal(m.a.damage.count, 0);
        unmark(&m);
        build_free(&b);
    }
}

static void a_map_of_another_size_is_filled_as_far_as_it_goes(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct qcbmi_allocation a = { 0 };
    struct qcbmi_dirtymap map;
    struct qcbm_image *img;

    build_start(b, &kinds[V3]);
    build_data(b, KIB(4));
    build_data(b, KIB(64));
    build_finish(b);
    img = bench_image(state, 0);
    assert_int_equal(qcbmi_dirtymap_init(&map, KIB(6), 9, NULL), 0);
    assert_int_equal(qcbmi_allocation_mark(img->image, &map, &a, NULL, NULL), 0);
    assert_int_equal(qcbmi_dirtymap_dirty_bytes(&map), KIB(2));
    assert_int_equal(a.allocated_bytes, KIB(8));
    qcbmi_dirtymap_free(&map);
}

/* ---- L1 entries ---- */

/* 6 MiB with data in each 2 MiB; the second L1 entry is set to @raw. */
static void check_l1(uint64_t raw, const char *dirty, unsigned damaged, uint64_t damaged_index)
{
    struct build_options opt = { .size = MIB(6), .cluster_bits = 12 };
    struct image_builder b;
    struct marked m;

    build_start(&b, &opt);
    for (uint64_t i = 0; i < 3; i++)
        build_data(&b, MIB(2) * i);
    build_finish(&b);
    be64_store(b.bytes + b.l1 + 8, raw == UINT64_MAX ? be64_load(b.bytes + b.l1) : raw);
    mark(&m, &b);
    assert_marked(&m, dirty);
    assert_int_equal(m.a.damage.count, damaged);
    if (damaged)
        assert_int_equal(m.a.damage.first.offset, b.l1 + 8 * damaged_index);
    unmark(&m);
    build_free(&b);
}

static void a_damaged_l1_entry_makes_all_dirty_that_it_maps(void **state)
{
    (void)state;
    check_l1(0, "0-4096 4194304-4198400", 0, 0);
    check_l1(COPIED, "0-4096 4194304-4198400", 0, 0);
    check_l1(COPIED | 0x5200, "0-4096 2097152-4198400", 1, 1);            /* unaligned */
    check_l1(COPIED | 0x5000 | 1, "0-4096 2097152-4198400", 1, 1);        /* reserved bits */
    check_l1(UINT64_C(1) << 62, "0-4096 2097152-4198400", 1, 1);          /* without an offset even */
    check_l1(COPIED | UINT64_C(1) << 40, "0-4096 2097152-4198400", 1, 1); /* past the end */
    check_l1(UINT64_C(0x00fffffffffff000), "0-4096 2097152-4198400", 1, 1);
    check_l1(UINT64_MAX, "0-4198400", 2, 0); /* the table of the first entry: which one is right? */
}

static void a_table_that_the_file_cuts_makes_all_dirty_that_it_maps(void **state)
{
    static const size_t cuts[] = { 1, 8, 4095, 4096 };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cuts); i++) {
        struct build_options opt = { .size = MIB(4) - 512, .cluster_bits = 12 };
        struct image_builder b;
        struct marked m;

        build_start(&b, &opt);
        build_data(&b, 0);
        build_l2_entry(&b, MIB(2)); /* the last cluster */
        build_finish(&b);
        build_resize(&b, b.len - cuts[i]);
        mark(&m, &b);
        assert_marked(&m, "0-4096 2097152-4193792");
        assert_int_equal(m.a.damage.count, 1);
        assert_int_equal(m.a.damage.first.offset, b.l1 + 8);
        unmark(&m);
        build_free(&b);
    }
}

static void an_l1_table_that_the_file_cuts_is_an_error(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct qcbmi_allocation a = { 0 };
    struct qcbmi_dirtymap map;
    struct qcbm_image *img;
    struct qcbm_error err = { 0 };

    build_start(b, &kinds[V3]);
    build_finish(b);
    build_resize(b, (size_t)b->l1 + 7);
    img = bench_image(state, 0);
    assert_int_equal(qcbmi_dirtymap_init(&map, KIB(512), 9, NULL), 0);
    assert_failure(qcbmi_allocation_mark(img->image, &map, &a, NULL, &err), &err, QCBM_E_CORRUPT, 40,
                   "active L1 table");
    qcbmi_dirtymap_free(&map);
}

static void the_cost_is_that_of_the_tables(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct build_options opt = { .size = MIB(6), .cluster_bits = 12 };
    struct qcbm_image *img;
    uint64_t bytes;

    build_start(b, &opt);
    build_data(b, 0);
    build_data(b, MIB(4));
    build_finish(b);
    img = bench_image(state, 0);
    assert_int_equal(qcbmi_allocation_cost(img->image, &bytes, NULL), 0);
    assert_int_equal(bytes, 2 * 4096);
}

/* Subclusters behind the end do not make a granule dirty that has none before it, however coarse it is. */
static void subclusters_behind_the_end_are_in_no_granule(void **state)
{
    struct build_options opt = { .size = KIB(16) + 512, .cluster_bits = 14, .extended_l2 = true };

    (void)state;
    for (unsigned gran_bits = 9; gran_bits <= 16; gran_bits++) {
        struct image_builder b;
        struct marked m;

        build_start(&b, &opt);
        build_map(&b, KIB(16), COPIED + build_clusters(&b, 1), SUB_ALLOC(3));
        build_finish(&b);
        mark_by(&m, &b, gran_bits);
        assert_marked(&m, "");
        assert_int_equal(m.a.allocated_bytes, 0);
        unmark(&m);
        build_free(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_of_entry),
        cmocka_unit_test(entries_side_by_side),
        cmocka_unit_test(a_last_cluster_that_is_cut_short_is_no_damage),
        cmocka_unit_test(nothing_behind_the_virtual_size_counts),
        cmocka_unit_test(subclusters_behind_the_end_are_in_no_granule),
        image_test(a_map_of_another_size_is_filled_as_far_as_it_goes),
        cmocka_unit_test(a_damaged_l1_entry_makes_all_dirty_that_it_maps),
        cmocka_unit_test(a_table_that_the_file_cuts_makes_all_dirty_that_it_maps),
        image_test(an_l1_table_that_the_file_cuts_is_an_error),
        image_test(the_cost_is_that_of_the_tables),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
