/* host_uses.c - what each cluster of the file is used for, as sets
 * SPDX-License-Identifier: MIT
 *
 * Of the one list of references (image/refs.h), tables of all states in file order. Damage is no obstacle: a file is
 * looked at most when something is wrong with it. */
#include "ops/host_uses.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/checked.h"
#include "base/sort.h"
#include "bitmap/bitmap_list.h"
#include "bitmap/bitmap_refs.h"
#include "format/q2_refcount.h"
#include "image/snapshots.h"
#include "image/stored_counts.h"
#include "image/table_sweep.h"

/* Tables that honest programs write are read once; hostile ones refer to each other at will. */
#define BUDGET_BASE (UINT64_C(64) << 20)

/* Where the data of an active L2 table begins and ends: tables come in the order of the file, not of the disk. */
struct ends {
    uint64_t l1_index;
    uint64_t first, last; /* clusters of the first and the last entry that has one */
};

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
    struct ends table; /* of the table that is looked at; first is UINT64_MAX before its first cluster */
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

/* ---- tables --------------------------------------------------------------------------------------------- */

static int look_at_l1(void *opaque, const struct qcbmi_l1_table *l1)
{
    const struct collect *c = opaque;

    return l1->entries && qcbmi_leads_nowhere(l1->offset, 8 * l1->entries, c->file_len, c->g->cluster_size);
}

static int use_l1(void *opaque, uint64_t start, uint64_t end, uint64_t depth)
{
    (void)depth;
    return use(opaque, QCBMI_HOST_TABLES, start, end - start - ((struct collect *)opaque)->g->cluster_size + 1);
}

static int use_l2(void *opaque, const struct qcbmi_swept_l2 *l2)
{
    struct collect *c = opaque;

    return use(c, QCBMI_HOST_TABLES, l2->table.offset, c->g->cluster_size);
}

/* Data of the active state, which comes in the order of the disk. */
static int use_data(struct collect *c, uint64_t off, uint64_t n)
{
    uint64_t first = off >> c->g->cluster_bits;
    bool begins = c->table.first == UINT64_MAX || c->table.last + 1 != first;
    int ret = use(c, QCBMI_HOST_DATA, off, (n - 1) * c->g->cluster_size + 1);

    if (c->table.first == UINT64_MAX)
        c->table.first = first;
    c->table.last = first + n - 1;
    return ret == 0 && begins ? use(c, QCBMI_HOST_BEGINS, off, 1) : ret;
}

static int use_odd(struct collect *c, bool active, uint64_t raw, uint64_t word)
{
    struct q2_l2_entry e;

    if (c->g->data_file || ((raw & Q2_L2_COMPRESSED) && word))
        return 0;
    q2_l2_entry_parse(raw, word, 0, c->g, &e);
    if (e.kind == Q2_COMPRESSED)
        return use(c, active ? QCBMI_HOST_COMPRESSED : QCBMI_HOST_SNAPSHOTS, e.host_offset, e.host_len);
    if (e.kind != Q2_NORMAL && e.kind != Q2_ZERO_ALLOC)
        return 0;
    if (!active)
        return use(c, QCBMI_HOST_SNAPSHOTS, raw & Q2_ENTRY_OFFSET_MASK, c->g->cluster_size);
    return use_data(c, raw & Q2_ENTRY_OFFSET_MASK, 1);
}

static int use_note(struct collect *c, bool active, const uint8_t *bytes, const struct qcbmi_l2_note *note)
{
    uint64_t off = note->raw & Q2_ENTRY_OFFSET_MASK;

    if (note->n == 0)
        return use_odd(c, active, note->raw, c->g->extended_l2 ? be64_load(bytes + 16 * (size_t)note->index + 8) : 0);
    if (c->g->data_file)
        return 0;
    if (active)
        return use_data(c, off, note->n);
    return use(c, QCBMI_HOST_SNAPSHOTS, off, (note->n - 1) * (uint64_t)c->g->cluster_size + 1);
}

