/* slots.c - the slots of the active L1 table: which of its entries hold, and what the tables are that they lead to
 * SPDX-License-Identifier: MIT */
#include <stdlib.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/checked.h"
#include "base/sort.h"
#include "format/q2_l1l2.h"
#include "rescue/rescue.h"

#define PER_SECTOR (Q2_SECTOR / 8u)

bool qcbmi_slot_is_open(const struct qcbmi_slot *s)
{
    return s->state == QCBMI_SLOT_EMPTY || s->state == QCBMI_SLOT_BLANK || s->state == QCBMI_SLOT_BAD;
}

bool qcbmi_rescue_is_amiss(const struct qcbmi_rescue *r)
{
    for (uint64_t i = 0; i < r->n_slots; i++)
        if (r->slots[i].state == QCBMI_SLOT_BAD || r->slots[i].state == QCBMI_SLOT_LOST)
            return true;
    return (r->refcounts && qcbmi_rescue_next_left(r, 0) < r->n_clusters) || r->l1_in_doubt;
}

/* ---- L1 entries ---- */

static void judge_entry(const struct qcbmi_rescue *r, uint64_t raw, struct qcbmi_slot *s)
{
    struct q2_l1_entry e;
    uint64_t cluster;

    q2_l1_entry_parse(raw, r->g, &e);
    cluster = e.l2_offset >> r->g->cluster_bits;
    *s = (struct qcbmi_slot){ .state = QCBMI_SLOT_EMPTY };
    if (raw == 0)
        return;
    s->state = QCBMI_SLOT_BAD;
    if (e.reserved || e.unaligned || cluster == 0 || cluster >= r->n_clusters)
        return;
    s->state = QCBMI_SLOT_TABLE;
    s->table = e.l2_offset;
}

/* Of a sector of zeros nobody knows what was in it. */
static void judge_l1_sector(struct qcbmi_rescue *r, uint64_t from, uint64_t end)
{
    uint64_t zeros = 0;

    for (uint64_t i = from; i < end; i++)
        zeros += r->slots[i].state == QCBMI_SLOT_EMPTY;
    for (uint64_t i = from; zeros == end - from && i < end; i++)
        r->slots[i].state = QCBMI_SLOT_BLANK;
}

static int read_l1(struct qcbmi_rescue *r, struct qcbm_error *err)
{
    uint64_t piece = u64_min(QCBMI_RESCUE_PIECE, align_up(8 * r->n_slots, Q2_SECTOR)), n;
    uint8_t *bytes = qcbmi_alloc_array(piece, 1, err);
    int ret = bytes ? 0 : QCBM_E_NOMEM;

    for (uint64_t i = 0; ret == 0 && i < r->n_slots; i += n) {
        bool zeros;

        n = u64_min(piece / 8, r->n_slots - i);
        ret = qcbmi_holes_read(&r->holes, r->img->h.l1_offset + 8 * i, bytes, 8 * n, &zeros, "L1 table", err);
        for (uint64_t k = 0; ret == 0 && k < n; k++)
            judge_entry(r, zeros ? 0 : be64_load(bytes + 8 * k), &r->slots[i + k]);
        for (uint64_t k = 0; ret == 0 && k < n; k += PER_SECTOR)
            judge_l1_sector(r, i + k, i + u64_min(k + PER_SECTOR, n));
    }
    free(bytes);
    return ret;
}

/* ---- tables ---- */

struct tables {
    struct qcbmi_rescue *r;
    struct qcbmi_l2_ref *refs;
    size_t n;
    uint8_t *verdicts;
};

/* A table in the place of other metadata is none, unless a snapshot has it, too. */
static bool is_other_metadata(const struct qcbmi_rescue *r, uint64_t offset)
{
    return qcbmi_bitset_get(&r->meta, offset >> r->g->cluster_bits) && !qcbmi_rescue_is_of_snapshot(r, offset);
}

static int list_tables(struct tables *t, struct qcbm_error *err)
{
    struct qcbmi_rescue *r = t->r;

    t->refs = qcbmi_alloc_array(r->n_slots, sizeof(*t->refs), err);
    if (!t->refs)
        return QCBM_E_NOMEM;
    for (uint64_t i = 0; i < r->n_slots; i++) {
        struct qcbmi_slot *s = &r->slots[i];

        if (s->state != QCBMI_SLOT_TABLE)
            continue;
        if (is_other_metadata(r, s->table))
            *s = (struct qcbmi_slot){ .state = QCBMI_SLOT_BAD };
        else
            t->refs[t->n++] = (struct qcbmi_l2_ref){ s->table, i };
    }
    qcbmi_sort(t->refs, t->n, sizeof(*t->refs), qcbmi_by_two_u64);
    return 0;
}

