/* test_q2_l2_runs.c - the runs of a table, against the parser of single entries
 * SPDX-License-Identifier: MIT */
#include "unit.h"

#include "base/bytes.h"
#include "base/checked.h"
#include "format/q2_l2_runs.h"

#define FILE_END (UINT64_C(4) << 20)

enum { EXT = 1, DATA_FILE = 2, V2 = 4 };

static struct q2_geometry geometry(uint32_t cluster_bits, unsigned kind)
{
    struct q2_header h = { .version = kind & V2 ? 2 : 3, .cluster_bits = cluster_bits, .refcount_order = 4 };
    struct q2_geometry g;

    if (kind & EXT)
        h.incompatible |= QCBM_INCOMPAT_EXTENDED_L2;
    if (kind & DATA_FILE)
        h.incompatible |= QCBM_INCOMPAT_DATA_FILE;
    q2_geometry_derive(&h, &g);
    return g;
}

/* Mostly the cluster behind the one before; zeros, flags, the end of the file and noise between. */
static uint64_t next_entry(const struct q2_geometry *g, uint64_t before, uint64_t *seed)
{
    uint64_t r = next_random(seed), cs = g->cluster_size;

    switch (next_random(seed) % 16) {
    case 0:
        return 0;
    case 1:
        return r % (FILE_END / cs) * cs | (r & Q2_ENTRY_COPIED);
    case 2:
        return before ^ UINT64_C(1) << (r >> 32) % 64;
    case 3:
        return FILE_END - cs * (r % 4);
    case 4:
        return r;
    case 5:
        return before + cs + Q2_L2_ZERO;
    default:
        return before + cs;
    }
}

/* Does the parser know nothing against it, and does it name a cluster of the file as a whole? */
static bool is_sound(const struct q2_geometry *g, uint64_t raw, uint64_t word)
{
    struct q2_l2_entry e;

    q2_l2_entry_parse(raw, word, 0, g, &e);
    if (e.defects || g->data_file || !range_fits(e.host_offset, e.host_len, FILE_END))
        return false;
    return g->extended_l2 ? e.kind == Q2_NORMAL && word == UINT32_MAX && !(raw & Q2_L2_ZERO)
                          : e.kind == Q2_NORMAL || e.kind == Q2_ZERO_ALLOC;
}

static void check_run(const struct q2_geometry *g, const uint8_t *table, const struct q2_l2_run *run)
{
    uint32_t size = g->l2_entry_size;

    assert_true(run->n >= 1 && run->index + run->n <= g->l2_entries);
    assert_true(!run->odd || run->n == 1);
    for (uint32_t i = 0; i < run->n; i++) {
        const uint8_t *at = table + (size_t)(run->index + i) * size;
        uint64_t raw = be64_load(at), word = size == 16 ? be64_load(at + 8) : 0;

        assert_int_equal(raw, run->raw + (uint64_t)i * g->cluster_size);
        assert_int_equal(run->odd, !is_sound(g, raw, word));
    }
}

/* Could the run have been longer? */
static void check_end(const struct q2_geometry *g, const uint8_t *table, const struct q2_l2_run *run)
{
    uint32_t next = run->index + run->n, size = g->l2_entry_size;
    const uint8_t *at = table + (size_t)next * size;

    if (run->odd || next == g->l2_entries)
        return;
    assert_false(is_sound(g, be64_load(at), size == 16 ? be64_load(at + 8) : 0) &&
                 be64_load(at) == run->raw + (uint64_t)run->n * g->cluster_size);
}

static void check_table(const struct q2_geometry *g, const uint8_t *table)
{
    struct q2_l2_scan scan;
    struct q2_l2_runs runs;
    struct q2_l2_run run;
    uint32_t at = 0, size = g->l2_entry_size;

    q2_l2_scan_init(&scan, g, FILE_END);
    q2_l2_runs_begin(&runs, &scan, g, table);
    while (q2_l2_runs_next(&runs, &run)) {
        for (; at < run.index; at++)
            assert_true(bytes_are_zero(table + (size_t)at * size, size));
        assert_int_equal(at, run.index);
        check_run(g, table, &run);
        check_end(g, table, &run);
        at += run.n;
    }
    for (; at < g->l2_entries; at++)
        assert_true(bytes_are_zero(table + (size_t)at * size, size));
}

static void runs_are_what_the_parser_says(void **state)
{
    static const unsigned kinds[] = { 0, V2, EXT, DATA_FILE };
    uint64_t seed = 7;

    (void)state;
    for (size_t k = 0; k < 4 * 200; k++) {
        struct q2_geometry g = geometry(k % 3 || kinds[k / 200] == EXT ? 14 : 12, kinds[k / 200]);
        uint8_t *table = malloc(g.cluster_size);
        uint64_t raw = next_random(&seed) % 64 * g.cluster_size;

        for (uint32_t i = 0; i < g.l2_entries; i++) {
            uint8_t *at = table + (size_t)i * g.l2_entry_size;

            be64_store(at, raw);
            if (g.extended_l2)
                be64_store(at + 8, raw == 0 ? 0 : next_random(&seed) % 8 ? UINT32_MAX : next_random(&seed));
            raw = next_entry(&g, raw, &seed);
        }
        check_table(&g, table);
        free(table);
    }
}

static void a_table_of_neighbours_is_one_run(void **state)
{
    struct q2_geometry g = geometry(12, 0);
    uint8_t *table = malloc(g.cluster_size);
    struct q2_l2_scan scan;
    struct q2_l2_runs runs;
    struct q2_l2_run run;

    (void)state;
    for (uint32_t i = 0; i < g.l2_entries; i++)
        be64_store(table + 8 * (size_t)i, (i + 1) * (uint64_t)4096 | Q2_ENTRY_COPIED | Q2_L2_ZERO);
    q2_l2_scan_init(&scan, &g, FILE_END);
    q2_l2_runs_begin(&runs, &scan, &g, table);
    assert_true(q2_l2_runs_next(&runs, &run));
    assert_int_equal(run.n, g.l2_entries);
    assert_false(run.odd);
    assert_false(q2_l2_runs_next(&runs, &run));
    free(table);
}

/* The largest offset that an entry can have: a run must not count on into the bits above it. */
static void a_run_ends_where_offsets_end(void **state)
{
    struct q2_geometry g = geometry(9, 0);
    uint8_t *table = calloc(1, g.cluster_size);
    uint64_t raw = Q2_ENTRY_OFFSET_MASK & ~UINT64_C(0x1ff);
    struct q2_l2_scan scan;
    struct q2_l2_runs runs;
    struct q2_l2_run run;

    (void)state;
    be64_store(table, raw - 512);
    be64_store(table + 8, raw);
    be64_store(table + 16, raw + 512);
    q2_l2_scan_init(&scan, &g, UINT64_MAX & ~UINT64_C(0x1ff));
    q2_l2_runs_begin(&runs, &scan, &g, table);
    while (q2_l2_runs_next(&runs, &run))
        assert_true(run.index == 2 ? run.odd : run.index + run.n <= 2);
    free(table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(runs_are_what_the_parser_says),
        cmocka_unit_test(a_table_of_neighbours_is_one_run),
        cmocka_unit_test(a_run_ends_where_offsets_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
