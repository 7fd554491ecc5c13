/* leak_count.c - the leaked clusters of an image, for who wants to know nothing else that a check tells
 * SPDX-License-Identifier: MIT
 *
 * References are counted and compared as the check does it, and nothing is said of what is wrong with them. */
#include "bitmap/leak_count.h"

#include "base/checked.h"
#include "base/counts.h"
#include "bitmap/all_refs.h"
#include "format/q2_refcount.h"

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

static int take_ref(void *opaque, enum qcbmi_ref_kind kind, uint64_t off, uint64_t len, uint64_t weight)
{
    (void)kind;
    return refer(opaque, off, len, weight);
}

static int take_entries(void *opaque, const struct qcbmi_swept_l2 *l2, const struct qcbmi_entry_refs *refs)
{
    struct count *c = opaque;

    c->n_mapped += c->lo ? 0 : refs->n * l2->active;
    return refer(c, refs->offset, refs->len, l2->weight);
}

static int take_blank(void *opaque, const struct qcbmi_swept_l2 *l2)
{
    struct count *c = opaque;

    if (l2->active != 1 || c->lo)
        return 0;
    return qcbmi_leaks_note_blank(c->clues->leaks, l2->table.l1_index, c->err);
}

static int take_all(struct count *c)
{
    struct qcbmi_all_refs refs = { .img = c->img, .holes = c->clues->holes, .progress = c->progress, .opaque = c };

    refs.bitmaps = c->clues->bitmaps;
    refs.snapshots = &c->snapshots;
    refs.stored = &c->disk;
    refs.ref = take_ref;
    refs.entries = take_entries;
    refs.blank = take_blank;
    refs.afford = afford;
    return qcbmi_all_refs_walk(&refs, c->err);
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