/* More bad entries than sound ones: something else was written over the table. */
static int look_first(void *opaque, void *none, const struct qcbmi_l2_ref *ref, const uint8_t *table,
                      struct qcbm_error *err)
{
    struct tables *t = opaque;
    struct qcbmi_slot *s = &t->r->slots[ref->l1_index];
    uint32_t bad = 0, sound = table ? qcbmi_rescue_judge(t->r, table, t->verdicts, &bad) : 0;

    (void)none;
    (void)err;
    if (sound == 0 && bad == 0)
        s->state = QCBMI_SLOT_ZEROS;
    else if (bad > sound)
        s->state = QCBMI_SLOT_LOST;
    return 0;
}

static int look_again(void *opaque, void *none, const struct qcbmi_l2_ref *ref, const uint8_t *table,
                      struct qcbm_error *err)
{
    struct tables *t = opaque;
    uint32_t bad;

    (void)none;
    if (!table || t->r->slots[ref->l1_index].state != QCBMI_SLOT_TABLE)
        return 0;
    qcbmi_rescue_judge(t->r, table, t->verdicts, &bad);
    return qcbmi_rescue_name_targets(t->r, table, t->verdicts, 1, err);
}

/* Where most entries of a sector of the L1 table lead to no table, the others that do not are no pointers either. */
static void distrust_sectors(struct qcbmi_rescue *r)
{
    for (uint64_t from = 0; from < r->n_slots; from += PER_SECTOR) {
        uint64_t end = u64_min(from + PER_SECTOR, r->n_slots), good = 0, lost = 0, bad = 0;

        for (uint64_t i = from; i < end; i++) {
            good += r->slots[i].state == QCBMI_SLOT_TABLE;
            lost += r->slots[i].state == QCBMI_SLOT_LOST;
            bad += r->slots[i].state == QCBMI_SLOT_BAD;
        }
        for (uint64_t i = from; bad + lost > good && bad && i < end; i++)
            if (r->slots[i].state != QCBMI_SLOT_TABLE)
                r->slots[i] = (struct qcbmi_slot){ .state = QCBMI_SLOT_BAD };
    }
}

/* Of two slots with one table neither has it. */
static void drop_twins(struct tables *t)
{
    size_t kept = 0;

    for (size_t i = 0; i < t->n; i++)
        if (qcbmi_l2_is_named_twice(t->refs, t->n, i))
            t->r->slots[t->refs[i].l1_index] = (struct qcbmi_slot){ .state = QCBMI_SLOT_BAD };
    for (size_t i = 0; i < t->n; i++)
        if (t->r->slots[t->refs[i].l1_index].state != QCBMI_SLOT_BAD)
            t->refs[kept++] = t->refs[i];
    t->n = kept;
}

/* The clusters of all tables are metadata, before any entry of one is relied on. */
static int name_tables(struct tables *t, struct qcbm_error *err)
{
    struct qcbmi_rescue *r = t->r;
    unsigned cb = r->g->cluster_bits;
    int ret = 0;

    drop_twins(t);
    for (size_t i = 0; ret == 0 && i < t->n; i++) {
        ret = qcbmi_bitset_set(&r->meta, t->refs[i].offset >> cb, (t->refs[i].offset >> cb) + 1, err);
        if (ret == 0)
            ret = qcbmi_rescue_name(r, t->refs[i].offset, 1, 1, err);
    }
    return ret;
}

static int look_at_tables(struct tables *t, struct qcbm_error *err)
{
    struct qcbmi_l2_job job = { .stride = sizeof(struct qcbmi_l2_ref), .what = "L2 table", .opaque = t };
    int ret;

    drop_twins(t);
    job.refs = t->refs;
    job.n = t->n;
    job.look = look_first;
    ret = qcbmi_l2_read(t->r->img, &job, err);
    distrust_sectors(t->r);
    if (ret == 0)
        ret = name_tables(t, err);
    job.n = t->n;
    job.look = look_again;
    return ret == 0 ? qcbmi_l2_read(t->r->img, &job, err) : ret;
}

int qcbmi_rescue_slots(struct qcbmi_rescue *r, struct qcbm_error *err)
{
    struct tables t = { .r = r };
    int ret;

    r->n_slots = r->g->l1_used;
    r->slots = qcbmi_alloc_array(r->n_slots, sizeof(*r->slots), err);
    t.verdicts = qcbmi_alloc_array(r->g->l2_entries, 1, err);
    ret = r->slots && t.verdicts ? read_l1(r, err) : QCBM_E_NOMEM;
    if (ret == 0)
        ret = list_tables(&t, err);
    if (ret == 0)
        ret = look_at_tables(&t, err);
    free(t.refs);
    free(t.verdicts);
    return ret;
}
