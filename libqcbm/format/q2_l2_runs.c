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
    r->odd_bits = scan->odd_bits;
    r->follow = q2_l2_follow_with(scan, g);
    if (g->version > 2 && !g->extended_l2)
        r->odd_bits &= ~Q2_L2_ZERO; /* beside a cluster */
}

static bool is_sound(const struct q2_l2_runs *r, uint64_t raw, uint64_t word)
{
    return (raw & r->odd_bits) == 0 && (raw & Q2_ENTRY_OFFSET_MASK) - 1 < r->offset_end - 1 && q2_l2_clash(word) == 0;
}

/* Does the last run of @r go on with the entries behind it? Then they are taken in. */
static void go_on(struct q2_l2_runs *r, struct q2_l2_run *run)
{
    uint64_t cs = r->g->cluster_size, room = div_up(r->offset_end - (run->raw & Q2_ENTRY_OFFSET_MASK), cs);
    uint32_t size = r->g->l2_entry_size, n = r->g->l2_entries;

    while (n - r->at >= Q2_L2_GROUP) {
        const uint8_t *at = r->table + (size_t)r->at * size;
        uint64_t want = run->raw + run->n * cs;
        uint64_t named = r->follow(at, want, r->g->cluster_bits);

        if (named > room - run->n)
            break;
        run->n += (uint32_t)named;
        r->at += Q2_L2_GROUP;
    }
    for (; r->at < n; r->at++) {
        const uint8_t *at = r->table + (size_t)r->at * size;
        uint64_t raw = be64_load(at), word = size == 16 ? be64_load(at + 8) : 0;

        if ((raw | word) == 0)
            continue;
        if (raw != run->raw + run->n * cs || q2_l2_clash(word) || run->n >= room)
            return;
        run->n++;
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
        const uint8_t *at = r->table + (size_t)(first + bit) * size;
        uint64_t raw = be64_load(at);
        bool odd = !(m->plain >> bit & 1) && !is_sound(r, raw, size == 16 ? be64_load(at + 8) : 0);

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
