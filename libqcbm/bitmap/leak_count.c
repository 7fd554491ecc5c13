/* leak_count.c - the leaked clusters of an image, for who wants to know nothing else that a check tells
 * SPDX-License-Identifier: MIT
 *
 * References are counted and compared as the check does it, and nothing is said of what is wrong with them. */
#include "bitmap/leak_count.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/checked.h"
#include "base/counts.h"
#include "bitmap/bitmap_refs.h"
#include "format/q2_refcount.h"
#include "image/refs.h"
#include "image/snapshots.h"
#include "image/stored_counts.h"
#include "image/table_sweep.h"

/* Tables that honest programs write are read once; hostile ones refer to each other at will. */
#define BUDGET_BASE (UINT64_C(64) << 20)
#define BUDGET_MAX (UINT64_C(16) << 30)
#define COST_OF_DIFFERENCE 8u

struct count {
    struct qcbmi_lost_clues *clues;
    struct qcbmi_image *img;
    const struct q2_geometry *g;
    struct qcbmi_loose_snapshots snapshots;
    struct qcbmi_stored_counts disk;
    uint64_t file_len;   /* rounded up to a sector, as QEMU has it */
    uint64_t n_clusters; /* of the file; one more if a reference reaches there */
    uint64_t lo, hi;     /* clusters of this pass */
    uint64_t memory;
    struct qcbmi_counts refs, stored;
    uint64_t n_mapped; /* entries of the active state with a cluster */
    uint64_t real_len; /* bytes of the file that are no holes */
    uint64_t budget;
    bool exhausted;
    struct qcbmi_progress *progress;
    struct qcbm_error *err;
};

static bool afford(void *opaque, uint64_t bytes)
{
    struct count *c = opaque;

    c->exhausted |= bytes > c->budget;
    c->budget -= u64_min(bytes, c->budget);
    return !c->exhausted;
}

/* ---- references ---- */

/* More than may be taken: leave the upper half of the range to another pass. */
static void keep_memory(struct count *c)
{
    while (c->refs.bytes + c->stored.bytes > c->memory && c->hi - c->lo > QCBMI_COUNTS_CHUNK) {
        c->hi = c->lo + align_up((c->hi - c->lo) / 2, QCBMI_COUNTS_CHUNK);
        qcbmi_counts_cut(&c->refs, c->hi);
        qcbmi_counts_cut(&c->stored, c->hi);
    }
}

/* Those that pass the end of the file by a cluster or more do not count. */
static int refer(struct count *c, uint64_t off, uint64_t len, uint64_t weight)
{
    uint64_t first = off >> c->g->cluster_bits, end, excess = 0;
    int ret;

    if (len == 0 || qcbmi_leads_nowhere(off, len, c->file_len, c->g->cluster_size))
        return 0;
    end = ((off + len - 1) >> c->g->cluster_bits) + 1;
    ret =
        qcbmi_counts_add(&c->refs, first, end - first, weight, q2_refcount_max(c->g->refcount_order), &excess, c->err);
    c->n_clusters = u64_max(c->n_clusters, end);
    keep_memory(c);
    return ret;
}

static int refer_to_l1(void *opaque, uint64_t start, uint64_t end, uint64_t depth)
{
    struct count *c = opaque;

    return refer(c, start, end - start - c->g->cluster_size + 1, depth);
}

static int look_at_l1(void *opaque, const struct qcbmi_l1_table *l1)
{
    const struct count *c = opaque;

    return l1->entries && qcbmi_leads_nowhere(l1->offset, 8 * (uint64_t)l1->entries, c->file_len, c->g->cluster_size);
}

static int refer_to_l2(void *opaque, const struct qcbmi_swept_l2 *l2)
{
    struct count *c = opaque;

    return refer(c, l2->table.offset, c->g->cluster_size, l2->weight);
}

static int refer_to_odd(struct count *c, const struct qcbmi_swept_l2 *l2, uint64_t raw, uint64_t word)
{
    bool compressed = raw & Q2_L2_COMPRESSED;
    struct q2_l2_entry e;

    if (compressed && (c->g->data_file || word))
        return 0;
    q2_l2_entry_parse(raw, word, 0, c->g, &e);
    if (!compressed && e.kind != Q2_NORMAL && e.kind != Q2_ZERO_ALLOC)
        return 0;
    c->n_mapped += c->lo ? 0 : l2->active;
    if (compressed)
        return refer(c, e.host_offset, e.host_len, l2->weight);
    return c->g->data_file ? 0 : refer(c, raw & Q2_ENTRY_OFFSET_MASK, c->g->cluster_size, l2->weight);
}

