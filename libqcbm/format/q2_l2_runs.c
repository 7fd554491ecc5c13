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

/* Move on to the next entry that is not zeros. */
static bool find(struct q2_l2_runs *r)
{
    while (r->at < r->g->l2_entries) {
        uint64_t rest;

        if (r->at >= r->end) {
            uint32_t n = r->g->l2_entries - r->at;

            n = n < Q2_L2_SCAN_MAX ? n : Q2_L2_SCAN_MAX;
            q2_l2_scan(r->scan, r->table + (size_t)r->at * r->g->l2_entry_size, n, &r->masks);
            r->base = r->at;
            r->end = r->at + n;
        }
        rest = (r->masks.plain | r->masks.odd) >> (r->at - r->base);
        if (rest) {
            r->at += (uint32_t)__builtin_ctzll(rest);
            return true;
        }
        r->at = r->end;
    }
    return false;
}

/* All that makes it odd is the flag for zeros, beside a cluster. */
static bool is_zero_with_cluster(const struct q2_l2_runs *r, uint64_t raw)
{
    return r->g->version > 2 && !r->g->extended_l2 && (raw & Q2_L2_ZERO) &&
           (raw & r->scan->odd_bits & ~Q2_L2_ZERO) == 0 && (raw & Q2_ENTRY_OFFSET_MASK) - 1 < r->offset_end - 1;
}

/* How many entries from r->at on, of which the first is @raw, continue it. */
static uint32_t length_of(const struct q2_l2_runs *r, uint64_t raw)
{
    const uint8_t *first = r->table + (size_t)r->at * r->g->l2_entry_size;
    uint64_t cs = r->g->cluster_size, room = div_up(r->offset_end - (raw & Q2_ENTRY_OFFSET_MASK), cs);
    uint32_t size = r->g->l2_entry_size, max = (uint32_t)u64_min(room, r->g->l2_entries - r->at), n = 1;

    if (size == 8)
        while (n < max && be64_load(first + 8 * (size_t)n) == raw + n * cs)
            n++;
    else
        while (n < max && be64_load(first + 16 * (size_t)n) == raw + n * cs &&
               be64_load(first + 16 * (size_t)n + 8) == be64_load(first + 8))
            n++;
    return n;
}

bool q2_l2_runs_next(struct q2_l2_runs *r, struct q2_l2_run *out)
{
    uint64_t raw;

    if (!find(r))
        return false;
    raw = be64_load(r->table + (size_t)r->at * r->g->l2_entry_size);
    *out = (struct q2_l2_run){ r->at, 1, raw, false };
    if (r->masks.plain >> (r->at - r->base) & 1 || is_zero_with_cluster(r, raw))
        out->n = length_of(r, raw);
    else
        out->odd = true;
    r->at += out->n;
    return true;
}
