/* check_suspects.c - clusters that may have two owners: collected while refcounts are compared
 * SPDX-License-Identifier: MIT */
#include "base/alloc.h"
#include "base/checked.h"
#include "check/check_parts.h"

void qcbmi_check_suspect(struct check *c, uint64_t cluster)
{
    if (!c->suspects)
        c->suspects = qcbmi_alloc_array(1, sizeof(*c->suspects), NULL);
    if (c->suspects && c->suspects->n < CHECK_MAX_SUSPECTS)
        c->suspects->list[c->suspects->n++].cluster = cluster;
}

int qcbmi_check_collect_suspects(struct check *c)
{
    uint64_t end = u64_min(c->hi, c->n_clusters);

    for (uint64_t k = c->lo; (k = qcbmi_counts_next_shared(&c->owners, k, end)) < end; k++) {
        qcbmi_check_suspect(c, k);
        if (c->suspects && c->suspects->n == CHECK_MAX_SUSPECTS)
            break;
    }
    return 0;
}
