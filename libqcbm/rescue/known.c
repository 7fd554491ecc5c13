/* known.c - what is known explains clusters of the file: metadata, snapshots, bitmaps; and the refcounts as they are
 * stored
 * SPDX-License-Identifier: MIT
 *
 * The active tables come later: whether they are what they are taken for is what a rescue is about. */
#include <stdlib.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/checked.h"
#include "base/sort.h"
#include "bitmap/bitmap_refs.h"
#include "format/q2_l1l2.h"
#include "format/q2_refcount.h"
#include "image/snapshots.h"
#include "image/stored_counts.h"
#include "rescue/rescue.h"

#define MAX_SNAP_ENTRIES (UINT64_C(4) << 20) /* of L1 tables of snapshots */

static int name_meta(struct qcbmi_rescue *r, uint64_t off, uint64_t len, struct qcbm_error *err)
{
    uint64_t first = off >> r->g->cluster_bits;
    int ret;

    if (len == 0 || off > INT64_MAX || len > INT64_MAX - off || first >= r->n_clusters)
        return 0;
    ret = qcbmi_bitset_set(&r->meta, first, u64_min(((off + len - 1) >> r->g->cluster_bits) + 1, r->n_clusters), err);
    return ret == 0 ? qcbmi_rescue_name(r, off, len, 1, err) : ret;
}

/* ---- what refers to clusters ---- */

struct sink {
    struct qcbmi_rescue *r;
    struct qcbm_error *err;
    uint64_t budget; /* entries of snapshots' L1 tables */
};

static int on_ref(void *opaque, const struct qcbmi_ref *ref)
{
    struct sink *s = opaque;

    return name_meta(s->r, ref->offset, ref->len, s->err);
}

static int on_snap_entry(void *opaque, uint64_t raw, uint64_t index)
{
    struct sink *s = opaque;
    struct qcbmi_rescue *r = s->r;
    struct q2_l1_entry e;

    q2_l1_entry_parse(raw, r->g, &e);
    if (e.l2_offset == 0 || e.reserved || e.unaligned || e.l2_offset >> r->g->cluster_bits >= r->n_clusters) {
        r->snap_damaged = true;
        return 0;
    }
    if (qcbmi_grow_array(&r->snap, &r->snap_capacity, r->n_snap, sizeof(*r->snap), s->err) < 0)
        return QCBM_E_NOMEM;
    r->snap[r->n_snap++] = (struct qcbmi_l2_ref){ e.l2_offset, index };
    return 0;
}

/* The active L1 table, or that of a snapshot, below which all is taken as it stands. */
static int on_state(void *opaque, const struct qcbmi_ref *l1)
{
    struct sink *s = opaque;
    struct qcbmi_rescue *r = s->r;
    struct qcbmi_table_walk walk = { r->img, &r->holes, "L1 table", s, NULL, on_snap_entry };
    size_t before;
    int ret = name_meta(r, l1->offset, l1->len, s->err);

    if (ret < 0 || l1->owner.state == 0 || l1->len == 0)
        return ret;
    if (!is_aligned(l1->offset, r->g->cluster_size) ||
        qcbmi_leads_nowhere(l1->offset, l1->len, r->img->io.size, r->g->cluster_size) || l1->len / 8 > s->budget) {
        r->refcounts = false;
        return 0;
    }
    s->budget -= l1->len / 8;
    before = r->n_snap;
    ret = qcbmi_table_walk(&walk, l1->offset, l1->len / 8, s->err);
    r->snap_damaged |= r->n_snap == before; /* of an empty disk, or zeroed */
    return ret;
}

static int on_bitmap_table(void *opaque, const struct qcbmi_ref *table)
{
    int ret = on_ref(opaque, table);

    return ret < 0 ? ret : 1;
}

static int bitmap_refs(struct sink *s)
{
    struct qcbmi_ref_sink sink = { .opaque = s, .ref = on_ref };
    struct qcbmi_bitmap_refs refs = { .img = s->r->img,
                                      .list = s->r->handle->bitmaps,
                                      .holes = &s->r->holes,
                                      .what = "bitmap table",
                                      .sink = &sink,
                                      .table = on_bitmap_table };

    return refs.list->stale ? 0 : qcbmi_bitmap_refs_walk(&refs, s->err);
}

/* ---- below snapshots ---- */

struct snap_table {
    struct qcbmi_l2_ref ref;
    uint64_t weight;
};

struct below {
    struct qcbmi_rescue *r;
    uint8_t *verdicts;
};

/* What a table of snapshots names, as often as it is named itself. */
static int look_at_snap(void *opaque, void *none, const struct qcbmi_l2_ref *ref, const uint8_t *table,
                        struct qcbm_error *err)
{
    struct below *b = opaque;
    uint32_t bad = 0, sound = table ? qcbmi_rescue_judge(b->r, table, b->verdicts, &bad) : 0;

    (void)none;
    b->r->snap_damaged |= sound == 0 || bad;
    if (!table)
        return 0;
    return qcbmi_rescue_name_targets(b->r, table, b->verdicts, ((const struct snap_table *)ref)->weight, err);
}

