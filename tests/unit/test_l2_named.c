/* test_l2_named.c - what L2 tables name, from the reading that marks what is allocated: the same as a scan of owners
 * finds, and as counting leaks needs; or nothing
 * SPDX-License-Identifier: MIT */
#include "image_unit.h"

#include "bitmap/leak_none.h"
#include "format/q2_l1l2.h"
#include "ops/allocation.h"
#include "write/clusters.h"

struct named {
    struct qcbm_image *img;
    struct qcbmi_dirtymap map;
    struct qcbmi_l2_named n;
    uint64_t room;
};

static void read_named(struct named *t, const struct image_builder *b, unsigned flags, uint64_t room)
{
    struct qcbmi_allocation a = { .named = &t->n };
    struct qcbm_error err = { 0 };

    *t = (struct named){ .img = build_open(b, flags), .room = room };
    assert_int_equal(qcbmi_dirtymap_init(&t->map, b->opt.size, 9, NULL), 0);
    assert_ok(qcbmi_l2_named_begin(&t->n, t->img->image, &t->room, &err), &err);
    assert_ok(qcbmi_allocation_mark(t->img->image, &t->map, &a, NULL, &err), &err);
}

static void end(struct named *t)
{
    qcbmi_l2_named_free(&t->n);
    qcbmi_dirtymap_free(&t->map);
    qcbm_close(t->img);
}

static bool has_no_leak(struct named *t)
{
    struct qcbmi_holes holes;
    struct qcbmi_lost_clues clues = { t->img->image, t->img->bitmaps, &holes, NULL, false };
    bool none;

    qcbmi_holes_init(&holes, &t->img->image->io);
    assert_int_equal(qcbmi_leaks_none(&clues, &t->n, &none, NULL), 0);
    qcbmi_holes_free(&holes);
    return none;
}

/* ---- entries ---- */

enum kind { V3, V2, EXTENDED, DATA_FILE };

static const struct build_options kinds[] = {
    [V3] = { .size = KIB(512), .cluster_bits = 12 },
    [V2] = { .size = KIB(512), .cluster_bits = 12, .version = 2 },
    [EXTENDED] = { .size = KIB(512), .cluster_bits = 14, .extended_l2 = true },
    [DATA_FILE] = { .size = KIB(512), .cluster_bits = 12, .data_file = "d" },
};

static const struct row {
    const char *name;
    enum kind kind;
    uint64_t raw, word; /* @raw: the offset of a cluster is added if it has other bits than those of plain zeros */
    bool known;
} rows[] = {
    { "normal", V3, BUILD_COPIED, 0, true },
    { "shared", V3, 0, 0, true },
    { "version 2", V2, BUILD_COPIED, 0, true },
    { "compressed", V3, BUILD_COMPRESSED, 0, true },
    { "compressed, over the end of a cluster", V3, BUILD_COMPRESSED | UINT64_C(4095), 0, true },
    { "zeros, cluster kept", V3, BUILD_COPIED | 1, 0, true },
    { "some subclusters", EXTENDED, BUILD_COPIED, 3, true },
    { "cluster without a subcluster", EXTENDED, BUILD_COPIED, 0, true },
    { "a subcluster that is data and zeros", EXTENDED, BUILD_COPIED, UINT64_C(1) << 32 | 1, false },
    { "reserved bit", V3, BUILD_COPIED | 2, 0, false },
    { "unaligned", V3, BUILD_COPIED | 512, 0, false },
    { "past the end of the file", V3, BUILD_COPIED | UINT64_C(1) << 40, 0, false },
    { "data file", DATA_FILE, BUILD_COPIED, 0, false },
};

static void check_row(const struct row *r)
{
    struct qcbmi_owners o = { 0 };
    struct qcbm_error err = { 0 };
    struct image_builder b;
    struct named t;

    build_start(&b, &kinds[r->kind]);
    build_data(&b, 0);
    build_map(&b, KIB(64), r->raw + build_clusters(&b, 2), r->word);
    build_finish(&b);
    read_named(&t, &b, 0, 1000);
    assert_int_equal(t.n.known, r->known);
    assert_int_equal(qcbmi_owners_scan_metadata(t.img->image, &o, &err), 0);
    if (r->known) {
        struct qcbmi_owners same = { 0 };
        uint64_t k = 0;

        assert_ok(qcbmi_owners_scan_data(&o, NULL, &err), &err);
        assert_int_equal(qcbmi_owners_scan_metadata(t.img->image, &same, &err), 0);
        assert_true(qcbmi_owners_know_data(&same, &t.n));
        for (; k < o.n_clusters; k++)
            assert_int_equal(qcbmi_bitset_get(&o.data, k), qcbmi_bitset_get(&same.data, k));
        assert_true(qcbmi_bitset_count(&same.data) >= 2);
        qcbmi_owners_free(&same);
    }
    assert_false(t.n.known && r->known); /* given up */
    assert_false(qcbmi_owners_know_data(&o, &t.n));
    qcbmi_owners_free(&o);
    end(&t);
    build_free(&b);
}

