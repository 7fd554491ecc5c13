/* check_compare.c - the refcounts as stored against the references that were counted
 * SPDX-License-Identifier: MIT */
#include <inttypes.h>

#include "base/checked.h"
#include "check/check_parts.h"
#include "format/q2_refcount.h"

/* From the budget, for each wrong refcount beyond those that are told: there are more of them than bytes in the
 * file. */
#define COST_OF_DIFFERENCE 8u

static int compare_cluster(struct check *c, uint64_t k)
{
    uint64_t stored = qcbmi_counts_get(&c->stored, k), found = qcbmi_counts_get(&c->refs, k);
    struct qcbmi_place at = { k << c->g->cluster_bits, NULL, UINT64_MAX, UINT32_MAX };
    enum qcbm_problem_id id = stored > found ? QCBM_PROBLEM_CLUSTER_LEAKED
                              : stored       ? QCBM_PROBLEM_REFCOUNT_TOO_LOW
                                             : QCBM_PROBLEM_REFCOUNT_ZERO;

    if (id == QCBM_PROBLEM_CLUSTER_LEAKED && c->snapshots_unknown)
        return 0;
    if (id != QCBM_PROBLEM_CLUSTER_LEAKED && found > 1)
        qcbmi_check_suspect(c, k);
    if (id == QCBM_PROBLEM_CLUSTER_LEAKED && qcbmi_leaks_note(&c->leaks, k, stored, found, c->err) < 0)
        return QCBM_E_NOMEM;
    return qcbmi_check_problem(c, id, 1, &at, "%s cluster %" PRIu64 " refcount=%" PRIu64 " reference=%" PRIu64,
                               id == QCBM_PROBLEM_CLUSTER_LEAKED ? "Leaked" : "ERROR", k, stored, found);
}

static int compare_range(struct check *c, uint64_t first, uint64_t end)
{
    uint64_t used;
    int ret = 0;

    for (uint64_t k = first; ret == 0; k++) {
        k = qcbmi_counts_next_difference(&c->refs, &c->stored, k, end);
        if (k >= end || (c->messages == 0 && !qcbmi_check_afford(c, COST_OF_DIFFERENCE)))
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
    uint64_t off = c->disk.table[index] & Q2_REFTABLE_OFFSET_MASK;
    struct qcbmi_place at = { c->img->h.reftable_offset + 8 * index, "refcount table", index, UINT32_MAX };
    int ret = 0;

    if (!is_aligned(off, c->g->cluster_size) && !c->signalled)
        ret = qcbmi_check_problem(c, QCBM_PROBLEM_REFBLOCK_SIGNAL, 1, &at,
                                  "qcow2: Image is corrupt: Refblock offset %#" PRIx64
                                  " unaligned (reftable index: %#" PRIx64
                                  "); further non-fatal corruption events will be suppressed",
                                  off, index);
    c->signalled |= !is_aligned(off, c->g->cluster_size);
    for (uint64_t k = first; ret == 0 && k < end; k++)
        ret = qcbmi_check_problem(c, QCBM_PROBLEM_REFCOUNT_UNREADABLE, 1, &at,
                                  "Can't get refcount for cluster %" PRIu64 ": Input/output error", k);
    return ret;
}

int qcbmi_check_compare(struct check *c)
{
    uint64_t per = c->g->refblock_entries, end = u64_min(c->hi, c->n_clusters), next;
    int ret = 0;

    if (!c->disk.unreadable)
        return compare_range(c, c->lo, end);
    for (uint64_t k = c->lo; ret == 0 && k < end; k = next) {
        uint64_t index = k / per;
        uint64_t off = qcbmi_stored_block_of(&c->disk, k);

        next = u64_min(end, index < c->disk.n_table ? (index + 1) * per : end);
        ret = qcbmi_stored_is_readable(&c->disk, off) ? compare_range(c, k, next) : tell_unreadable(c, index, k, next);
    }
    return ret;
}
