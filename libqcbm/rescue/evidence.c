/* evidence.c - in which slot of the L1 table a table belongs: what speaks for it is collected, and decided on
 * SPDX-License-Identifier: MIT
 *
 * Each piece of evidence is a vote: this table, that slot, how sure, why. A table goes where its strongest vote is, if
 * no other slot has one as strong, and no other table one as strong for that slot. None of it is proof. */
#include <stdlib.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/checked.h"
#include "base/sort.h"
#include "format/q2_l1l2.h"
#include "rescue/evidence.h"

/* ---- snapshots ---- */

/* The active state shares a table with a snapshot, at the same index. */
static int ask_snapshots(struct qcbmi_votes *v, struct qcbm_error *err)
{
    struct qcbmi_rescue *r = v->r;
    int ret = 0;

    for (size_t i = 0; r->refcounts && ret == 0 && i < r->n_snap; i++)
        if (qcbmi_rescue_is_left(r, r->snap[i].offset >> r->g->cluster_bits))
            ret = qcbmi_vote(v, r->snap[i].offset, r->snap[i].l1_index, qcbmi_score_of_excess(r), QCBMI_WHY_SNAPSHOT,
                             err);
    return ret;
}

/* Data that a candidate shares with snapshots, a few clusters of each. */
struct shared {
    uint64_t host;
    uint64_t table;
    uint32_t index;
};
#define SHARED_OF_EACH 4u

struct sharing {
    struct qcbmi_votes *v;
    struct shared *list;
    size_t n, capacity;
};

static int collect_shared(void *opaque, void *none, const struct qcbmi_l2_ref *ref, const uint8_t *table,
                          struct qcbm_error *err)
{
    struct sharing *s = opaque;
    struct qcbmi_rescue *r = s->v->r;
    uint32_t kept = 0;

    (void)none;
    if (!table || !qcbmi_candidate_is_root(&r->found[ref->l1_index]) || qcbmi_rescue_is_of_snapshot(r, ref->offset))
        return 0; /* a table of a snapshot shares all data with itself */
    for (uint32_t i = 0; i < r->g->l2_entries && kept < SHARED_OF_EACH; i++) {
        struct q2_l2_entry e;

        qcbmi_rescue_parse(r, table, i, 0, &e);
        if (e.host_len == 0 || e.kind == Q2_COMPRESSED ||
            qcbmi_counts_get(&r->stored, e.host_offset >> r->g->cluster_bits) < 2)
            continue;
        if (qcbmi_grow_array(&s->list, &s->capacity, s->n, sizeof(*s->list), err) < 0)
            return QCBM_E_NOMEM;
        s->list[s->n++] = (struct shared){ e.host_offset, ref->offset, i };
        kept++;
    }
    return 0;
}

static int match_shared(void *opaque, void *none, const struct qcbmi_l2_ref *ref, const uint8_t *table,
                        struct qcbm_error *err)
{
    struct sharing *s = opaque;
    struct qcbmi_rescue *r = s->v->r;
    int ret = 0;

    (void)none;
    for (uint32_t i = 0; table && ret == 0 && i < r->g->l2_entries; i++) {
        struct q2_l2_entry e;
        size_t k;

        qcbmi_rescue_parse(r, table, i, 0, &e);
        if (e.host_len == 0 || e.kind == Q2_COMPRESSED)
            continue;
        k = qcbmi_lower_bound_u64(s->list, s->n, sizeof(*s->list), e.host_offset);
        if (k < s->n && s->list[k].host == e.host_offset && s->list[k].index == i)
            ret = qcbmi_vote(s->v, s->list[k].table, ref->l1_index, 99, QCBMI_WHY_SNAPSHOT_DATA, err);
    }
    return ret;
}

/* A cluster is shared at one place of the disk only. */
static int ask_shared_data(struct qcbmi_votes *v, struct qcbm_error *err)
{
    struct qcbmi_rescue *r = v->r;
    struct sharing s = { .v = v };
    struct qcbmi_l2_job job = { .refs = r->found,
                                .n = r->n_found,
                                .stride = sizeof(*r->found),
                                .what = "L2 table",
                                .opaque = &s,
                                .look = collect_shared };
    int ret = r->n_snap ? qcbmi_l2_read(r->img, &job, err) : 0;

    qcbmi_sort(s.list, s.n, sizeof(*s.list), qcbmi_by_two_u64);
    job.refs = r->snap;
    job.n = r->n_snap;
    job.stride = sizeof(*r->snap);
    job.look = match_shared;
    if (ret == 0 && s.n)
        ret = qcbmi_l2_read(r->img, &job, err);
    free(s.list);
    return ret;
}

