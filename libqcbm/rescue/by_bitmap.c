/* by_bitmap.c - evidence of bitmaps: where the dirty granules lie as the clusters of a table do
 * SPDX-License-Identifier: MIT
 *
 * A bitmap that recorded since the layer began is dirty where the layer has clusters. So each table has a pattern, a
 * bit a granule, and each slot has one; where a pattern stands once on either side it is a match. Patterns are compared
 * by their digests, so the cost is that of reading both once. */
#include <stdlib.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "base/digest.h"
#include "base/sort.h"
#include "bitmap/bitmap_load.h"
#include "format/q2_l1l2.h"
#include "rescue/evidence.h"

struct pattern {
    uint64_t hash;
    uint64_t what; /* a slot, or the offset of a table */
    bool table;
};

struct patterns {
    struct qcbmi_votes *v;
    struct pattern *list;
    size_t n, capacity;
    uint64_t unit; /* bytes of the disk for which there is a bit */
    uint8_t *bits;
    uint64_t n_bytes;
};

static void set_units(struct patterns *p, uint64_t start, uint64_t end)
{
    for (uint64_t u = start / p->unit; u <= (end - 1) / p->unit; u++)
        p->bits[u / 8] = (uint8_t)(p->bits[u / 8] | 1u << u % 8);
}

static int add_pattern(struct patterns *p, uint64_t what, bool table, struct qcbm_error *err)
{
    uint8_t digest[QCBMI_DIGEST_BYTES];
    struct pattern one = { 0, what, table };

    qcbmi_digest(p->bits, (size_t)p->n_bytes, digest);
    memcpy(&one.hash, digest, sizeof(one.hash));
    if (qcbmi_grow_array(&p->list, &p->capacity, p->n, sizeof(one), err) < 0)
        return QCBM_E_NOMEM;
    p->list[p->n++] = one;
    return 0;
}

static int pattern_of_table(void *opaque, void *none, const struct qcbmi_l2_ref *ref, const uint8_t *table,
                            struct qcbm_error *err)
{
    struct patterns *p = opaque;
    struct qcbmi_rescue *r = p->v->r;

    (void)none;
    if (!table || !qcbmi_candidate_is_root(&r->found[ref->l1_index]))
        return 0;
    memset(p->bits, 0, (size_t)p->n_bytes);
    for (uint32_t i = 0; i < r->g->l2_entries; i++) {
        uint64_t at = (uint64_t)i << r->g->cluster_bits;
        struct q2_l2_entry e;

        qcbmi_rescue_parse(r, table, i, 0, &e);
        if (q2_l2_entry_allocated_mask(&e, r->g))
            set_units(p, at, at + r->g->cluster_size);
    }
    return add_pattern(p, ref->offset, true, err);
}

static int patterns_of_slots(struct patterns *p, const struct qcbmi_dirtymap *map, struct qcbm_error *err)
{
    const struct qcbmi_rescue *r = p->v->r;
    uint64_t span = r->g->l2_span, start, end, limit;
    int ret = 0;

    for (uint64_t at = 0; ret == 0 && at < map->size && qcbmi_dirtymap_next(map, at, &start, &end); at = limit) {
        uint64_t slot = u64_max(start, at) / span, base = slot * span;

        limit = base + span;
        memset(p->bits, 0, (size_t)p->n_bytes);
        for (at = base; at < limit && qcbmi_dirtymap_next(map, at, &start, &end) && start < limit; at = end)
            set_units(p, u64_max(start, base) - base, u64_min(end, limit) - base);
        if (slot < r->n_slots && qcbmi_slot_is_open(&r->slots[slot]))
            ret = add_pattern(p, slot, false, err);
    }
    return ret;
}

static int match(struct patterns *p, struct qcbm_error *err)
{
    int ret = 0;

    qcbmi_sort(p->list, p->n, sizeof(*p->list), qcbmi_by_u64);
    for (size_t i = 0, end; ret == 0 && i < p->n; i = end) {
        for (end = i + 1; end < p->n && p->list[end].hash == p->list[i].hash;)
            end++;
        if (end != i + 2 || p->list[i].table == p->list[i + 1].table)
            continue;
        const struct pattern *t = p->list[i].table ? &p->list[i] : &p->list[i + 1];
        const struct pattern *s = p->list[i].table ? &p->list[i + 1] : &p->list[i];
        ret = qcbmi_vote(p->v, t->what, s->what, 88, QCBMI_WHY_BITMAP, err);
    }
    return ret;
}

static int ask_bitmap(struct qcbmi_votes *v, const struct qcbmi_bitmap *b, struct qcbm_error *err)
{
    struct qcbmi_rescue *r = v->r;
    struct patterns p = { .v = v, .unit = u64_max(UINT64_C(1) << b->d.granularity_bits, r->g->cluster_size) };
    struct qcbmi_l2_job job = { .refs = r->found,
                                .n = r->n_found,
                                .stride = sizeof(*r->found),
                                .what = "L2 table",
                                .opaque = &p,
                                .look = pattern_of_table };
    struct qcbmi_dirtymap map = { 0 };
    int ret;

    p.n_bytes = div_up(div_up(r->g->l2_span, p.unit), 8);
    if (p.unit > r->g->l2_span / 4)
        return 0;
    p.bits = qcbmi_alloc_array(p.n_bytes, 1, err);
    ret = p.bits ? qcbmi_bitmap_load(r->img, b, &map, NULL) : QCBM_E_NOMEM;
    if (ret == 0)
        ret = patterns_of_slots(&p, &map, err);
    if (ret == 0)
        ret = qcbmi_l2_read(r->img, &job, err);
    if (ret == 0)
        ret = match(&p, err);
    qcbmi_dirtymap_free(&map);
    free(p.bits);
    free(p.list);
    return ret == QCBM_E_CORRUPT ? 0 : ret; /* a bitmap that cannot be read is no evidence */
}

#define MAX_ASKED 4u

int qcbmi_rescue_ask_bitmaps(struct qcbmi_votes *v, struct qcbm_error *err)
{
    const struct qcbmi_bitmap_list *list = v->r->handle->bitmaps;
    unsigned asked = 0;
    int ret = 0;

    for (uint32_t i = 0; ret == 0 && !list->stale && i < list->n && asked < MAX_ASKED; i++) {
        const struct qcbmi_bitmap *b = &list->list[i];

        if (qcbmi_bitmap_check_bits(v->r->handle, b, false, NULL) < 0 ||
            qcbmi_bitmap_check_table(v->r->img, b, NULL) < 0)
            continue;
        asked++;
        ret = ask_bitmap(v, b, err);
    }
    return ret;
}
