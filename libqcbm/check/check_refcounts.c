/* check_refcounts.c - the refcounts as stored: table, blocks, and the comparison with what was counted
 * SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "check/check.h"
#include "format/q2_refcount.h"

/* QEMU reads nothing at or past it (the largest int64_t, rounded down to 1 GiB). */
#define READ_LIMIT (Q2_MAX_OFFSET & ~((UINT64_C(1) << 30) - 1))

/* From the budget, for each wrong refcount beyond those that are told: there are more of them than bytes in the file. */
#define COST_OF_DIFFERENCE 8u

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

static bool is_readable(const struct check *c, uint64_t off)
{
    return is_aligned(off, c->g->cluster_size) && off < READ_LIMIT - c->g->cluster_size;
}

static int read_block(struct check *c, uint64_t off, bool *zeros)
{
    int ret = 0;

    if (zeros)
        *zeros = false;
    if (off == c->block_offset)
        return 0;
    ret = qcbmi_check_read(c, off, c->block, c->g->cluster_size, zeros);
    c->block_offset = ret < 0 || (zeros && *zeros) ? UINT64_MAX : off;
    return ret;
}

bool qcbmi_check_stored(struct check *c, uint64_t cluster, uint64_t *value)
{
    uint64_t index = cluster / c->g->refblock_entries;
    uint64_t off = index < c->n_reftable ? c->reftable[index] & Q2_REFTABLE_OFFSET_MASK : 0;

    *value = 0;
    if (off == 0)
        return true;
    if (!is_readable(c, off) || read_block(c, off, NULL) < 0)
        return false;
    *value = q2_refcount_get(c->block, cluster % c->g->refblock_entries, c->g->refcount_order);
    return true;
}

/* End of the run from entry @i on with the same refcount. */
static uint64_t run_end(const uint8_t *block, uint64_t i, uint64_t n, uint32_t order)
{
    uint64_t value = q2_refcount_get(block, i, order), k = i + 1;

    if (order == 4)
        while (k < n && memcmp(block + 2 * k, block + 2 * i, 2) == 0)
            k++;
    else
        while (k < n && q2_refcount_get(block, k, order) == value)
            k++;
    return k;
}

static int store_block(struct check *c, uint64_t base)
{
    uint64_t n = u64_min(c->g->refblock_entries, c->hi - base), ignored = 0;
    uint64_t i = base < c->lo ? c->lo - base : 0;
    int ret = 0;

    for (uint64_t k; ret == 0 && i < n; i = k) {
        k = run_end(c->block, i, n, c->g->refcount_order);
        ret = qcbmi_counts_add(&c->stored, base + i, k - i, q2_refcount_get(c->block, i, c->g->refcount_order),
                               UINT64_MAX, &ignored, c->err);
    }
    return ret;
}

int qcbmi_check_load_stored(struct check *c)
{
    uint64_t per = c->g->refblock_entries, loaded = 0;
    int ret = 0;

    for (uint64_t i = c->lo / per; ret == 0 && i < c->n_reftable && i * per < c->hi; i++) {
        uint64_t off = c->reftable[i] & Q2_REFTABLE_OFFSET_MASK;
        bool zeros;

        if (off == 0)
            continue;
        if (!is_readable(c, off)) {
            c->unreadable = true;
            continue;
        }
        loaded += c->g->cluster_size;
        if (loaded > c->real_len && !qcbmi_check_afford(c, c->g->cluster_size)) /* the same blocks over and over */
            break;
        ret = read_block(c, off, &zeros);
        if (ret == 0 && !zeros)
            ret = store_block(c, i * per);
        if (ret == 0)
            ret = qcbmi_check_step(c, c->g->cluster_size);
    }
    return ret;
}

static int check_refblock(struct check *c, uint64_t i, uint64_t off, const struct check_place *at)
{
    uint64_t cluster = off >> c->g->cluster_bits;
    struct check_owner owner = { OWNER_META, "refcount block", 0, i };
    int ret = qcbmi_check_reference(c, off, c->g->cluster_size, 1, 1, &owner, at);

    /* The counter is that of this moment: of two entries with one block, the second is to blame, as QEMU has it. */
    if (ret < 0 || c->search || cluster < c->lo || cluster >= c->hi || qcbmi_counts_get(&c->refs, cluster) == 1)
        return ret;
    c->tally = true;
    ret = qcbmi_check_problem(c, P_REFBLOCK_REFCOUNT, 1, at, "ERROR refcount block %" PRIu64 " refcount=%" PRIu64, i,
                              qcbmi_counts_get(&c->refs, cluster));
    c->tally = !c->again;
    return ret;
}

