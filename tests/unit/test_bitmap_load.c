/* test_bitmap_load.c - the stored bits of a bitmap: walked in order, and as a dirty map
 * SPDX-License-Identifier: MIT */
#include "image_unit.h"

#include "bitmap/bitmap_load.h"

/* An image with one bitmap "b" of @n raw table entries; @data clusters are put in front of the table. */
struct loaded {
    struct image_builder b;
    struct qcbm_image *img;
    struct qcbmi_dirtymap map;
};

/* @opt->size, a granularity, and room for @n_data clusters of bitmap data; returns the offset of the first. */
static uint64_t start(struct loaded *l, uint32_t cluster_bits, uint64_t size, uint64_t n_data)
{
    struct build_options opt = { .cluster_bits = cluster_bits, .size = size };

    memset(l, 0, sizeof(*l));
    build_start(&l->b, &opt);
    return build_clusters(&l->b, n_data);
}

static void finish(struct loaded *l, unsigned gran_bits, uint32_t flags, const uint64_t *entries, uint32_t n)
{
    build_bitmap(&l->b, "b", gran_bits, flags, entries, n);
    build_finish(&l->b);
}

static int load(struct loaded *l, struct qcbm_error *err)
{
    l->img = build_open(&l->b, 0);
    return qcbmi_bitmap_load(l->img->image, &l->img->bitmaps->list[0], &l->map, err);
}

static void load_ok(struct loaded *l)
{
    struct qcbm_error err = { 0 };

    assert_ok(load(l, &err), &err);
}

static void teardown(struct loaded *l)
{
    qcbmi_dirtymap_free(&l->map);
    qcbm_close(l->img);
    build_free(&l->b);
}

static void bits_stand_lowest_first(void **state)
{
    const uint64_t size = GIB(10) + 512;
    struct loaded l; /* lowest bit first: guest 5368832576 is bit 81921, byte 10240, value 2 */
    uint64_t data = start(&l, 16, size, 1);

    (void)state;
    l.b.bytes[data + 10240] = 0x02;
    finish(&l, 16, 0, &data, 1);
    load_ok(&l);
    assert_int_equal(l.map.size, size);
    assert_int_equal(l.map.gran_bits, 16);
    assert_int_equal(l.map.bits.n_bits, 163841);
    assert_int_equal(qcbmi_bitset_count(&l.map.bits), 1);
    assert_true(qcbmi_bitset_get(&l.map.bits, 81921));
    assert_dirty(l.img, "b", "5368774656-5368840192");
    teardown(&l);
}

static void entries_0_and_1_need_no_cluster(void **state)
{
    static const uint64_t entries[] = { 1, 0, 1, 1 };
    struct loaded l; /* 2 MiB per entry; the last one covers 512 bytes of the disk */

    (void)state;
    start(&l, 9, MIB(6) + 512, 0);
    finish(&l, 9, 0, entries, 4);
    load_ok(&l);
    assert_int_equal(qcbmi_bitset_count(&l.map.bits), 4096 + 4096 + 1);
    assert_dirty(l.img, "b", "0-2097152 4194304-6291968");
    teardown(&l);
}

static void bits_behind_the_last_granule_are_masked(void **state)
{
    struct loaded l;
    uint64_t data = start(&l, 9, 5 * 512, 1);
    struct qcbm_bitmap_usage usage;

    (void)state;
    memset(l.b.bytes + data, 0xff, 512);
    l.b.bytes[data] = 0xe9; /* bits 0, 3 of five, and tail bits */
    finish(&l, 9, 0, &data, 1);
    load_ok(&l);
    assert_int_equal(qcbmi_bitset_count(&l.map.bits), 2);
    assert_int_equal(l.map.bits.n_bits, 5);
    assert_dirty(l.img, "b", "0-512 1536-2048");
    assert_int_equal(qcbm_bitmap_usage(l.img, 0, &usage, sizeof(usage), NULL, NULL), 0);
    assert_int_equal(usage.dirty_granules, 2);
    assert_int_equal(usage.dirty_bytes, 1024);
    teardown(&l);
}

/* A bitmap of 5000 bits: 512 bytes of payload in the first cluster, 113 bytes in the second, which is the last of the
 * file; clean but for the first bit. The file is cut to @len bytes of that cluster. */
static void load_cut(struct loaded *l, size_t len)
{
    uint64_t entries[2] = { start(l, 9, 5000 * 512, 2), 0 };

    build_bitmap(&l->b, "b", 9, 0, NULL, 0);
    l->b.bytes[entries[0]] = 1;
    build_finish(&l->b);
    entries[1] = l->b.len;
    be64_store(l->b.bytes + l->b.bitmaps[0].table, entries[0]);
    be64_store(l->b.bytes + l->b.bitmaps[0].table + 8, entries[1]);
    build_resize(&l->b, l->b.len + len);
    load_ok(l);
}