static int refer_to_note(struct count *c, const struct qcbmi_swept_l2 *l2, const uint8_t *bytes,
                         const struct qcbmi_l2_note *note)
{
    if (note->n == 0)
        return refer_to_odd(c, l2, note->raw, c->g->extended_l2 ? be64_load(bytes + 16 * (size_t)note->index + 8) : 0);
    c->n_mapped += c->lo ? 0 : note->n * l2->active;
    /* each of them starts in the file, which is what counts */
    return refer(c, note->raw & Q2_ENTRY_OFFSET_MASK, (note->n - 1) * (uint64_t)c->g->cluster_size + 1, l2->weight);
}

static int look_at_l2(void *opaque, const struct qcbmi_swept_l2 *l2, const struct qcbmi_l2_content *content)
{
    struct count *c = opaque;
    int ret = 0;

    if (content->n == 0 && l2->active == 1 && c->lo == 0)
        return qcbmi_leaks_note_blank(c->clues->leaks, l2->table.l1_index, c->err);
    for (size_t i = 0; ret == 0 && i < content->n; i++)
        ret = refer_to_note(c, l2, content->bytes, &content->notes[i]);
    return ret;
}

static struct qcbmi_l1_table snapshot_at(const void *from, uint32_t i)
{
    const struct count *c = from;
    const struct q2_snapshot *s = &c->snapshots.list[i];

    return (struct qcbmi_l1_table){ s->l1_offset, s->l1_entries, c->img->h.snapshots_offset };
}

static int sweep(struct count *c)
{
    struct qcbmi_sweep sweep = { .img = c->img, .holes = c->clues->holes, .what = "metadata", .progress = c->progress };
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
    sweep.l1_clusters = refer_to_l1;
    sweep.l2_table = refer_to_l2;
    sweep.l2_content = look_at_l2;
    sweep.afford = afford;
    ret = qcbmi_table_sweep(&sweep, c->err);
    free(l1);
    return ret;
}

static int take_ref(void *opaque, const struct qcbmi_ref *ref)
{
    struct count *c = opaque;

    if (ref->owner.kind == QCBMI_REF_LUKS && c->img->h.crypt_method != 2)
        return 0;
    return refer(c, ref->offset, ref->len, 1);
}

/* All tables at once, instead of the first. */
static int take_state(void *opaque, const struct qcbmi_ref *l1)
{
    return l1->owner.state == 0 ? sweep(opaque) : 0;
}

static int take_bitmap_table(void *opaque, const struct qcbmi_ref *table)
{
    struct count *c = opaque;
    const struct qcbmi_bitmap *b = &c->clues->bitmaps->list[table->owner.index];
    int ret;

    if (!qcbmi_bitmap_table_is_plausible(c->g, b))
        return 0;
    ret = take_ref(c, table);
    return ret < 0 ? ret : (!b->bad && !b->shared) || afford(c, table->len);
}

static int take_bitmaps(void *opaque)
{
    struct count *c = opaque;
    const struct qcbmi_bitmap_list *list = c->clues->bitmaps;
    struct qcbmi_ref_sink sink = { c, take_ref, NULL, NULL };
    struct qcbmi_bitmap_refs refs = { c->img, list, c->clues->holes, "metadata", &sink, take_bitmap_table, NULL };

    return list->has_ext && !list->stale ? qcbmi_bitmap_refs_walk(&refs, c->err) : 0;
}

static int take_refblocks(struct count *c)
{
    int ret = 0;

    for (uint64_t i = 0; ret == 0 && i < c->disk.n_table; i++) {
        uint64_t raw = c->disk.table[i], off = raw & Q2_REFTABLE_OFFSET_MASK;

        if (off && !(raw & Q2_REFTABLE_RESERVED) && is_aligned(off, c->g->cluster_size) &&
            off >> c->g->cluster_bits < c->n_clusters)
            ret = refer(c, off, c->g->cluster_size, 1);
    }
    return ret;
}

