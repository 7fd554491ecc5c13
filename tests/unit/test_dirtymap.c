/* test_dirtymap.c - a dirty bitmap in memory: rounding, clipping, merging across granularities
 * SPDX-License-Identifier: MIT */
#include "unit.h"

#include "bitmap/dirtymap.h"

#define KIB(n) ((uint64_t)(n) << 10)

static void new_map(struct qcbmi_dirtymap *map, uint64_t size, unsigned gran_bits)
{
    assert_int_equal(qcbmi_dirtymap_init(map, size, gran_bits, NULL), 0);
}

static void set(struct qcbmi_dirtymap *map, uint64_t start, uint64_t end)
{
    assert_int_equal(qcbmi_dirtymap_set(map, start, end, NULL), 0);
}

static void the_last_granule_may_be_partial(void **state)
{
    static const struct {
        uint64_t size;
        unsigned gran_bits;
        uint64_t bits;
    } cases[] = {
        { 0, 9, 0 },
        { 1, 9, 1 },
        { 512, 9, 1 },
        { 513, 9, 2 },
        { KIB(64), 16, 1 },
        { KIB(64) + 512, 16, 2 },
        { (UINT64_C(10) << 30) + 512, 16, 163841 },
        { INT64_MAX, 31, UINT64_C(1) << 32 },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct qcbmi_dirtymap map;

        new_map(&map, cases[i].size, cases[i].gran_bits);
        assert_int_equal(map.bits.n_bits, cases[i].bits);
        assert_int_equal(qcbmi_dirtymap_dirty_bytes(&map), 0);
        set(&map, 0, UINT64_MAX);
        assert_int_equal(qcbmi_bitset_count(&map.bits), cases[i].bits);
        assert_int_equal(qcbmi_dirtymap_dirty_bytes(&map), cases[i].size);
        qcbmi_dirtymap_free(&map);
    }
}

static void set_rounds_outward_and_clips_at_the_size(void **state)
{
    static const struct {
        uint64_t start, end, first, n; /* granules of 4 KiB in 18 KiB */
    } cases[] = {
        { 0, 1, 0, 1 },
        { 4095, 4096, 0, 1 },
        { 4095, 4097, 0, 2 },
        { 4096, 8192, 1, 1 },
        { 4096, 8193, 1, 2 },
        { KIB(17), KIB(18), 4, 1 },
        { KIB(17), KIB(19), 4, 1 },
        { KIB(12), UINT64_MAX, 3, 2 },
        { 5, 5, 0, 0 },
        { 6, 5, 0, 0 },
        { KIB(18), KIB(20), 0, 0 },
        { UINT64_MAX, UINT64_MAX, 0, 0 },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct qcbmi_dirtymap map;

        new_map(&map, KIB(18), 12);
        set(&map, cases[i].start, cases[i].end);
        assert_int_equal(qcbmi_bitset_count(&map.bits), cases[i].n);
        if (cases[i].n)
            assert_int_equal(qcbmi_bitset_next_set(&map.bits, 0), cases[i].first);
        assert_int_equal(qcbmi_bitset_count_range(&map.bits, cases[i].first, cases[i].first + cases[i].n), cases[i].n);
        qcbmi_dirtymap_free(&map);
    }
}

static void next_gives_ranges_clipped_at_the_size(void **state)
{
    struct qcbmi_dirtymap map;
    uint64_t start = 7, end = 7;

    (void)state;
    new_map(&map, KIB(18), 12);
    assert_false(qcbmi_dirtymap_next(&map, 0, &start, &end));
    set(&map, KIB(4), KIB(12));
    set(&map, KIB(17), KIB(18));
    assert_true(qcbmi_dirtymap_next(&map, 0, &start, &end));
    assert_int_equal(start, KIB(4));
    assert_int_equal(end, KIB(12));
    assert_true(qcbmi_dirtymap_next(&map, 5000, &start, &end)); /* from inside a range: the rest of it */
    assert_int_equal(start, 5000);
    assert_int_equal(end, KIB(12));
    assert_true(qcbmi_dirtymap_next(&map, end, &start, &end));
    assert_int_equal(start, KIB(16));
    assert_int_equal(end, KIB(18));
    assert_false(qcbmi_dirtymap_next(&map, end, &start, &end));
    assert_false(qcbmi_dirtymap_next(&map, UINT64_MAX, &start, &end));
    assert_int_equal(qcbmi_dirtymap_dirty_bytes(&map), KIB(10));
    qcbmi_dirtymap_free(&map);
}

