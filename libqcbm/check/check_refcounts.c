/* check_refcounts.c - the refcounts as stored: table, blocks, and the comparison with what was counted
 * SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "base/sort.h"
#include "check/check.h"
#include "format/q2_refcount.h"

/* QEMU reads nothing at or past it (the largest int64_t, rounded down to 1 GiB). */
#define READ_LIMIT (Q2_MAX_OFFSET & ~((UINT64_C(1) << 30) - 1))

int qcbmi_check_load_reftable(struct check *c)
{
    uint64_t bytes = (uint64_t)c->img->h.reftable_clusters << c->g->cluster_bits;
    int ret;

    c->n_reftable = bytes / 8;
    c->reftable = qcbmi_alloc_array(c->n_reftable, 8, c->err);
    if (!c->reftable)
        return QCBM_E_NOMEM;
    ret = qcbmi_check_read(c, c->img->h.reftable_offset, c->reftable, bytes, NULL);
    for (uint64_t i = 0; ret == 0 && i < c->n_reftable; i++)
        c->reftable[i] = be64_load((const uint8_t *)&c->reftable[i]);
    c->progress.total = bytes;
    for (uint64_t i = 0; i < c->img->h.l1_entries && i < c->n_clusters; i++)
        c->progress.total += c->g->cluster_size; /* about: the L2 tables are not known yet */
    return ret;
}

bool qcbmi_check_is_block_readable(const struct check *c, uint64_t off)
{
    return is_aligned(off, c->g->cluster_size) && off < READ_LIMIT - c->g->cluster_size;
}

static int read_block(struct check *c, uint64_t off)
{
    int ret = 0;

    if (off == c->block_offset)
        return 0;
    ret = qcbmi_check_read(c, off, c->block, c->g->cluster_size, NULL);
    c->block_offset = ret < 0 ? UINT64_MAX : off;
    return ret;
}

bool qcbmi_check_stored(struct check *c, uint64_t cluster, uint64_t *value)
{
    uint64_t index = cluster / c->g->refblock_entries;
    uint64_t off = index < c->n_reftable ? c->reftable[index] & Q2_REFTABLE_OFFSET_MASK : 0;

    *value = 0;
    if (off == 0)
        return true;
    if (!qcbmi_check_is_block_readable(c, off) || read_block(c, off) < 0)
        return false;
    *value = q2_refcount_get(c->block, cluster % c->g->refblock_entries, c->g->refcount_order);
    return true;
}

/* The refcounts of one block as far as they are those of this pass. */
static int store_block(void *opaque, void *none, const struct qcbmi_l2_ref *ref, const uint8_t *block,
                       struct qcbm_error *err)
{
    struct check *c = opaque;
    uint64_t base = ref->l1_index * c->g->refblock_entries, n = u64_min(c->g->refblock_entries, c->hi - base);
    uint64_t i = base < c->lo ? c->lo - base : 0, ignored = 0;
    int ret = 0;

    (void)none;
    for (uint64_t k; block && ret == 0 && i < n; i = k) {
        k = q2_refcount_run_end(block, i, n, c->g->refcount_order);
        ret = qcbmi_counts_add(&c->stored, base + i, k - i, q2_refcount_get(block, i, c->g->refcount_order), UINT64_MAX,
                               &ignored, err);
    }
    return ret;
}

/* Blocks of this pass into @refs, with their index in the refcount table; returns how many. */
static size_t list_blocks(struct check *c, struct qcbmi_l2_ref *refs)
{
    uint64_t per = c->g->refblock_entries, loaded = 0;
    size_t n = 0;

    for (uint64_t i = c->lo / per; i < c->n_reftable && i * per < c->hi; i++) {
        uint64_t off = c->reftable[i] & Q2_REFTABLE_OFFSET_MASK;

        if (off == 0)
            continue;
        if (!qcbmi_check_is_block_readable(c, off)) {
            c->unreadable = true;
            continue;
        }
        loaded += c->g->cluster_size;
        if (loaded > c->real_len && !qcbmi_check_afford(c, c->g->cluster_size)) /* the same blocks over and over */
            break;
        refs[n++] = (struct qcbmi_l2_ref){ off, i };
    }
    qcbmi_sort(refs, n, sizeof(*refs), qcbmi_by_two_u64);
    return n;
}

