/* host_uses.c - what each cluster of the file is used for, as sets
 * SPDX-License-Identifier: MIT
 *
 * Damage is no obstacle: a file is looked at most when something is wrong with it. */
#include "ops/host_uses.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "base/sort.h"
#include "bitmap/all_refs.h"

/* Tables that honest programs write are read once; hostile ones refer to each other at will. */
#define BUDGET_BASE (UINT64_C(64) << 20)

/* Where the data of an active L2 table begins and ends: tables come in the order of the file, not of the disk. */
struct ends {
    uint64_t l1_index;
    uint64_t table;       /* where it lies */
    uint64_t first, last; /* clusters of the first and the last entry that has one */
};
#define NOWHERE (UINT64_MAX - 1) /* no cluster comes next to it */

struct collect {
    struct qcbmi_host_uses *u;
    const struct qcbm_image *handle;
    struct qcbmi_image *img;
    const struct q2_geometry *g;
    struct qcbmi_holes holes;
    struct qcbmi_loose_snapshots snapshots;
    struct qcbmi_stored_counts disk;
    uint64_t file_len, budget;
    struct ends *ends;
    size_t n_ends, capacity;
    struct qcbmi_progress *progress;
    struct qcbm_error *err;
};

static bool afford(void *opaque, uint64_t bytes)
{
    struct collect *c = opaque;
    bool enough = bytes <= c->budget;

    c->budget = enough ? c->budget - bytes : 0;
    return enough;
}

static int use(struct collect *c, enum qcbmi_host_set set, uint64_t off, uint64_t len)
{
    uint64_t first = off >> c->g->cluster_bits, end;

    if (len == 0 || qcbmi_leads_nowhere(off, len, c->file_len, c->g->cluster_size))
        return 0;
    end = u64_min(((off + len - 1) >> c->g->cluster_bits) + 1, c->u->n_clusters);
    return first < end ? qcbmi_bitset_set(&c->u->sets[set], first, end, c->err) : 0;
}

/* ---- what L2 tables name -------------------------------------------------------------------------------- */

/* The ends of @l2, which was begun if its are the last. */
static int begin_ends(struct collect *c, const struct qcbmi_swept_l2 *l2, uint64_t first)
{
    int ret;

    if (c->n_ends && c->ends[c->n_ends - 1].table == l2->table.offset)
        return 0;
    ret = qcbmi_grow_array(&c->ends, &c->capacity, c->n_ends, sizeof(c->ends[0]), c->err);
    if (ret == 0)
        c->ends[c->n_ends++] = (struct ends){ l2->table.l1_index, l2->table.offset, first, NOWHERE };
    return ret;
}

/* Data of the active state, which comes in the order of the disk, table by table. */
static int use_data(struct collect *c, const struct qcbmi_swept_l2 *l2, const struct qcbmi_entry_refs *refs)
{
    uint64_t first = refs->offset >> c->g->cluster_bits;
    int ret = begin_ends(c, l2, first);
    struct ends *e;

    if (ret == 0)
        ret = use(c, QCBMI_HOST_DATA, refs->offset, refs->len);
    if (ret < 0)
        return ret;
    e = &c->ends[c->n_ends - 1];
    if (e->last + 1 != first)
        ret = use(c, QCBMI_HOST_BEGINS, refs->offset, 1);
    e->last = first + refs->n - 1;
    return ret;
}

static int use_entries(void *opaque, const struct qcbmi_swept_l2 *l2, const struct qcbmi_entry_refs *refs)
{
    struct collect *c = opaque;

    if (refs->len == 0)
        return 0;
    if (!l2->active)
        return use(c, QCBMI_HOST_SNAPSHOTS, refs->offset, refs->len);
    return refs->compressed ? use(c, QCBMI_HOST_COMPRESSED, refs->offset, refs->len) : use_data(c, l2, refs);
}

/* No run begins at the first cluster of a table that follows the last one of the table before. */
static int join_tables(struct collect *c)
{
    int ret = 0;

    qcbmi_sort(c->ends, c->n_ends, sizeof(c->ends[0]), qcbmi_by_u64);
    for (size_t i = 1; ret == 0 && i < c->n_ends; i++)
        if (c->ends[i - 1].last + 1 == c->ends[i].first && c->ends[i].first < c->u->n_clusters)
            ret = qcbmi_bitset_clear(&c->u->sets[QCBMI_HOST_BEGINS], c->ends[i].first, c->ends[i].first + 1, c->err);
    return ret;
}