static int look_at_l2(void *opaque, const struct qcbmi_swept_l2 *l2, const struct qcbmi_l2_content *content)
{
    struct collect *c = opaque;
    int ret = 0;

    c->table = (struct ends){ l2->table.l1_index, UINT64_MAX, 0 };
    for (size_t i = 0; ret == 0 && i < content->n; i++)
        ret = use_note(c, l2->active != 0, content->bytes, &content->notes[i]);
    if (ret < 0 || c->table.first == UINT64_MAX)
        return ret;
    ret = qcbmi_grow_array(&c->ends, &c->capacity, c->n_ends, sizeof(c->ends[0]), c->err);
    if (ret == 0)
        c->ends[c->n_ends++] = c->table;
    return ret;
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

static struct qcbmi_l1_table snapshot_at(const void *from, uint32_t i)
{
    const struct collect *c = from;
    const struct q2_snapshot *s = &c->snapshots.list[i];

    return (struct qcbmi_l1_table){ s->l1_offset, s->l1_entries, c->img->h.snapshots_offset };
}

static int sweep_tables(struct collect *c)
{
    struct qcbmi_sweep sweep = { .img = c->img, .holes = &c->holes, .what = "metadata", .progress = c->progress };
    struct qcbmi_l1_table *l1 = qcbmi_alloc_array((uint64_t)c->snapshots.n + 1, sizeof(l1[0]), c->err);
    int ret;

    if (!l1)
        return QCBM_E_NOMEM;
    l1[sweep.n_l1++] = (struct qcbmi_l1_table){ c->img->h.l1_offset, c->img->h.l1_entries, Q2_OFF_L1_OFFSET };
    for (uint32_t i = 0; i < c->snapshots.n; i++)
        if (qcbmi_snapshot_l1_is_sound(c->img, &c->snapshots.list[i]))
            l1[sweep.n_l1++] = snapshot_at(c, i);
    sweep.l1 = l1;
    sweep.opaque = c;
    sweep.l1_table = look_at_l1;
    sweep.l1_clusters = use_l1;
    sweep.l2_table = use_l2;
    sweep.l2_content = look_at_l2;
    sweep.afford = afford;
    ret = qcbmi_table_sweep(&sweep, c->err);
    free(l1);
    return ret < 0 ? ret : join_tables(c);
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

static int take_ref(void *opaque, const struct qcbmi_ref *ref)
{
    struct collect *c = opaque;

    if (ref->owner.kind == QCBMI_REF_LUKS && c->img->h.crypt_method != 2)
        return 0;
    return use(c, set_of(ref->owner.kind), ref->offset, ref->len);
}

/* All tables at once, instead of the first. */
static int take_state(void *opaque, const struct qcbmi_ref *l1)
{
    return l1->owner.state == 0 ? sweep_tables(opaque) : 0;
}

static int take_bitmap_table(void *opaque, const struct qcbmi_ref *table)
{
    struct collect *c = opaque;
    const struct qcbmi_bitmap *b = &c->handle->bitmaps->list[table->owner.index];
    int ret;

    if (!qcbmi_bitmap_table_is_plausible(c->g, b))
        return 0;
    ret = take_ref(c, table);
    return ret < 0 ? ret : (!b->bad && !b->shared) || afford(c, table->len);
}

static int take_bitmaps(void *opaque)
{
    struct collect *c = opaque;
    const struct qcbmi_bitmap_list *list = c->handle->bitmaps;
    struct qcbmi_ref_sink sink = { c, take_ref, NULL, NULL };
    struct qcbmi_bitmap_refs refs = { c->img, list, &c->holes, "metadata", &sink, take_bitmap_table, NULL };

    return list->has_ext && !list->stale ? qcbmi_bitmap_refs_walk(&refs, c->err) : 0;
}

static int take_refblocks(struct collect *c)
{
    int ret = 0;

    for (uint64_t i = 0; ret == 0 && i < c->disk.n_table; i++) {
        uint64_t raw = c->disk.table[i], off = raw & Q2_REFTABLE_OFFSET_MASK;

        if (off && !(raw & Q2_REFTABLE_RESERVED) && is_aligned(off, c->g->cluster_size))
            ret = use(c, QCBMI_HOST_REFCOUNTS, off, c->g->cluster_size);
    }
    return ret;
}

static int take_all(struct collect *c)
{
    struct qcbmi_refs refs = { c->img, c->snapshots.n, snapshot_at, c, c->snapshots.len };
    struct qcbmi_ref_sink sink = { c, take_ref, take_state, take_bitmaps };
    int ret = qcbmi_refs_walk(&refs, &sink);

    return ret < 0 ? ret : take_refblocks(c);
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
        ret = take_all(&c);
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