static void every_entry_names_what_the_owners_scan_finds(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        print_message("%s\n", rows[i].name);
        check_row(&rows[i]);
    }
}

/* An entry that no guest offset reaches. */
static void a_damaged_entry_behind_the_end_of_the_disk_counts(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct build_options opt = { .size = KIB(16), .cluster_bits = 12 };
    struct named t;

    build_start(b, &opt);
    build_data(b, 0);
    build_map(b, KIB(64), BUILD_COPIED | 2, 0);
    build_finish(b);
    read_named(&t, b, 0, 1000);
    assert_false(t.n.known);
    end(&t);
}

/* ---- images ---- */

static void only_a_plain_image_has_them(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct named t;

    build_start(b, &kinds[V3]);
    build_data(b, 0);
    build_finish(b);
    read_named(&t, b, 0, b->len / 4096);
    assert_true(t.n.known);
    assert_int_equal(t.room, 0);
    assert_true(has_no_leak(&t));
    end(&t);
    read_named(&t, b, 0, b->len / 4096 - 1); /* no room */
    assert_false(t.n.known);
    assert_false(has_no_leak(&t));
    end(&t);
    read_named(&t, b, QCBM_OPEN_FORCE_SHARE, 1000);
    assert_false(t.n.known);
    end(&t);
    be64_store(b->bytes + b->l1, 4096 * 2 + 512); /* an L1 entry that is damaged */
    read_named(&t, b, 0, 1000);
    assert_false(t.n.known);
    end(&t);
}

static void with_a_snapshot_nothing_is_known(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct named t;

    build_start(b, &kinds[V3]);
    build_data(b, 0);
    build_snapshot(b, "1", "s");
    build_finish(b);
    read_named(&t, b, 0, 1000);
    assert_false(t.n.known);
    end(&t);
}

static void a_cluster_without_a_reference_is_a_leak(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct named t;
    uint64_t data, table;

    build_start(b, &kinds[V3]);
    data = build_data(b, 0);
    build_data(b, KIB(64));
    build_bitmap(b, "b", 16, 0, NULL, 1);
    table = build_l2_entry(b, 0);
    build_finish(b);
    read_named(&t, b, 0, 1000);
    assert_true(has_no_leak(&t));
    end(&t);
    build_set_refcount(b, data, 0); /* too low is no leak */
    read_named(&t, b, 0, 1000);
    assert_true(has_no_leak(&t));
    end(&t);
    build_set_refcount(b, data, 1);
    be64_store(b->bytes + table, 0);
    read_named(&t, b, 0, 1000);
    assert_true(t.n.known);
    assert_false(has_no_leak(&t));
    end(&t);
}

/* ---- refcounts ---- */

/* One whose image has clusters in use, free ones and leaked ones; then with the refcount of each width. */
static void refcounts_are_taken_over_as_they_are_read(void **state)
{
    (void)state;
    for (unsigned order = 0; order <= 6; order++) {
        struct build_options opt = { .size = KIB(512), .cluster_bits = 12, .refcount_bits = 1u << order };
        struct qcbmi_owners known = { 0 }, read = { 0 };
        struct qcbmi_alloc a = { 0 }, b = { 0 };
        struct qcbm_error err = { 0 };
        struct image_builder image;
        struct named t;
        uint64_t free_ones;

        build_start(&image, &opt);
        build_data(&image, 0);
        free_ones = build_clusters(&image, 7);
        build_data(&image, KIB(64));
        build_clusters(&image, 3);
        build_finish(&image);
        build_set_refcount(&image, free_ones + 4096, 0);
        build_set_refcount(&image, free_ones + 5 * 4096, 0);
        read_named(&t, &image, 0, 1000);
        assert_false(has_no_leak(&t));
        assert_true(t.n.counted);
        assert_int_equal(t.n.used.n_bits, image.len / 4096);
        for (uint64_t k = 0; k < image.len / 4096; k++)
            assert_int_equal(qcbmi_bitset_get(&t.n.used, k), build_get_refcount(&image, k * 4096) != 0);
        assert_ok(qcbmi_owners_scan_metadata(t.img->image, &known, &err), &err);
        assert_ok(qcbmi_owners_scan_metadata(t.img->image, &read, &err), &err);
        assert_ok(qcbmi_owners_scan_data(&read, NULL, &err), &err);
        assert_true(qcbmi_owners_know_data(&known, &t.n));
        assert_true(known.counted);
        assert_ok(qcbmi_alloc_begin(&a, &known, 5, &err), &err);
        assert_ok(qcbmi_alloc_begin(&b, &read, 5, &err), &err);
        assert_int_equal(a.busy.n_bits, b.busy.n_bits);
        assert_int_equal(qcbmi_bitset_first_outside(&a.busy, &b.busy), b.busy.n_bits);
        assert_int_equal(qcbmi_bitset_first_outside(&b.busy, &a.busy), b.busy.n_bits);
        assert_int_equal(qcbmi_bitset_count(&a.busy), image.len / 4096 - 2);
        qcbmi_alloc_free(&a);
        qcbmi_alloc_free(&b);
        qcbmi_owners_free(&known);
        qcbmi_owners_free(&read);
        end(&t);
        build_free(&image);
    }
}