/* @to |= @from byte by byte: the slow and obvious way, in sectors. */
static void expect_merge(const struct qcbmi_dirtymap *to_before, const struct qcbmi_dirtymap *from,
                         const struct qcbmi_dirtymap *to_after)
{
    for (uint64_t bit = 0; bit < to_after->bits.n_bits; bit++) {
        bool want = qcbmi_bitset_get(&to_before->bits, bit);

        for (uint64_t at = bit << to_after->gran_bits; at < (bit + 1) << to_after->gran_bits; at += 512)
            want |= at < to_after->size && at < from->size && qcbmi_bitset_get(&from->bits, at >> from->gran_bits);
        assert_int_equal(qcbmi_bitset_get(&to_after->bits, bit), want);
    }
}

static void fill(struct qcbmi_dirtymap *map, uint64_t *seed)
{
    for (int i = 0; i < 6; i++) {
        uint64_t start = next_random(seed) % map->size;

        set(map, start, start + next_random(seed) % 5000);
    }
}

static void merge_rounds_outward_at_any_granularities_and_sizes(void **state)
{
    static const uint64_t sizes[] = { 512, KIB(8), KIB(64), KIB(64) + 512, KIB(100) - 512 };
    static const unsigned grans[] = { 9, 10, 12, 16 };
    uint64_t seed = 1;

    (void)state;
    for (unsigned i = 0; i < 400; i++) {
        struct qcbmi_dirtymap to, before, from;
        unsigned gran_bits = grans[next_random(&seed) % 4];
        uint64_t size = sizes[next_random(&seed) % 5];

        new_map(&to, size, gran_bits);
        new_map(&before, size, gran_bits);
        new_map(&from, sizes[next_random(&seed) % 5], grans[next_random(&seed) % 4]);
        fill(&to, &seed);
        assert_int_equal(qcbmi_bitset_or(&before.bits, &to.bits, NULL), 0);
        fill(&from, &seed);
        assert_int_equal(qcbmi_dirtymap_merge(&to, &from, NULL), 0);
        expect_merge(&before, &from, &to);
        qcbmi_dirtymap_free(&to);
        qcbmi_dirtymap_free(&before);
        qcbmi_dirtymap_free(&from);
    }
}

static void a_partial_last_granule_merges_into_a_longer_map_clipped(void **state)
{
    struct qcbmi_dirtymap to, from;

    (void)state;
    new_map(&from, KIB(64) + 512, 16);
    new_map(&to, KIB(192), 9);
    set(&from, KIB(64), KIB(64) + 1);
    assert_int_equal(qcbmi_dirtymap_merge(&to, &from, NULL), 0);
    assert_int_equal(qcbmi_bitset_count(&to.bits), 1); /* not the whole 64 KiB granule */
    assert_true(qcbmi_bitset_get(&to.bits, 128));
    qcbmi_dirtymap_free(&to);
    qcbmi_dirtymap_free(&from);
}

static void sizes_above_the_limit_are_refused(void **state)
{
    struct qcbmi_dirtymap map = { 0 };
    struct qcbm_error err = { 0 };

    (void)state;
    assert_int_equal(qcbmi_dirtymap_init(&map, INT64_MAX, 9, &err), QCBM_E_LIMIT);
    assert_int_equal(err.code, QCBM_E_LIMIT);
    qcbmi_dirtymap_free(&map);
}

static void free_takes_a_zeroed_struct(void **state)
{
    struct qcbmi_dirtymap map = { 0 };

    (void)state;
    qcbmi_dirtymap_free(&map);
    qcbmi_dirtymap_free(&map);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_last_granule_may_be_partial),
        cmocka_unit_test(set_rounds_outward_and_clips_at_the_size),
        cmocka_unit_test(next_gives_ranges_clipped_at_the_size),
        cmocka_unit_test(merge_rounds_outward_at_any_granularities_and_sizes),
        cmocka_unit_test(a_partial_last_granule_merges_into_a_longer_map_clipped),
        cmocka_unit_test(sizes_above_the_limit_are_refused),
        cmocka_unit_test(free_takes_a_zeroed_struct),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
