/* test_q2_l2_runs.c - the runs of a table, against the parser of single entries
 * SPDX-License-Identifier: MIT */
#include "geometry_unit.h"
#include "unit.h"

#include "base/bytes.h"
#include "base/checked.h"
#include "format/q2_l2_runs.h"

#define FILE_END (UINT64_C(4) << 20)

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
    return e.kind == Q2_ZERO_ALLOC || (e.kind == Q2_NORMAL && !(raw & Q2_L2_ZERO));
}

static void entry_at(const struct q2_geometry *g, const uint8_t *table, uint32_t i, uint64_t *raw, uint64_t *word)
{
    const uint8_t *at = table + (size_t)i * g->l2_entry_size;

    *raw = be64_load(at);
    *word = g->extended_l2 ? be64_load(at + 8) : 0;
}

/* Entry @i is the next of @run: the one that it says, sound or odd as it says. */
static void check_member(const struct q2_geometry *g, const uint8_t *table, const struct q2_l2_run *run, uint32_t i,
                         uint32_t number)
{
    uint64_t raw, word;

    entry_at(g, table, i, &raw, &word);
    assert_int_equal(raw, run->raw + (uint64_t)number * g->cluster_size);
    assert_int_equal(run->odd, !is_sound(g, raw, word));
}

/* Each entry that is not zeros belongs to the run that is due, and runs end only where they must. */
static void check_table(const struct q2_geometry *g, const uint8_t *table)
{
    struct q2_l2_scan scan;
    struct q2_l2_runs runs;
    struct q2_l2_run list[Q2_L2_SCAN_MAX], *run = NULL;
    uint32_t n = 0, next = 0, number = 0;
    uint64_t raw, word;

    q2_l2_scan_init(&scan, g, FILE_END);
    q2_l2_runs_begin(&runs, &scan, g, table);
    for (uint32_t i = 0; i < g->l2_entries; i++) {
        entry_at(g, table, i, &raw, &word);
        if ((raw | word) == 0)
            continue;
        if (!run || number == run->n) {
            bool continued =
                run && !run->odd && is_sound(g, raw, word) && raw == run->raw + (uint64_t)number * g->cluster_size;

            assert_false(continued);
            if (next == n) {
                n = q2_l2_runs_next(&runs, list);
                next = 0;
            }
            assert_true(next < n);
            run = &list[next++];
            number = 0;
            assert_int_equal(run->index, i);
        }
        check_member(g, table, run, i, number++);
    }
    assert_true(!run || number == run->n);
    assert_true(next == n);
    assert_int_equal(q2_l2_runs_next(&runs, list), 0);
}

/* Data, zeros and neither in one cluster, and rarely what cannot be. */
static uint64_t next_word(uint64_t *seed)
{
    uint64_t r = next_random(seed);

    switch (next_random(seed) % 32) {
    case 0:
        return r;
    case 1:
        return 0;
    case 2:
        return UINT32_MAX;
    default:
        return (r & UINT32_MAX) | (~r & UINT32_MAX) << 32;
    }
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
                be64_store(at + 8, raw == 0 ? next_random(&seed) % 16 == 0 : next_word(&seed));
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
    struct q2_l2_run list[Q2_L2_SCAN_MAX];

    (void)state;
    for (uint32_t i = 0; i < g.l2_entries; i++)
        be64_store(table + 8 * (size_t)i, (i + 1) * (uint64_t)4096 | Q2_ENTRY_COPIED | Q2_L2_ZERO);
    q2_l2_scan_init(&scan, &g, FILE_END);
    q2_l2_runs_begin(&runs, &scan, &g, table);
    assert_int_equal(q2_l2_runs_next(&runs, list), 1);
    assert_int_equal(list[0].n, g.l2_entries);
    assert_false(list[0].odd);
    assert_int_equal(q2_l2_runs_next(&runs, list), 0);
    free(table);
}

/* A random half of the entries, and one entry that goes on with nothing, at each place once. */
static void zeros_do_not_end_a_run(void **state)
{
    static const unsigned kinds[] = { 0, EXT };
    uint64_t seed = 3;

    (void)state;
    for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
        struct q2_geometry g = geometry(14, kinds[k]);
        uint8_t *table = malloc(g.cluster_size);

        for (uint32_t wrong = 0; wrong < g.l2_entries; wrong += 1 + wrong / 200) {
            uint64_t raw = 0;

            memset(table, 0, g.cluster_size);
            for (uint32_t i = 0; i < g.l2_entries && raw < FILE_END - 3 * g.cluster_size; i++) {
                if (i != wrong && next_random(&seed) % 2)
                    continue;
                raw += g.cluster_size + (i == wrong ? g.cluster_size : 0);
                be64_store(table + (size_t)i * g.l2_entry_size, raw);
                if (g.extended_l2)
                    be64_store(table + (size_t)i * g.l2_entry_size + 8, next_word(&seed) & UINT32_MAX);
            }
            check_table(&g, table);
        }
        free(table);
    }
}