static int take_all(struct count *c)
{
    struct qcbmi_refs refs = { c->img, c->snapshots.n, snapshot_at, c, c->snapshots.len };
    struct qcbmi_ref_sink sink = { c, take_ref, take_state, take_bitmaps };
    int ret = qcbmi_refs_walk(&refs, &sink);

    return ret < 0 ? ret : take_refblocks(c);
}

/* ---- beside the refcounts ---- */

static int compare(struct count *c)
{
    uint64_t end = u64_min(c->hi, c->n_clusters), k = c->lo;
    int ret = 0;

    for (; ret == 0 && (k = qcbmi_counts_next_difference(&c->refs, &c->stored, k, end)) < end; k++) {
        uint64_t stored = qcbmi_counts_get(&c->stored, k), found = qcbmi_counts_get(&c->refs, k);

        if (!afford(c, COST_OF_DIFFERENCE))
            break;
        if (stored > found)
            ret = qcbmi_leaks_note(c->clues->leaks, k, stored, found, c->err);
    }
    return ret;
}

static int run_pass(struct count *c)
{
    struct qcbmi_stored_load load = { &c->stored, c->real_len, afford, c, c->progress };
    int ret = qcbmi_counts_init(&c->refs, c->lo, c->hi, c->err);

    if (ret == 0)
        ret = qcbmi_counts_init(&c->stored, c->lo, c->hi, c->err);
    if (ret == 0)
        ret = qcbmi_stored_counts_load(&c->disk, &load, c->err);
    keep_memory(c);
    if (ret == 0)
        ret = take_all(c);
    if (ret == 0)
        ret = compare(c);
    qcbmi_counts_free(&c->refs);
    qcbmi_counts_free(&c->stored);
    return ret;
}

/* ---- the whole ---- */

static int prepare(struct count *c)
{
    uint64_t available, allocated = 0;
    int ret = qcbmi_snapshots_read_loosely(c->img, c->clues->holes, &c->snapshots, c->err);

    if (ret == 0 && c->snapshots.why.code)
        return qcbmi_fail(c->err, QCBM_E_CORRUPT, QCBM_NO_OFFSET, "the table of snapshots cannot be read");
    c->file_len = align_up(c->img->io.size, Q2_SECTOR);
    c->n_clusters = div_up(c->file_len, c->g->cluster_size);
    if (ret == 0 && c->n_clusters > INT32_MAX)
        return qcbmi_fail(c->err, QCBM_E_LIMIT, QCBM_NO_OFFSET, "File too large");
    /* Bytes that somebody had to provide: holes cost nothing, so they buy no work. */
    c->real_len = c->file_len;
    if (qcbmi_io_space(&c->img->io, &available, &allocated, NULL) == 0 && allocated) /* 0 for a device */
        c->real_len = u64_min(c->file_len, allocated);
    c->budget = BUDGET_BASE + u64_min(c->real_len, BUDGET_MAX);
    qcbmi_leaks_init(c->clues->leaks, c->img, c->snapshots.n != 0);
    return ret < 0 ? ret : qcbmi_stored_counts_init(&c->disk, c->img, c->clues->holes, c->err);
}

static int count_all(struct count *c)
{
    int ret = prepare(c);

    for (uint64_t end = c->n_clusters + 2; ret == 0 && c->lo < c->n_clusters; c->lo = c->hi) {
        c->hi = end; /* an unaligned reference may reach a little further than the file */
        ret = run_pass(c);
    }
    qcbmi_stored_counts_free(&c->disk);
    qcbmi_loose_snapshots_free(&c->snapshots);
    return ret;
}

int qcbmi_leaks_count(struct qcbmi_lost_clues *clues, uint64_t memory, struct qcbmi_progress *progress,
                      struct qcbm_error *err)
{
    struct count c = { .clues = clues, .img = clues->img, .g = &clues->img->g, .memory = memory, .err = err };
    int ret;

    c.progress = progress;
    ret = count_all(&c);
    clues->all_mapped = c.n_mapped >= div_up(c.g->sector_size_down, c.g->cluster_size);
    if (ret == 0 && c.exhausted)
        ret = qcbmi_fail(err, QCBM_E_CORRUPT, QCBM_NO_OFFSET, "tables refer to the same bytes over and over");
    return ret;
}