/* ---- old copies of the L1 table ---- */

struct copies {
    struct qcbmi_votes *v;
    uint64_t next, index; /* behind the last cluster of such a copy, and which entry comes there */
};

/* Entries of an L1 table and nothing else, at least one of which names a root. */
static bool is_l1_copy(const struct qcbmi_rescue *r, const uint8_t *bytes)
{
    uint32_t known = 0;

    for (uint32_t i = 0; i < r->g->cluster_size; i += 8) {
        uint64_t raw = be64_load(bytes + i);
        struct q2_l1_entry e;
        const struct qcbmi_candidate *c;

        if (raw == 0)
            continue;
        q2_l1_entry_parse(raw, r->g, &e);
        if (e.reserved || e.unaligned || e.l2_offset >> r->g->cluster_bits >= r->n_clusters)
            return false;
        c = qcbmi_rescue_candidate(r, e.l2_offset);
        known += c && qcbmi_candidate_is_root(c);
    }
    return known > 0;
}

static int ask_copy(struct copies *c, uint64_t offset, const uint8_t *bytes, struct qcbm_error *err)
{
    const struct qcbmi_rescue *r = c->v->r;
    uint64_t index = offset == c->next ? c->index : 0;
    int ret = 0;

    if (!is_l1_copy(r, bytes))
        return 0;
    for (uint32_t i = 0; ret == 0 && i < r->g->cluster_size; i += 8) {
        struct q2_l1_entry e;

        q2_l1_entry_parse(be64_load(bytes + i), r->g, &e);
        if (e.l2_offset && qcbmi_rescue_candidate(r, e.l2_offset))
            ret = qcbmi_vote(c->v, e.l2_offset, index + i / 8, 90, QCBMI_WHY_OLD_L1, err);
    }
    c->next = offset + r->g->cluster_size;
    c->index = index + r->g->cluster_size / 8;
    return ret;
}

static bool may_be_copy(const struct qcbmi_rescue *r, uint64_t cluster)
{
    const struct qcbmi_candidate *c = qcbmi_rescue_candidate(r, cluster << r->g->cluster_bits);

    return c ? c->l1 : qcbmi_counts_get(&r->named, cluster) == 0 && qcbmi_counts_get(&r->stored, cluster) == 0;
}

/* A table that had to grow was copied, and its old clusters are free and mostly as they were. */
static int ask_old_l1(struct qcbmi_votes *v, struct qcbm_error *err)
{
    struct qcbmi_rescue *r = v->r;
    unsigned cb = r->g->cluster_bits;
    uint64_t per_piece = u64_max(QCBMI_RESCUE_PIECE >> cb, 1), end;
    uint8_t *buf = qcbmi_alloc_array(per_piece << cb, 1, err);
    struct copies c = { v, 0, 0 };
    int ret = buf ? 0 : QCBM_E_NOMEM;

    for (uint64_t i = 1, hole; ret == 0 && i < r->n_clusters; i = end) {
        bool zeros = true, is_data;

        ret = qcbmi_holes_at(&r->holes, i << cb, &is_data, &hole, err);
        end = u64_min(hole >> cb, r->n_clusters);
        if (ret < 0 || (!is_data && end > i))
            continue;
        for (end = i; end < r->n_clusters && end - i < per_piece && may_be_copy(r, end);)
            end++;
        if (end > i)
            ret = qcbmi_holes_read(&r->holes, i << cb, buf, (end - i) << cb, &zeros, "clusters", err);
        for (uint64_t k = i; ret == 0 && !zeros && k < end; k++)
            ret = ask_copy(&c, k << cb, buf + ((k - i) << cb), err);
        end = u64_max(end, i + 1);
    }
    free(buf);
    return ret;
}

/* ---- decision ---- */

static int by_table(const void *a, const void *b)
{
    const struct qcbmi_vote *x = a, *y = b;
    int order = u64_compare(x->table, y->table);

    return order ? order : u64_compare(y->score, x->score);
}

static int by_slot(const void *a, const void *b)
{
    const struct qcbmi_vote *x = a, *y = b;
    int order = u64_compare(x->slot, y->slot);

    return order ? order : u64_compare(y->score, x->score);
}