static void data_past_the_end_of_the_file_counts_as_dirty(void **state)
{
    static const size_t lens[] = { 0, 1, 112 };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(lens); i++) {
        struct loaded l;
        struct qcbm_bitmap_usage usage;

        load_cut(&l, lens[i]);
        assert_int_equal(qcbmi_bitset_count(&l.map.bits), 1 + 5000 - 4096);
        assert_dirty(l.img, "b", "0-512 2097152-2560000");
        assert_int_equal(qcbm_bitmap_usage(l.img, 0, &usage, sizeof(usage), NULL, NULL), 0);
        assert_int_equal(usage.dirty_granules, 1 + 5000 - 4096);
        assert_int_equal(usage.disk_bytes, 2 * 512); /* table, and the one cluster that is there */
        assert_int_equal(qcbm_finding_count(l.img), 1);
        teardown(&l);
    }
}

static void a_last_cluster_that_has_all_its_payload_may_be_cut_short(void **state)
{
    static const size_t lens[] = { 113, 114, 511, 512 };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(lens); i++) {
        struct loaded l;

        load_cut(&l, lens[i]);
        assert_int_equal(qcbmi_bitset_count(&l.map.bits), 1);
        teardown(&l);
    }
}

static void a_data_offset_far_out_counts_as_dirty(void **state)
{
    static const uint64_t entry = UINT64_C(0x00fffffffffffe00);
    struct loaded l;

    (void)state;
    start(&l, 9, MIB(1), 0);
    finish(&l, 9, 0, &entry, 1);
    load_ok(&l);
    assert_int_equal(qcbmi_bitset_count(&l.map.bits), 2048);
    teardown(&l);
}

static void a_table_that_the_file_cuts_is_refused(void **state)
{
    static const uint64_t entries[] = { 1, 1 };

    (void)state;
    for (size_t cut = 1; cut <= 8; cut++) {
        struct loaded l;
        struct qcbm_error err = { 0 };

        start(&l, 9, MIB(4), 0);
        finish(&l, 9, 0, entries, 2);
        be64_store(l.b.bytes + l.b.bitmaps[0].entry, l.b.len); /* the table is what comes last */
        build_resize(&l.b, l.b.len + 16 - cut);
        assert_failure(load(&l, &err), &err, QCBM_E_CORRUPT, l.b.bitmaps[0].entry, "pass the end of the file");
        teardown(&l);
    }
}

static void a_table_at_the_very_end_is_read(void **state)
{
    struct loaded l;

    (void)state;
    start(&l, 9, MIB(4), 0);
    finish(&l, 9, 0, NULL, 0);
    be64_store(l.b.bytes + l.b.bitmaps[0].entry, l.b.len);
    build_resize(&l.b, l.b.len + 16);
    l.b.bytes[l.b.len - 1] = 1;
    load_ok(&l);
    assert_dirty(l.img, "b", "2097152-4194304");
    teardown(&l);
}

static void malformed_entries_are_refused_where_they_stand(void **state)
{
    static const uint64_t bad[] = { 2, 3, 0x1fe, 0x101, 0x200 | 1, UINT64_C(1) << 56, UINT64_C(1) << 63 | 1 };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct loaded l;
        struct qcbm_error err = { 0 };
        uint64_t entries[] = { 1, 0, bad[i], 1 };

        start(&l, 9, MIB(8), 0);
        finish(&l, 9, 0, entries, 4);
        assert_failure(load(&l, &err), &err, QCBM_E_CORRUPT, l.b.bitmaps[0].table + 16, "bitmap table entry 2");
        teardown(&l);
    }
}

static void an_unaligned_offset_is_malformed(void **state)
{
    struct loaded l;
    struct qcbm_error err = { 0 };
    uint64_t entry = start(&l, 12, MIB(8), 2) + 512;

    (void)state;
    finish(&l, 12, 0, &entry, 1);
    assert_failure(load(&l, &err), &err, QCBM_E_CORRUPT, l.b.bitmaps[0].table, "bitmap table entry 0");
    teardown(&l);
}

/* ---- the walk ---- */

struct seen {
    uint64_t next_byte, n_pieces, largest;
    uint64_t sum; /* of the bytes of data pieces */
    int stop_at;  /* piece to fail at, from 1 */
};

static int see(void *opaque, enum q2_bitmap_entry_kind kind, uint64_t first_byte, uint64_t n_bytes,
               const uint8_t *bytes, struct qcbm_error *err)
{
    struct seen *s = opaque;

    (void)err;
    assert_int_equal(first_byte, s->next_byte);
    assert_true(n_bytes > 0);
    s->next_byte += n_bytes;
    s->n_pieces++;
    if (kind == Q2_BME_DATA) {
        assert_non_null(bytes);
        s->largest = n_bytes > s->largest ? n_bytes : s->largest;
        for (uint64_t i = 0; i < n_bytes; i++)
            s->sum += bytes[i];
    } else {
        assert_null(bytes);
    }
    return s->n_pieces == (uint64_t)s->stop_at ? QCBM_E_ABORTED : 0;
}