/* The same behind the first entries that are looked at together, where clusters are larger than what the offset's
 * lowest bit stands for: 2^56 has no bit of an offset, and is a reserved one. */
static void a_long_run_ends_where_offsets_end(void **state)
{
    struct q2_geometry g = geometry(12, 0);
    uint8_t *table = calloc(1, g.cluster_size);
    struct q2_l2_scan scan;
    struct q2_l2_runs runs;
    struct q2_l2_run list[Q2_L2_SCAN_MAX];

    (void)state;
    for (uint64_t i = 0; i <= Q2_L2_SCAN_MAX; i++)
        be64_store(table + 8 * i, (UINT64_C(1) << 56) - (Q2_L2_SCAN_MAX - i) * 4096);
    q2_l2_scan_init(&scan, &g, UINT64_MAX & ~UINT64_C(0xfff));
    q2_l2_runs_begin(&runs, &scan, &g, table);
    assert_int_equal(q2_l2_runs_next(&runs, list), 1);
    assert_int_equal(list[0].n, Q2_L2_SCAN_MAX);
    assert_int_equal(q2_l2_runs_next(&runs, list), 1);
    assert_true(list[0].odd);
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
    struct q2_l2_run list[Q2_L2_SCAN_MAX];
    uint32_t n;

    (void)state;
    be64_store(table, raw - 512);
    be64_store(table + 8, raw);
    be64_store(table + 16, raw + 512);
    q2_l2_scan_init(&scan, &g, UINT64_MAX & ~UINT64_C(0x1ff));
    q2_l2_runs_begin(&runs, &scan, &g, table);
    n = q2_l2_runs_next(&runs, list);
    assert_true(n >= 2);
    for (uint32_t i = 0; i < n; i++)
        assert_true(list[i].index == 2 ? list[i].odd : list[i].index + list[i].n <= 2);
    free(table);
}

/* A group that goes on, with or without zeros between, and mostly with one bit changed. */
static void fill_group(uint8_t *group, const struct q2_geometry *g, uint64_t want, uint64_t *seed)
{
    uint64_t zeros = next_random(seed) % 3 ? next_random(seed) : 0;

    memset(group, 0, Q2_L2_GROUP * 16);
    for (uint32_t i = 0; i < Q2_L2_GROUP; i++) {
        uint8_t *at = group + (size_t)i * g->l2_entry_size;

        if (zeros >> i & 1)
            continue;
        be64_store(at, want);
        if (g->extended_l2)
            be64_store(at + 8, next_word(seed) & (next_random(seed) % 64 ? UINT32_MAX : UINT64_MAX));
        want += g->cluster_size;
    }
    if (next_random(seed) % 3)
        group[next_random(seed) % (Q2_L2_GROUP * g->l2_entry_size)] ^= (uint8_t)(1 << next_random(seed) % 8);
}

static void groups_are_what_the_portable_twin_says(void **state)
{
    uint64_t seed = 5, n_follow = 0;

    (void)state;
    for (unsigned k = 0; k < 20000; k++) {
        struct q2_geometry g = geometry(14, k % 2 ? EXT : 0);
        q2_l2_follow_fn *portable = k % 2 ? q2_l2_follow_extended : q2_l2_follow_standard;
        uint64_t want = (1 + next_random(&seed) % 64) * g.cluster_size | (k & 2 ? Q2_ENTRY_COPIED : 0), said;
        uint8_t group[Q2_L2_GROUP * 16];
        struct q2_l2_scan scan;

        q2_l2_scan_init(&scan, &g, FILE_END);
        fill_group(group, &g, want, &seed);
        said = portable(group, want, g.cluster_bits);
        assert_int_equal(q2_l2_follow_with(&scan, &g)(group, want, g.cluster_bits), said);
        n_follow += said != Q2_L2_OTHERWISE;
    }
    assert_true(n_follow > 2000 && n_follow < 18000);
}

/* All of this once for each way to do it on this processor. */
static int run_with(const struct q2_l2_scan_twin *twin)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(runs_are_what_the_parser_says),     cmocka_unit_test(zeros_do_not_end_a_run),
        cmocka_unit_test(a_table_of_neighbours_is_one_run),  cmocka_unit_test(a_run_ends_where_offsets_end),
        cmocka_unit_test(a_long_run_ends_where_offsets_end), cmocka_unit_test(groups_are_what_the_portable_twin_says),
    };

    q2_l2_scan_take(twin);
    return cmocka_run_group_tests_name(twin->name, tests, NULL, NULL);
}

int main(void)
{
    int failed = 0;

    for (unsigned i = 0; i < q2_l2_scan_n_twins; i++)
        if (q2_l2_scan_twins[i].usable())
            failed += run_with(&q2_l2_scan_twins[i]);
    return failed;
}
