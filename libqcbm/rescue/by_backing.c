/* by_backing.c - evidence of content: tables whose clusters have blocks that the backing file has in this slot
 * SPDX-License-Identifier: MIT */
#include <stdlib.h>

#include "base/alloc.h"
#include "format/q2_l1l2.h"
#include "rescue/content.h"
#include "rescue/evidence.h"

#define CLUSTERS_EACH 32u /* of a table that are looked at */

struct collecting {
    struct qcbmi_rescue *r;
    struct qcbmi_prints prints;
    uint8_t *cluster;
};

static int collect(void *opaque, void *none, const struct qcbmi_l2_ref *ref, const uint8_t *table,
                   struct qcbm_error *err)
{
    struct collecting *c = opaque;
    const struct q2_geometry *g = c->r->g;
    const struct qcbmi_candidate *found = &c->r->found[ref->l1_index];
    uint32_t step = found->n / CLUSTERS_EACH + 1, seen = 0;
    int ret = 0;

    (void)none;
    if (qcbmi_rescue_is_of_snapshot(c->r, ref->offset))
        return 0; /* whose content would be found in that snapshot */
    for (uint32_t i = 0; table && ret == 0 && qcbmi_candidate_is_root(found) && i < g->l2_entries; i++) {
        struct q2_l2_entry e;

        qcbmi_rescue_parse(c->r, table, i, 0, &e);
        if (e.host_len == 0 || e.kind != Q2_NORMAL || seen++ % step)
            continue;
        ret = qcbmi_holes_read(&c->r->holes, e.host_offset, c->cluster, g->cluster_size, NULL, "guest data", err);
        if (ret == 0)
            ret = qcbmi_prints_add(&c->prints, c->r, ref->offset, (uint64_t)i << g->cluster_bits, c->cluster, err);
    }
    return ret;
}

int qcbmi_rescue_ask_backing(struct qcbmi_votes *v, struct qcbm_error *err)
{
    struct qcbmi_rescue *r = v->r;
    struct collecting c = { .r = r, .prints.unit = r->g->l2_span };
    struct qcbmi_l2_job job = { .refs = r->found,
                                .n = r->n_found,
                                .stride = sizeof(*r->found),
                                .what = "L2 table",
                                .opaque = &c,
                                .look = collect };
    struct qcbmi_match *matches = NULL;
    size_t n = 0;
    int ret;

    if (((!r->probe_backing || !r->img->backing_file) && r->n_snap == 0) || r->img->h.crypt_method)
        return 0;
    c.cluster = qcbmi_alloc_array(r->g->cluster_size, 1, err);
    ret = c.cluster ? qcbmi_l2_read(r->img, &job, err) : QCBM_E_NOMEM;
    if (ret == 0)
        ret = qcbmi_prints_match(&c.prints, r, qcbmi_slot_is_open, &matches, &n, err);
    for (size_t i = 0; ret == 0 && i < n; i++)
        ret = qcbmi_vote(v, matches[i].what, matches[i].where, 92, QCBMI_WHY_BACKING, err);
    free(matches);
    free(c.prints.list);
    free(c.cluster);
    return ret;
}