/* What would be called free is in use: known refcounts are judged as those that are read. */
static void a_known_refcount_of_0_blocks_writing(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct qcbmi_owners o = { 0 };
    struct qcbmi_alloc a = { 0 };
    struct qcbm_error err = { 0 };
    struct named t;
    uint64_t data;

    build_start(b, &kinds[V3]);
    build_data(b, 0);
    data = build_data(b, KIB(64));
    build_finish(b);
    build_set_refcount(b, data, 0);
    read_named(&t, b, 0, 1000);
    assert_true(has_no_leak(&t));
    assert_ok(qcbmi_owners_scan_metadata(t.img->image, &o, &err), &err);
    assert_true(qcbmi_owners_know_data(&o, &t.n));
    assert_failure(qcbmi_alloc_begin(&a, &o, 1, &err), &err, QCBM_E_UNSAFE, data,
                   "used as guest data but has refcount 0");
    qcbmi_alloc_free(&a);
    qcbmi_owners_free(&o);
    end(&t);
}

/* A refcount behind the end of the file, a block for what is all behind it, a block that two entries name, and one that
 * cannot be read: nothing is known, and who counts must tell. */
static void refcounts_that_are_not_plain_are_not_known(void **state)
{
    enum { BEHIND, BLOCK_BEHIND, TWICE, RESERVED, FOREIGN, N };

    (void)state;
    for (int i = 0; i < N; i++) {
        struct build_options opt = { .size = KIB(512), .cluster_bits = 12, .refcount_bits = 64 }; /* 512 a block */
        struct image_builder b;
        struct named t;

        build_start(&b, &opt);
        build_data(&b, 0);
        build_finish(&b);
        read_named(&t, &b, 0, 1000);
        assert_true(has_no_leak(&t) && t.n.counted);
        end(&t);
        if (i == BEHIND)
            be64_store(b.bytes + b.refblock + 8 * (b.len / 4096), 1);
        else if (i == BLOCK_BEHIND)
            be64_store(b.bytes + b.reftable + 8, b.len - 4096);
        else if (i == TWICE)
            be64_store(b.bytes + b.reftable + 8, b.refblock);
        else if (i == RESERVED)
            be64_store(b.bytes + b.reftable, b.refblock + 1);
        else
            be64_store(b.bytes + b.reftable, b.len);
        if (i == TWICE) /* of which both are wanted */
            build_resize(&b, 600 * 4096);
        read_named(&t, &b, 0, 1000);
        assert_false(has_no_leak(&t));
        assert_false(t.n.counted);
        assert_null(t.n.used.chunks);
        assert_true(t.n.known);
        end(&t);
        build_free(&b);
    }
}

/* ---- owners ---- */

/* Data that lies in metadata, or tables that are others by now: the scan must tell. */
static void owners_take_nothing_that_does_not_fit(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct qcbmi_owners o = { 0 };
    struct named t;

    build_start(b, &kinds[V3]);
    build_data(b, 0);
    build_finish(b);
    be64_store(b->bytes + build_l2_entry(b, 0) + 8, b->refblock | BUILD_COPIED);
    read_named(&t, b, 0, 1000);
    assert_true(t.n.known);
    assert_int_equal(qcbmi_owners_scan_metadata(t.img->image, &o, NULL), 0);
    assert_false(qcbmi_owners_know_data(&o, &t.n));
    assert_int_equal(qcbmi_bitset_count(&o.data), 0);
    assert_int_equal(qcbmi_bitset_clear(&t.n.data, b->refblock / 4096, b->refblock / 4096 + 1, NULL), 0);
    assert_int_equal(qcbmi_bitset_set(&o.l2, b->len / 4096 - 1, b->len / 4096, NULL), 0);
    assert_false(qcbmi_owners_know_data(&o, &t.n)); /* one table more */
    qcbmi_bitset_clear_all(&o.l2);
    assert_false(qcbmi_owners_know_data(&o, &t.n)); /* and none */
    qcbmi_owners_free(&o);
    end(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_entry_names_what_the_owners_scan_finds),
        image_test(a_damaged_entry_behind_the_end_of_the_disk_counts),
        image_test(only_a_plain_image_has_them),
        image_test(with_a_snapshot_nothing_is_known),
        image_test(a_cluster_without_a_reference_is_a_leak),
        cmocka_unit_test(refcounts_are_taken_over_as_they_are_read),
        image_test(a_known_refcount_of_0_blocks_writing),
        cmocka_unit_test(refcounts_that_are_not_plain_are_not_known),
        image_test(owners_take_nothing_that_does_not_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