/* ---- all else ------------------------------------------------------------------------------------------- */

static enum qcbmi_host_set set_of(enum qcbmi_ref_kind kind)
{
    switch (kind) {
    case QCBMI_REF_L1:
    case QCBMI_REF_L2:
        return QCBMI_HOST_TABLES;
    case QCBMI_REF_REFTABLE:
    case QCBMI_REF_REFBLOCK:
        return QCBMI_HOST_REFCOUNTS;
    case QCBMI_REF_BITMAP_DIRECTORY:
    case QCBMI_REF_BITMAP_TABLE:
    case QCBMI_REF_BITMAP_DATA:
        return QCBMI_HOST_BITMAPS;
    default:
        return QCBMI_HOST_OTHER;
    }
}

static int use_ref(void *opaque, enum qcbmi_ref_kind kind, uint64_t off, uint64_t len, uint64_t weight)
{
    (void)weight;
    return use(opaque, set_of(kind), off, len);
}

static int use_all(struct collect *c)
{
    struct qcbmi_all_refs refs = { .img = c->img, .holes = &c->holes, .progress = c->progress, .opaque = c };
    int ret;

    refs.bitmaps = c->handle->bitmaps;
    refs.snapshots = &c->snapshots;
    refs.stored = &c->disk;
    refs.ref = use_ref;
    refs.entries = use_entries;
    refs.afford = afford;
    ret = qcbmi_all_refs_walk(&refs, c->err);
    return ret < 0 ? ret : join_tables(c);
}

/* ---- the whole ------------------------------------------------------------------------------------------ */

static int init_sets(struct collect *c)
{
    int ret = 0;

    c->file_len = align_up(c->img->io.size, Q2_SECTOR);
    c->u->n_clusters = div_up(c->file_len, c->g->cluster_size);
    if (c->u->n_clusters > INT32_MAX)
        return qcbmi_fail(c->err, QCBM_E_LIMIT, QCBM_NO_OFFSET, "File too large");
    c->budget = BUDGET_BASE + c->file_len;
    for (unsigned i = 0; ret == 0 && i < QCBMI_HOST_SETS; i++)
        ret = qcbmi_bitset_init(&c->u->sets[i], c->u->n_clusters, c->err);
    return ret < 0 ? ret : qcbmi_counts_init(&c->u->stored, 0, c->u->n_clusters, c->err);
}

static int load_counts(struct collect *c)
{
    struct qcbmi_stored_load load = { &c->u->stored, c->file_len, afford, c, c->progress };
    int ret = qcbmi_stored_counts_init(&c->disk, c->img, &c->holes, c->err);

    return ret < 0 ? ret : qcbmi_stored_counts_load(&c->disk, &load, c->err);
}

int qcbmi_host_uses_read(struct qcbmi_host_uses *u, const struct qcbm_image *handle, struct qcbmi_progress *progress,
                         struct qcbm_error *err)
{
    struct collect c = { .u = u, .handle = handle, .img = handle->image, .g = &handle->image->g, .err = err };
    int ret;

    *u = (struct qcbmi_host_uses){ 0 };
    c.progress = progress;
    qcbmi_holes_init(&c.holes, &c.img->io);
    ret = init_sets(&c);
    if (ret == 0)
        ret = qcbmi_snapshots_read_loosely(c.img, &c.holes, &c.snapshots, err);
    if (ret == 0)
        ret = load_counts(&c);
    if (ret == 0)
        ret = use_all(&c);
    qcbmi_stored_counts_free(&c.disk);
    qcbmi_loose_snapshots_free(&c.snapshots);
    qcbmi_holes_free(&c.holes);
    free(c.ends);
    return ret;
}

void qcbmi_host_uses_free(struct qcbmi_host_uses *u)
{
    for (unsigned i = 0; i < QCBMI_HOST_SETS; i++)
        qcbmi_bitset_free(&u->sets[i]);
    qcbmi_counts_free(&u->stored);
}