/* Each table once, however many entries name it. */
static int name_tables(struct qcbmi_rescue *r, struct snap_table *tables, size_t *n, struct qcbm_error *err)
{
    int ret = 0;

    for (size_t i = 0; ret == 0 && i < r->n_snap; i++) {
        ret = name_meta(r, r->snap[i].offset, r->g->cluster_size, err);
        if (i == 0 || r->snap[i].offset != r->snap[i - 1].offset)
            tables[(*n)++] = (struct snap_table){ r->snap[i], 0 };
        tables[*n - 1].weight++;
    }
    return ret;
}

static int name_below(struct qcbmi_rescue *r, struct qcbm_error *err)
{
    struct below b = { .r = r };
    struct qcbmi_l2_job job = {
        .stride = sizeof(struct snap_table), .what = "L2 table", .opaque = &b, .look = look_at_snap
    };
    struct snap_table *tables = qcbmi_alloc_array(r->n_snap, sizeof(*tables), err);
    int ret = QCBM_E_NOMEM;

    qcbmi_sort(r->snap, r->n_snap, sizeof(*r->snap), qcbmi_by_two_u64);
    b.verdicts = qcbmi_alloc_array(r->g->l2_entries, 1, err);
    if (tables && b.verdicts)
        ret = name_tables(r, tables, &job.n, err);
    job.refs = tables;
    if (ret == 0)
        ret = qcbmi_l2_read(r->img, &job, err);
    /* From here on each is asked about once: a table has one place on the disk. */
    for (size_t i = 0; ret == 0 && i < job.n; i++)
        r->snap[i] = tables[i].ref;
    r->n_snap = ret == 0 ? job.n : 0;
    free(b.verdicts);
    free(tables);
    return ret;
}

/* ---- refcounts ---- */

static bool afford(void *opaque, uint64_t bytes)
{
    (void)opaque;
    (void)bytes;
    return false;
}

/* Is each cluster of [@off, @off + @len) in use once? */
static bool counts_are_one(const struct qcbmi_rescue *r, uint64_t off, uint64_t len)
{
    uint64_t first = off >> r->g->cluster_bits;

    for (uint64_t i = 0; i < div_up(len, r->g->cluster_size) && first + i < r->n_clusters; i++)
        if (qcbmi_counts_get(&r->stored, first + i) != 1)
            return false;
    return true;
}

/* Each image has these clusters, and each of them one owner: where their refcounts are others, none can be relied on.
 * Only the refcount blocks are in r->meta yet. */
static bool are_plausible(const struct qcbmi_rescue *r)
{
    const struct q2_header *h = &r->img->h;
    uint64_t block = qcbmi_bitset_next_set(&r->meta, 0);

    while (block < r->n_clusters && qcbmi_counts_get(&r->stored, block) == 1)
        block = qcbmi_bitset_next_set(&r->meta, block + 1);
    return block >= r->n_clusters && counts_are_one(r, 0, 1) &&
           counts_are_one(r, h->reftable_offset, (uint64_t)h->reftable_clusters << r->g->cluster_bits) &&
           counts_are_one(r, h->l1_offset, 8 * (uint64_t)h->l1_entries);
}

/* All blocks for the clusters of the file, and no block twice: that is what the budget is. */
static int load_stored(struct qcbmi_rescue *r, struct qcbm_error *err)
{
    struct qcbmi_stored_counts stored;
    struct qcbmi_stored_load load = { .to = &r->stored, .free = 2 * r->img->io.size + (1 << 20), .afford = afford };
    int ret = qcbmi_stored_counts_init(&stored, r->img, &r->holes, err);

    if (ret == 0)
        ret = qcbmi_stored_counts_load(&stored, &load, err);
    for (uint64_t i = 0; ret == 0 && i < stored.n_table; i++) {
        uint64_t off = stored.table[i] & Q2_REFTABLE_OFFSET_MASK;

        if (off && qcbmi_stored_is_readable(&stored, off))
            ret = name_meta(r, off, r->g->cluster_size, err);
    }
    if (ret == 0 && (stored.unreadable || !are_plausible(r)))
        r->refcounts = false;
    qcbmi_stored_counts_free(&stored);
    return ret;
}

int qcbmi_rescue_known(struct qcbmi_rescue *r, struct qcbm_error *err)
{
    struct qcbmi_loose_snapshots snapshots = { 0 };
    struct sink s = { r, err, MAX_SNAP_ENTRIES };
    struct qcbmi_ref_sink sink = { .opaque = &s, .ref = on_ref, .state = on_state };
    int ret;

    r->refcounts = !(r->img->h.incompatible & QCBM_INCOMPAT_DIRTY);
    ret = qcbmi_counts_init(&r->stored, 0, r->n_clusters, err);
    if (ret == 0)
        ret = qcbmi_counts_init(&r->named, 0, r->n_clusters, err);
    if (ret == 0)
        ret = qcbmi_bitset_init(&r->meta, r->n_clusters, err);
    if (ret == 0)
        ret = load_stored(r, err);
    if (ret == 0)
        ret = qcbmi_snapshots_read_loosely(r->img, &r->holes, &snapshots, err);
    if (ret == 0) {
        struct qcbmi_refs refs = qcbmi_loose_refs(r->img, &snapshots);

        r->snap_damaged = snapshots.why.code || snapshots.n < r->img->h.n_snapshots;
        ret = qcbmi_refs_walk(&refs, &sink);
    }
    if (ret == 0)
        ret = bitmap_refs(&s);
    if (ret == 0)
        ret = name_below(r, err);
    qcbmi_loose_snapshots_free(&snapshots);
    return ret;
}