int qcbmi_check_refblocks(struct check *c)
{
    int ret = 0;

    for (uint64_t i = 0; ret == 0 && i < c->n_reftable; i++) {
        uint64_t raw = c->reftable[i], off = raw & Q2_REFTABLE_OFFSET_MASK;
        struct check_place at = { c->img->h.reftable_offset + 8 * i, "refcount table", i, UINT32_MAX };
        bool bad = raw & Q2_REFTABLE_RESERVED || !is_aligned(off, c->g->cluster_size) ||
                   off >> c->g->cluster_bits >= c->n_clusters;

        if (bad && c->again)
            continue;
        if (raw & Q2_REFTABLE_RESERVED)
            ret = qcbmi_check_problem(c, P_REFTABLE_RESERVED, 1, &at,
                                      "ERROR refcount table entry %" PRIu64 " has reserved bits set", i);
        else if (!is_aligned(off, c->g->cluster_size))
            ret = qcbmi_check_problem(
                c, P_REFBLOCK_UNALIGNED, 1, &at,
                "ERROR refcount block %" PRIu64 " is not cluster aligned; refcount table entry corrupted", i);
        else if (bad)
            ret = qcbmi_check_problem(c, P_REFBLOCK_OUTSIDE, 1, &at,
                                      "ERROR refcount block %" PRIu64 " is outside image", i);
        else if (off)
            ret = check_refblock(c, i, off, &at);
    }
    return ret;
}

static int compare_cluster(struct check *c, uint64_t k)
{
    uint64_t stored = qcbmi_counts_get(&c->stored, k), found = qcbmi_counts_get(&c->refs, k);
    struct check_place at = { k << c->g->cluster_bits, NULL, UINT64_MAX, UINT32_MAX };
    enum qcbm_problem_id id = stored > found ? P_CLUSTER_LEAKED : stored ? P_REFCOUNT_TOO_LOW : P_REFCOUNT_ZERO;

    if (id == P_CLUSTER_LEAKED && c->snapshots_unknown)
        return 0;
    if (id != P_CLUSTER_LEAKED && found > 1)
        qcbmi_check_suspect(c, k);
    if (id == P_CLUSTER_LEAKED && qcbmi_check_note_leak(c, k, stored, found) < 0)
        return QCBM_E_NOMEM;
    return qcbmi_check_problem(c, id, 1, &at, "%s cluster %" PRIu64 " refcount=%" PRIu64 " reference=%" PRIu64,
                               id == P_CLUSTER_LEAKED ? "Leaked" : "ERROR", k, stored, found);
}

static int compare_range(struct check *c, uint64_t first, uint64_t end)
{
    uint64_t used;
    int ret = 0;

    for (uint64_t k = first; ret == 0; k++) {
        k = qcbmi_counts_next_difference(&c->refs, &c->stored, k, end);
        if (k >= end || ((c->messages == 0 || c->o.lost_only) && !qcbmi_check_afford(c, COST_OF_DIFFERENCE)))
            break;
        ret = compare_cluster(c, k);
    }
    used = u64_max(qcbmi_counts_used_end(&c->refs, end), qcbmi_counts_used_end(&c->stored, end));
    if (used > first)
        c->highest_end = u64_max(c->highest_end, used);
    return ret;
}

static int tell_unreadable(struct check *c, uint64_t index, uint64_t first, uint64_t end)
{
    uint64_t off = c->reftable[index] & Q2_REFTABLE_OFFSET_MASK;
    struct check_place at = { c->img->h.reftable_offset + 8 * index, "refcount table", index, UINT32_MAX };
    int ret = 0;

    if (!is_aligned(off, c->g->cluster_size) && !c->signalled)
        ret = qcbmi_check_problem(c, P_REFBLOCK_SIGNAL, 1, &at,
                                  "qcow2: Image is corrupt: Refblock offset %#" PRIx64
                                  " unaligned (reftable index: %#" PRIx64
                                  "); further non-fatal corruption events will be suppressed",
                                  off, index);
    c->signalled |= !is_aligned(off, c->g->cluster_size);
    for (uint64_t k = first; ret == 0 && k < end; k++)
        ret = qcbmi_check_problem(c, P_REFCOUNT_UNREADABLE, 1, &at,
                                  "Can't get refcount for cluster %" PRIu64 ": Input/output error", k);
    return ret;
}

int qcbmi_check_compare(struct check *c)
{
    uint64_t per = c->g->refblock_entries, end = u64_min(c->hi, c->n_clusters), next;
    int ret = 0;

    if (!c->unreadable)
        return compare_range(c, c->lo, end);
    for (uint64_t k = c->lo; ret == 0 && k < end; k = next) {
        uint64_t index = k / per;
        uint64_t off = index < c->n_reftable ? c->reftable[index] & Q2_REFTABLE_OFFSET_MASK : 0;

        next = u64_min(end, index < c->n_reftable ? (index + 1) * per : end);
        ret = is_readable(c, off) ? compare_range(c, k, next) : tell_unreadable(c, index, k, next);
    }
    return ret;
}
