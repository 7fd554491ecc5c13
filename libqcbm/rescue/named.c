/* named.c - clusters and the references to them that are known: whose refcount has more?
 * SPDX-License-Identifier: MIT */
#include "base/checked.h"
#include "base/sort.h"
#include "rescue/rescue.h"

int qcbmi_rescue_name(struct qcbmi_rescue *r, uint64_t off, uint64_t len, uint64_t weight, struct qcbm_error *err)
{
    uint64_t first = off >> r->g->cluster_bits, end, excess = 0;

    if (len == 0 || first >= r->n_clusters)
        return 0;
    end = u64_min(((off + len - 1) >> r->g->cluster_bits) + 1, r->n_clusters);
    return qcbmi_counts_add(&r->named, first, end - first, weight, UINT32_MAX, &excess, err);
}

bool qcbmi_rescue_is_left(const struct qcbmi_rescue *r, uint64_t cluster)
{
    uint64_t named = qcbmi_counts_get(&r->named, cluster);

    return r->refcounts ? qcbmi_counts_get(&r->stored, cluster) > named : named == 0;
}

bool qcbmi_rescue_is_of_snapshot(const struct qcbmi_rescue *r, uint64_t table)
{
    size_t i = qcbmi_lower_bound_u64(r->snap, r->n_snap, sizeof(*r->snap), table);

    return i < r->n_snap && r->snap[i].offset == table;
}

unsigned qcbmi_score_of_excess(const struct qcbmi_rescue *r)
{
    return r->snap_damaged ? 60 : 80;
}

uint64_t qcbmi_rescue_next_left(const struct qcbmi_rescue *r, uint64_t from)
{
    while (from < r->n_clusters) {
        if (r->refcounts)
            from = qcbmi_counts_next_difference(&r->stored, &r->named, from, r->n_clusters);
        if (from >= r->n_clusters || qcbmi_rescue_is_left(r, from))
            break;
        from++;
    }
    return from;
}
