/* test_bitmap_store.c - a dirty map into clusters and a bitmap table
 * SPDX-License-Identifier: MIT */
#include "image_unit.h"

#include "bitmap/bitmap_store.h"

/* A map stored into a plan, and the plan carried out on a copy of the file. */
struct stored {
    struct image_builder b;
    struct qcbm_image *img;
    struct qcbmi_owners owners;
    struct qcbmi_alloc alloc;
    struct qcbmi_plan plan;
    struct qcbmi_dirtymap map;
    uint64_t table, want;
    uint32_t entries;
    uint8_t *file;
};

/* An image of @size, its map clean; @n_holes free clusters with a used one behind each. */
static void setup(struct stored *s, uint32_t cluster_bits, uint64_t size, unsigned gran_bits, unsigned n_holes)
{
    struct build_options opt = { .cluster_bits = cluster_bits, .size = size };
    uint64_t holes[8];

    memset(s, 0, sizeof(*s));
    build_start(&s->b, &opt);
    for (unsigned i = 0; i < n_holes; i++) {
        holes[i] = build_clusters(&s->b, 1);
        build_clusters(&s->b, 1);
    }
    build_finish(&s->b);
    for (unsigned i = 0; i < n_holes; i++)
        build_set_refcount(&s->b, holes[i], 0);
    s->img = build_open(&s->b, QCBM_OPEN_WRITE);
    assert_int_equal(qcbmi_dirtymap_init(&s->map, size, gran_bits, NULL), 0);
}

static void run(struct stored *s)
{
    struct qcbm_error err = { 0 };
    struct qcbmi_plan_write *w;

    s->want = qcbmi_bitmap_store_want(&s->map, s->b.cluster_size);
    assert_ok(qcbmi_owners_scan_metadata(s->img->image, &s->owners, &err), &err);
    assert_ok(qcbmi_owners_scan_data(&s->owners, NULL, &err), &err);
    assert_ok(qcbmi_alloc_begin(&s->alloc, &s->owners, s->want, &err), &err);
    assert_ok(qcbmi_plan_stage(&s->plan, "prepare", false, &err), &err);
    assert_ok(qcbmi_bitmap_store(&s->alloc, &s->plan, &s->map, &s->table, &s->entries, &err), &err);
    s->file = calloc(1, s->b.len + (size_t)s->want * s->b.cluster_size);
    assert_non_null(s->file);
    assert_int_equal(s->plan.n, 1);
    for (size_t i = 0; i < s->plan.stages[0].n; i++) {
        w = &s->plan.stages[0].writes[i];
        assert_true(w->off + w->len <= s->b.len + s->want * s->b.cluster_size);
        assert_ok(qcbmi_source_load(&w->source, 0, s->file + w->off, w->len, &err), &err);
    }
}

static void teardown(struct stored *s)
{
    free(s->file);
    qcbmi_dirtymap_free(&s->map);
    qcbmi_plan_free(&s->plan);
    qcbmi_alloc_free(&s->alloc);
    qcbmi_owners_free(&s->owners);
    qcbm_close(s->img);
    build_free(&s->b);
}

static uint64_t entry(const struct stored *s, uint32_t i)
{
    return be64_load(s->file + s->table + 8 * (uint64_t)i);
}

static void set(struct stored *s, uint64_t start, uint64_t end)
{
    assert_int_equal(qcbmi_dirtymap_set(&s->map, start, end, NULL), 0);
}

/* Compare table and data with the map, bit by bit. */
static void check_against_map(const struct stored *s)
{
    uint64_t per = 8 * (uint64_t)s->b.cluster_size, n = s->map.bits.n_bits, used = 0;

    assert_int_equal(s->entries, (n + per - 1) / per);
    for (uint32_t i = 0; i < s->entries; i++) {
        uint64_t n_set = 0, raw = entry(s, i);

        for (uint64_t bit = i * per; bit < (i + 1) * per; bit++)
            n_set += bit < n && qcbmi_bitset_get(&s->map.bits, bit);
        if (n_set == 0 || n_set == per) {
            assert_int_equal(raw, n_set ? 1 : 0);
            continue;
        }
        used++;
        assert_int_equal(raw % s->b.cluster_size, 0);
        assert_true(raw >= s->b.len || build_get_refcount(&s->b, raw) == 0);
        for (uint64_t bit = i * per; bit < (i + 1) * per; bit++)
            assert_int_equal(s->file[raw + bit % per / 8] >> (bit % 8) & 1,
                             bit < n && qcbmi_bitset_get(&s->map.bits, bit));
        for (uint32_t j = 0; j < i; j++)
            assert_int_not_equal(entry(s, j), raw);
    }
    assert_true(used + (8 * s->entries + s->b.cluster_size - 1) / s->b.cluster_size <= s->want);
}

static void clusters_all_clean_or_all_dirty_become_entries(void **state)
{
    struct stored s; /* 512 bytes of bitmap per cluster, 512 bytes per bit: 2 MiB per entry */

    (void)state;
    setup(&s, 9, MIB(8), 9, 0);
    set(&s, MIB(2), MIB(4));
    set(&s, MIB(4) + 512, MIB(4) + 1024);
    set(&s, MIB(6), MIB(8));
    run(&s);
    assert_int_equal(s.entries, 4);
    assert_int_equal(entry(&s, 0), 0);
    assert_int_equal(entry(&s, 1), 1);
    assert_int_equal(s.file[entry(&s, 2)], 0x02);
    assert_int_equal(entry(&s, 3), 1); /* the last one is whole */
    check_against_map(&s);
    teardown(&s);
}

