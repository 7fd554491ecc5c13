/* test_l2_notes.c - notes of several tables, against the runs of each
 * SPDX-License-Identifier: MIT */
#include "unit.h"

#include "base/bytes.h"
#include "image/l2_notes.h"

#define FILE_END (UINT64_C(4) << 20)
enum { TABLES = 7, ENTRIES = 512 };

static struct q2_geometry geometry(void)
{
    struct q2_header h = { .version = 3, .cluster_bits = 12, .refcount_order = 4 };
    struct q2_geometry g;

    q2_geometry_derive(&h, &g);
    return g;
}

/* Table 0 is zeros, and table 1 has not one odd entry. */
static void fill(uint8_t *table, unsigned number, uint64_t *seed)
{
    memset(table, 0, 8 * ENTRIES);
    for (uint32_t i = 0; number && i < ENTRIES; i++) {
        uint64_t r = next_random(seed), raw = (uint64_t)(i + 1) * 4096;

        if (r % 4 == 0)
            raw = (r >> 8) % (FILE_END / 4096) * 4096;
        if (number > 1 && r % 31 == 0)
            raw = r;
        be64_store(table + 8 * i, raw);
    }
}

struct told {
    const struct q2_geometry *g;
    const struct q2_l2_scan *scan;
    const struct qcbmi_l2_ref *refs;
    uint8_t (*tables)[8 * ENTRIES];
    size_t n, stop, rest; /* rest: notes that were announced */
};

static int compare_table(void *opaque, const struct qcbmi_l2_ref *ref, const struct qcbmi_l2_content *content)
{
    struct told *t = opaque;
    const uint8_t *table = t->tables[t->n];
    struct q2_l2_run list[Q2_L2_SCAN_MAX];
    struct q2_l2_runs runs;
    bool odd = false;
    size_t k = 0;

    assert_ptr_equal(ref, &t->refs[t->n]);
    q2_l2_runs_begin(&runs, t->scan, t->g, table);
    for (uint32_t n; (n = q2_l2_runs_next(&runs, list)) > 0;)
        for (uint32_t i = 0; i < n; i++, k++) {
            assert_true(k < content->n);
            assert_int_equal(content->notes[k].raw, list[i].raw);
            assert_int_equal(content->notes[k].index, list[i].index);
            assert_int_equal(content->notes[k].n, list[i].odd ? 0 : list[i].n);
            odd |= list[i].odd;
        }
    assert_int_equal(content->n, k);
    assert_true(t->n == 0 || t->rest == content->n + content->n_ahead);
    t->rest = content->n_ahead;
    assert_int_equal(odd, content->bytes != NULL);
    if (odd)
        assert_memory_equal(content->bytes, table, sizeof(t->tables[0]));
    return ++t->n == t->stop ? 7 : 0;
}

static void notes_are_the_runs_of_each_table(void **state)
{
    static uint8_t tables[TABLES][8 * ENTRIES];
    struct qcbmi_l2_ref refs[TABLES] = { { 0 } };
    struct qcbmi_l2_notes notes = { 0 };
    struct q2_geometry g = geometry();
    struct q2_l2_scan scan;
    uint64_t seed = 11;

    (void)state;
    q2_l2_scan_init(&scan, &g, FILE_END);
    for (size_t round = 1; round <= 3; round++) {
        struct told told = { .g = &g, .scan = &scan, .refs = refs, .tables = tables };

        for (unsigned i = 0; i < TABLES; i++) {
            uint8_t *once = malloc(sizeof(tables[i])); /* gone when the notes are given out */

            fill(tables[i], i, &seed);
            memcpy(once, tables[i], sizeof(tables[i]));
            assert_int_equal(qcbmi_l2_notes_add(&notes, &scan, &g, &refs[i], i ? once : NULL, NULL), 0);
            free(once);
        }
        told.stop = round == 2 ? 3 : 0;
        assert_int_equal(qcbmi_l2_notes_give(&notes, &g, compare_table, &told), told.stop ? 7 : 0);
        assert_int_equal(told.n, told.stop ? told.stop : TABLES);
        assert_true(told.stop || told.rest == 0);
    }
    qcbmi_l2_notes_free(&notes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(notes_are_the_runs_of_each_table),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