static void neighbouring_clusters_come_in_pieces_of_bounded_size(void **state)
{
    struct loaded l;
    struct seen seen = { 0 };
    struct qcbmi_bitmap_walk_stats stats;
    uint64_t entries[40], data = start(&l, 16, GIB(10), 39); /* 40 entries of 64 KiB */

    (void)state;
    for (uint64_t i = 0; i < 40; i++)
        entries[i] = i == 20 ? 0 : data + (i - (i > 20)) * 65536;
    memset(l.b.bytes + data, 1, 39 * 65536);
    finish(&l, 9, 0, entries, 40);
    l.img = build_open(&l.b, 0);
    assert_int_equal(qcbmi_bitmap_walk(l.img->image, &l.img->bitmaps->list[0], see, &seen, &stats, NULL), 0);
    assert_int_equal(seen.next_byte, 40 * 65536);
    assert_int_equal(seen.sum, 39 * 65536);
    assert_true(seen.largest <= MIB(1));
    assert_true(seen.n_pieces <= 6); /* not one read per cluster */
    assert_int_equal(stats.data_clusters, 39);
    assert_int_equal(stats.lost_clusters, 0);
    teardown(&l);
}

static void long_tables_are_walked_window_by_window(void **state)
{
    struct loaded l; /* 3 x 8192 entries and one more */
    struct seen seen = { 0 };
    uint64_t data = start(&l, 12, MIB(16) * (3 * 8192 + 1), 1);
    uint8_t *table;

    (void)state;
    l.b.bytes[data + 3] = 0x10;
    finish(&l, 9, 0, NULL, 0);
    table = l.b.bytes + l.b.bitmaps[0].table;
    be64_store(table + 8 * 8191, 1);
    be64_store(table + 8 * 8192, 1);
    be64_store(table + 8 * 24576, data);
    load_ok(&l);
    assert_int_equal(qcbmi_bitset_count(&l.map.bits), 2 * 32768 + 1);
    assert_true(qcbmi_bitset_get(&l.map.bits, 8191 * 32768));
    assert_true(qcbmi_bitset_get(&l.map.bits, 8193 * 32768 - 1));
    assert_true(qcbmi_bitset_get(&l.map.bits, 24576 * UINT64_C(32768) + 28));
    assert_int_equal(qcbmi_bitmap_walk(l.img->image, &l.img->bitmaps->list[0], see, &seen, NULL, NULL), 0);
    assert_int_equal(seen.next_byte, 24577 * UINT64_C(4096));
    teardown(&l);
}

static void a_callback_stops_the_walk(void **state)
{
    static const uint64_t entries[] = { 1, 0, 1, 0 };
    struct loaded l;
    struct seen seen = { .stop_at = 2 };

    (void)state;
    start(&l, 9, MIB(8), 0);
    finish(&l, 9, 0, entries, 4);
    l.img = build_open(&l.b, 0);
    assert_int_equal(qcbmi_bitmap_walk(l.img->image, &l.img->bitmaps->list[0], see, &seen, NULL, NULL), QCBM_E_ABORTED);
    assert_int_equal(seen.n_pieces, 2);
    teardown(&l);
}

static void a_table_that_names_one_cluster_over_and_over_is_refused(void **state)
{
    struct loaded l;
    struct qcbm_error err = { 0 };
    uint64_t entries[40], data = start(&l, 16, GIB(10), 1);

    (void)state;
    for (size_t i = 0; i < 40; i++)
        entries[i] = data;
    finish(&l, 9, 0, entries, 40);
    assert_failure(load(&l, &err), &err, QCBM_E_CORRUPT, l.b.bitmaps[0].table, "more clusters than the file has");
    teardown(&l);
}

/* ---- the clusters that a table names ---- */

static int sum_offsets(void *opaque, uint64_t offset, struct qcbm_error *err)
{
    (void)err;
    *(uint64_t *)opaque += offset;
    return 0;
}

static void sum_clusters(struct loaded *l, uint64_t *sum, uint64_t *n_bad)
{
    struct qcbmi_image *img = l->img->image;
    struct qcbmi_holes holes;

    qcbmi_holes_init(&holes, &img->io);
    assert_int_equal(qcbmi_bitmap_clusters(img, &holes, &l->img->bitmaps->list[0], sum_offsets, sum, n_bad, NULL), 0);
    qcbmi_holes_free(&holes);
}