static void a_clean_bitmap_takes_a_table_only(void **state)
{
    struct stored s;

    (void)state;
    setup(&s, 9, MIB(64), 9, 0);
    run(&s);
    assert_int_equal(s.plan.stages[0].n, 1);
    assert_int_equal(s.plan.stages[0].writes[0].off, s.table);
    assert_int_equal(s.plan.stages[0].writes[0].len, 8 * 32);
    assert_int_equal(s.alloc.n_taken, 1);
    check_against_map(&s);
    teardown(&s);
}

static void a_partial_last_cluster_is_never_an_all_ones_entry(void **state)
{
    static const uint64_t sizes[] = { 512, MIB(2) - 512, MIB(2) + 512, MIB(4) - 4096, MIB(2) + 9 * 512 };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        struct stored s;
        uint64_t last, n_bits = sizes[i] / 512, tail_from;

        setup(&s, 9, sizes[i], 9, 0);
        set(&s, 0, UINT64_MAX);
        run(&s);
        last = entry(&s, s.entries - 1);
        assert_true(last > 1);
        tail_from = n_bits % 4096;
        for (uint64_t bit = 0; bit < 4096; bit++) /* ones for granules, zeros behind them */
            assert_int_equal(s.file[last + bit / 8] >> (bit % 8) & 1, bit < tail_from);
        if (s.entries > 1)
            assert_int_equal(entry(&s, 0), 1);
        check_against_map(&s);
        teardown(&s);
    }
}

static void random_maps_are_stored_bit_by_bit(void **state)
{
    static const struct {
        uint32_t cluster_bits;
        uint64_t size;
        unsigned gran_bits;
    } shapes[] = {
        { 9, MIB(5), 9 }, { 9, MIB(5) + 512, 10 }, { 10, MIB(40), 9 }, { 12, MIB(300), 9 }, { 16, GIB(3) + 512, 12 },
    };
    uint64_t seed = 3;

    (void)state;
    for (unsigned i = 0; i < 3 * ARRAY_LEN(shapes); i++) {
        struct stored s;
        uint64_t size = shapes[i / 3].size;

        setup(&s, shapes[i / 3].cluster_bits, size, shapes[i / 3].gran_bits, i % 3);
        for (int k = 0; k < 5; k++) {
            uint64_t start = next_random(&seed) % size;

            set(&s, start, start + next_random(&seed) % (k ? size / 100 : size / 2));
        }
        run(&s);
        check_against_map(&s);
        teardown(&s);
    }
}

static void data_fills_holes_and_goes_on_behind_the_file(void **state)
{
    struct stored s;
    uint64_t first_hole;

    (void)state;
    setup(&s, 9, MIB(8), 9, 2);
    first_hole = s.b.len - 4 * 512;
    for (uint64_t i = 0; i < 4; i++)
        set(&s, MIB(2) * i, MIB(2) * i + 1);
    run(&s);
    assert_int_equal(entry(&s, 0), first_hole);
    assert_int_equal(entry(&s, 1), first_hole + 1024);
    assert_int_equal(entry(&s, 2), s.b.len);
    assert_int_equal(entry(&s, 3), s.b.len + 512);
    assert_int_equal(s.table, s.b.len + 1024);
    check_against_map(&s);
    teardown(&s);
}

static void neighbours_are_one_write(void **state)
{
    struct stored s;

    (void)state;
    setup(&s, 9, MIB(8), 9, 0);
    for (uint64_t i = 0; i < 4; i++)
        set(&s, MIB(2) * i, MIB(2) * i + 1);
    run(&s);
    assert_int_equal(s.plan.stages[0].n, 2); /* data, table */
    assert_int_equal(s.plan.stages[0].writes[0].len, 4 * 512);
    teardown(&s);
}

static void a_table_of_several_clusters_is_contiguous(void **state)
{
    struct stored s;

    (void)state;
    setup(&s, 9, MIB(2) * 65, 9, 1); /* 65 entries: 520 bytes; the hole in front is too small */
    assert_int_equal(qcbmi_bitmap_store_want(&s.map, 512), 65 + 2);
    set(&s, MIB(2) * 64, MIB(2) * 65);
    run(&s);
    assert_int_equal(s.entries, 65);
    assert_int_equal(s.table, s.b.len);
    assert_int_equal(entry(&s, 64), 1);
    check_against_map(&s);
    teardown(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(clusters_all_clean_or_all_dirty_become_entries),
        cmocka_unit_test(a_clean_bitmap_takes_a_table_only),
        cmocka_unit_test(a_partial_last_cluster_is_never_an_all_ones_entry),
        cmocka_unit_test(random_maps_are_stored_bit_by_bit),
        cmocka_unit_test(data_fills_holes_and_goes_on_behind_the_file),
        cmocka_unit_test(neighbours_are_one_write),
        cmocka_unit_test(a_table_of_several_clusters_is_contiguous),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
