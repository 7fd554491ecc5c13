/* q2_l2_runs.c - what an L2 table names: clusters that lie one after the other as one run, odd entries one by one
 * SPDX-License-Identifier: MIT */
#include "format/q2_l2_runs.h"

#include "base/bytes.h"
#include "base/checked.h"

void q2_l2_runs_begin(struct q2_l2_runs *r, const struct q2_l2_scan *scan, const struct q2_geometry *g,
                      const uint8_t *table)
{
    /* A run must not count on into the reserved bits above the offset. */
    uint64_t offset_end = u64_min(scan->offset_end, Q2_ENTRY_OFFSET_MASK);

    *r = (struct q2_l2_runs){ .scan = scan, .g = g, .table = table, .offset_end = offset_end };
}

/* All that makes it odd is the flag for zeros, beside a cluster. */
static bool is_zero_with_cluster(const struct q2_l2_runs *r, uint64_t raw)
{
    return r->g->version > 2 && !r->g->extended_l2 && (raw & Q2_L2_ZERO) &&
           (raw & r->scan->odd_bits & ~Q2_L2_ZERO) == 0 && (raw & Q2_ENTRY_OFFSET_MASK) - 1 < r->offset_end - 1;
}

/* Does the last run of @r go on with the entries behind it? Then they are taken in. */
static void go_on(struct q2_l2_runs *r, struct q2_l2_run *run)
{
    uint64_t cs = r->g->cluster_size, follows = run->raw + run->n * cs, word = 0, want = 0;
    uint32_t size = r->g->l2_entry_size, n = r->g->l2_entries;

    for (; r->at < n; r->at++) {
        const uint8_t *at = r->table + (size_t)r->at * size;
        uint64_t raw = be64_load(at);

        if (size == 16) {
            word = be64_load(at + 8);
            want = Q2_SUBCLUSTERS_ALL_DATA;
        }
        if ((raw | word) == 0)
            continue;
        if (raw != follows || word != want || (raw & Q2_ENTRY_OFFSET_MASK) - 1 >= r->offset_end - 1) /* nor offset 0 */
            return;
        run->n++;
        follows += cs;
    }
}

/* The runs of entries @first on, as masks tell; returns their number. */
static uint32_t list_runs(const struct q2_l2_runs *r, uint32_t first, const struct q2_l2_masks *m,
                          struct q2_l2_run *out)
{
    uint64_t cs = r->g->cluster_size, follows = 0; /* what would continue the last run; 0: nothing does */
    uint32_t size = r->g->l2_entry_size, n = 0;

    for (uint64_t rest = m->plain | m->odd; rest; rest &= rest - 1) {
        unsigned bit = (unsigned)__builtin_ctzll(rest);
        uint64_t raw = be64_load(r->table + (size_t)(first + bit) * size);
        bool odd = !(m->plain >> bit & 1) && !is_zero_with_cluster(r, raw);

        if (!odd && raw == follows) {
            out[n - 1].n++;
            follows += cs;
            continue;
        }
        out[n++] = (struct q2_l2_run){ first + bit, 1, raw, odd };
        follows = odd ? 0 : raw + cs;
    }
    return n;
}

uint32_t q2_l2_runs_next(struct q2_l2_runs *r, struct q2_l2_run *out)
{
    uint32_t entries = r->g->l2_entries, n = 0;

    while (n == 0 && r->at < entries) {
        uint32_t first = r->at, count = entries - first < Q2_L2_SCAN_MAX ? entries - first : Q2_L2_SCAN_MAX;
        struct q2_l2_masks masks;

        q2_l2_scan(r->scan, r->table + (size_t)first * r->g->l2_entry_size, count, &masks);
        n = list_runs(r, first, &masks, out);
        r->at += count;
    }
    if (n && !out[n - 1].odd)
        go_on(r, &out[n - 1]);
    return n;
}