static void clusters_are_named_whatever_the_state_of_the_bitmap(void **state)
{
    const uint64_t far = UINT64_C(1) << 40;
    struct loaded l;
    uint64_t sum = 0, n_bad = 7, data = start(&l, 9, MIB(1), 2);
    uint64_t entries[] = { data, 1, 0, 3, data + 512, far, data | 1 };

    (void)state;
    finish(&l, 9, Q2_BITMAP_IN_USE, entries, 7); /* in use: any number of entries */
    l.img = build_open(&l.b, 0);
    sum_clusters(&l, &sum, &n_bad);
    assert_int_equal(sum, 2 * data + 512 + far);
    assert_int_equal(n_bad, 2);
    teardown(&l);
}

static unsigned n_hole_reads;

static int read_hole(void *self, uint64_t off, void *buf, size_t len, struct qcbm_error *err)
{
    (void)self;
    (void)off;
    (void)err;
    n_hole_reads++;
    memset(buf, 0, len);
    return 0;
}

static int find_hole(void *self, uint64_t off, bool *is_data, uint64_t *end, struct qcbm_error *err)
{
    (void)self;
    (void)off;
    (void)err;
    *is_data = false;
    *end = UINT64_MAX;
    return 0;
}

static void tables_in_one_hole_are_read_once_for_all_bitmaps(void **state)
{
    static const uint64_t entry = 0;
    struct loaded l;
    struct qcbm_io_ops sparse;
    const struct qcbm_io_ops *was;
    struct qcbmi_holes holes;
    struct qcbmi_bitmap b;
    uint64_t n_bad, sum = 0;

    (void)state;
    start(&l, 16, MIB(1), 1);
    finish(&l, 16, 0, &entry, 1);
    l.img = build_open(&l.b, 0);
    b = l.img->bitmaps->list[0];
    was = l.img->image->io.ops;
    sparse = *was;
    sparse.read_at = read_hole;
    sparse.extent = find_hole;
    l.img->image->io.ops = &sparse;
    l.img->image->io.size = GIB(1);
    qcbmi_holes_init(&holes, &l.img->image->io);
    n_hole_reads = 0;
    for (unsigned i = 1; i < 1000; i++) {
        b.d.table_offset = MIB(i);
        b.d.table_entries = 1 << 16;
        assert_int_equal(qcbmi_bitmap_clusters(l.img->image, &holes, &b, sum_offsets, &sum, &n_bad, NULL), 0);
    }
    assert_int_equal(sum, 0);
    assert_int_equal(n_hole_reads, 1);
    qcbmi_holes_free(&holes);
    l.img->image->io.ops = was;
    teardown(&l);
}

static void no_clusters_are_named_if_the_table_is_not_in_the_file(void **state)
{
    struct loaded l;
    uint64_t sum = 0, n_bad = 7, data = start(&l, 9, MIB(1), 1);

    (void)state;
    finish(&l, 9, 0, &data, 1);
    l.img = build_open(&l.b, 0);
    assert_true(qcbmi_bitmap_table_in_file(l.img->image, &l.img->bitmaps->list[0]));
    l.img->bitmaps->list[0].d.table_offset = l.b.len;
    assert_false(qcbmi_bitmap_table_in_file(l.img->image, &l.img->bitmaps->list[0]));
    sum_clusters(&l, &sum, &n_bad);
    assert_int_equal(sum, 0);
    assert_int_equal(n_bad, 0);
    l.img->bitmaps->list[0].d.table_offset = data + 8;
    assert_false(qcbmi_bitmap_table_in_file(l.img->image, &l.img->bitmaps->list[0]));
    teardown(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bits_stand_lowest_first),
        cmocka_unit_test(entries_0_and_1_need_no_cluster),
        cmocka_unit_test(bits_behind_the_last_granule_are_masked),
        cmocka_unit_test(data_past_the_end_of_the_file_counts_as_dirty),
        cmocka_unit_test(a_last_cluster_that_has_all_its_payload_may_be_cut_short),
        cmocka_unit_test(a_data_offset_far_out_counts_as_dirty),
        cmocka_unit_test(a_table_that_the_file_cuts_is_refused),
        cmocka_unit_test(a_table_at_the_very_end_is_read),
        cmocka_unit_test(malformed_entries_are_refused_where_they_stand),
        cmocka_unit_test(an_unaligned_offset_is_malformed),
        cmocka_unit_test(neighbouring_clusters_come_in_pieces_of_bounded_size),
        cmocka_unit_test(long_tables_are_walked_window_by_window),
        cmocka_unit_test(a_callback_stops_the_walk),
        cmocka_unit_test(a_table_that_names_one_cluster_over_and_over_is_refused),
        cmocka_unit_test(clusters_are_named_whatever_the_state_of_the_bitmap),
        cmocka_unit_test(tables_in_one_hole_are_read_once_for_all_bitmaps),
        cmocka_unit_test(no_clusters_are_named_if_the_table_is_not_in_the_file),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