/* Of each table its strongest vote, if no other slot has one as strong. */
static size_t strongest_of_tables(struct qcbmi_votes *v)
{
    size_t kept = 0;

    qcbmi_sort(v->list, v->n, sizeof(*v->list), by_table);
    for (size_t i = 0, end; i < v->n; i = end) {
        struct qcbmi_vote best = v->list[i];
        bool tie = false;

        for (end = i; end < v->n && v->list[end].table == best.table; end++)
            tie |= v->list[end].slot != best.slot && v->list[end].score == best.score;
        for (size_t k = i; tie && k < end; k++)
            v->r->slots[v->list[k].slot].tie = true;
        if (!tie)
            v->list[kept++] = best;
    }
    return kept;
}

static int put(struct qcbmi_rescue *r, const struct qcbmi_vote *vote, struct qcbm_error *err)
{
    return qcbmi_rescue_put(r, vote->table, vote->slot, vote->score, (enum qcbmi_rescue_why)vote->why, err);
}

static int decide(struct qcbmi_votes *v, struct qcbm_error *err)
{
    int ret = 0;

    v->n = strongest_of_tables(v);
    qcbmi_sort(v->list, v->n, sizeof(*v->list), by_slot);
    for (size_t i = 0, end; ret == 0 && i < v->n; i = end) {
        for (end = i + 1; end < v->n && v->list[end].slot == v->list[i].slot;)
            end++;
        if (end > i + 1 && v->list[i + 1].score == v->list[i].score)
            v->r->slots[v->list[i].slot].tie = true;
        else
            ret = put(v->r, &v->list[i], err);
    }
    v->n = 0;
    return ret;
}

/* ---- what follows from what was decided ---- */

static uint64_t count_unplaced(const struct qcbmi_rescue *r)
{
    uint64_t n = 0;

    for (size_t i = 0; i < r->n_found; i++)
        n += qcbmi_candidate_is_root(&r->found[i]) && !r->found[i].placed;
    return n;
}

/* A sequential writer's table lies behind the last data of its neighbour, and its data behind itself. */
static int follow_runs(struct qcbmi_rescue *r, struct qcbm_error *err)
{
    uint64_t cs = r->g->cluster_size;
    const struct qcbmi_candidate *before = NULL;
    int ret = 0;

    for (size_t i = 0; ret == 0 && i < r->n_found; i++) {
        struct qcbmi_candidate *c = &r->found[i];

        if (!qcbmi_candidate_is_root(c))
            continue;
        if (before && before->placed && !c->placed && before->last_index + 1 == r->g->l2_entries &&
            before->last + cs == c->ref.offset && c->first_index == 0 && c->first == c->ref.offset + cs &&
            before->slot + 1 < r->n_slots && qcbmi_slot_is_open(&r->slots[before->slot + 1]))
            ret = qcbmi_rescue_put(r, c->ref.offset, before->slot + 1, 80, QCBMI_WHY_RUN, err);
        before = c;
    }
    return ret;
}

/* As many tables as places: one is where it must be; of several the order of the file is that of the disk, perhaps. */
static int fill_up(struct qcbmi_rescue *r, struct qcbm_error *err)
{
    uint64_t open = 0, unplaced = count_unplaced(r), slot = 0;
    int ret = 0;

    for (uint64_t i = 0; i < r->n_slots; i++)
        open += qcbmi_slot_is_open(&r->slots[i]);
    for (size_t i = 0; ret == 0 && open == unplaced && i < r->n_found; i++) {
        const struct qcbmi_candidate *c = &r->found[i];

        if (!qcbmi_candidate_is_root(c) || c->placed)
            continue;
        while (!qcbmi_slot_is_open(&r->slots[slot]))
            slot++;
        ret = qcbmi_rescue_put(r, c->ref.offset, slot, open == 1 ? 95 : 50,
                               open == 1 ? QCBMI_WHY_ONLY_SLOT : QCBMI_WHY_ORDER, err);
    }
    return ret;
}

int qcbmi_rescue_place(struct qcbmi_rescue *r, struct qcbm_error *err)
{
    struct qcbmi_votes v = { .r = r };
    int ret = ask_snapshots(&v, err);

    if (ret == 0 && count_unplaced(r))
        ret = ask_shared_data(&v, err);
    if (ret == 0 && count_unplaced(r))
        ret = ask_old_l1(&v, err);
    if (ret == 0 && count_unplaced(r))
        ret = qcbmi_rescue_ask_bitmaps(&v, err);
    if (ret == 0 && count_unplaced(r))
        ret = qcbmi_rescue_ask_backing(&v, err);
    if (ret == 0)
        ret = decide(&v, err);
    if (ret == 0)
        ret = follow_runs(r, err);
    if (ret == 0)
        ret = fill_up(r, err);
    r->unplaced = count_unplaced(r);
    free(v.list);
    return ret;
}