int qcbmi_check_load_stored(struct check *c)
{
    uint64_t per = c->g->refblock_entries, first = c->lo / per, end = u64_min(c->n_reftable, div_up(c->hi, per));
    struct qcbmi_l2_job job = { .stride = sizeof(struct qcbmi_l2_ref), .what = "metadata", .progress = &c->progress };
    struct qcbmi_l2_ref *refs;
    int ret;

    if (first >= end)
        return 0;
    refs = qcbmi_alloc_array(end - first, sizeof(*refs), c->err);
    if (!refs)
        return QCBM_E_NOMEM;
    job.refs = refs;
    job.n = list_blocks(c, refs);
    job.opaque = c;
    job.look = store_block;
    ret = qcbmi_l2_read(c->img, &job, c->err);
    free(refs);
    return ret;
}

/* A block that something else uses, too. The counter is that of this moment: of two entries with one block, the second
 * is to blame, as QEMU has it. So it takes counting again, over all clusters: what a pass has counted may be cut back. */
static int tell_refblock(struct check *c, const struct qcbmi_ref *ref, uint64_t cluster)
{
    uint64_t refcount = qcbmi_counts_get(&c->told, cluster);
    struct check_voice before = c->voice;
    int ret;

    if (!c->recount || c->exhausted || refcount == 1)
        return 0;
    c->voice.total = true;
    c->voice.only = CHECK_ALL;
    ret = qcbmi_check_problem(c, QCBM_PROBLEM_REFBLOCK_REFCOUNT, 1, &ref->at,
                              "ERROR refcount block %" PRIu64 " refcount=%" PRIu64, ref->owner.index, refcount);
    c->voice = before;
    return ret;
}

static int check_refblock(struct check *c, const struct qcbmi_ref *ref)
{
    uint64_t cluster = ref->offset >> c->g->cluster_bits;
    int ret = qcbmi_check_reference(c, ref);

    if (ret < 0 || c->voice.say)
        return ret < 0 ? ret : tell_refblock(c, ref, cluster);
    if (cluster >= c->lo && cluster < c->hi && qcbmi_counts_get(&c->refs, cluster) != 1)
        c->recount = true;
    return 0;
}

int qcbmi_check_refblocks(struct check *c)
{
    int ret = 0;

    for (uint64_t i = 0; ret == 0 && i < c->n_reftable; i++) {
        uint64_t raw = c->reftable[i], off = raw & Q2_REFTABLE_OFFSET_MASK;
        struct qcbmi_ref ref = qcbmi_ref_to_block(c->img, i, off);
        bool bad = raw & Q2_REFTABLE_RESERVED || !is_aligned(off, c->g->cluster_size) ||
                   off >> c->g->cluster_bits >= c->n_clusters;

        if (bad && !check_is_first(c))
            continue;
        if (raw & Q2_REFTABLE_RESERVED)
            ret = qcbmi_check_problem(c, QCBM_PROBLEM_REFTABLE_RESERVED, 1, &ref.at,
                                      "ERROR refcount table entry %" PRIu64 " has reserved bits set", i);
        else if (!is_aligned(off, c->g->cluster_size))
            ret = qcbmi_check_problem(
                c, QCBM_PROBLEM_REFBLOCK_UNALIGNED, 1, &ref.at,
                "ERROR refcount block %" PRIu64 " is not cluster aligned; refcount table entry corrupted", i);
        else if (bad)
            ret = qcbmi_check_problem(c, QCBM_PROBLEM_REFBLOCK_OUTSIDE, 1, &ref.at,
                                      "ERROR refcount block %" PRIu64 " is outside image", i);
        else if (off)
            ret = check_refblock(c, &ref);
    }
    return ret;
}
