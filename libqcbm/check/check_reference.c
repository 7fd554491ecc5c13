/* check_reference.c - what any reference is judged by: does it lead into the file, is the table there cut?
 * SPDX-License-Identifier: MIT */
#include <inttypes.h>

#include "base/checked.h"
#include "check/check_parts.h"

int qcbmi_check_tell_overflow(struct check *c, uint64_t cluster, const struct qcbmi_place *at)
{
    c->r.corruptions++;
    return qcbmi_check_problem(c, QCBM_PROBLEM_REFCOUNT_OVERFLOW, 0, at, "ERROR: overflow cluster offset=0x%" PRIx64,
                               cluster << c->g->cluster_bits);
}

/* QEMU allows the last cluster to be cut. It writes tables whole, so one that is cut lacks entries. */
int qcbmi_check_cut(struct check *c, const struct qcbmi_ref *ref)
{
    uint64_t size = c->img->io.size;

    if (ref->owner.kind == QCBMI_REF_DATA || ref->owner.kind == QCBMI_REF_COMPRESSED || ref->offset == 0 ||
        !is_aligned(ref->offset, c->g->cluster_size) || range_fits(ref->offset, ref->len, size))
        return 0;
    return qcbmi_check_problem(c, QCBM_PROBLEM_TABLE_CUT, 1, &ref->at,
                               "%s at 0x%" PRIx64 " is cut by the end of the file: %" PRIu64 " bytes are missing",
                               qcbmi_ref_name(&ref->owner), ref->offset, ref->offset + ref->len - size);
}

static int refer(struct check *c, const struct qcbmi_ref *ref, bool whole)
{
    uint64_t off = ref->offset, len = ref->len, end;

    if (len == 0)
        return 0;
    if (qcbmi_leads_nowhere(off, len, c->file_len, c->g->cluster_size))
        return qcbmi_check_problem(
            c, qcbmi_check_is_plausible(c, off) ? QCBM_PROBLEM_REFERENCE_PAST_END : QCBM_PROBLEM_REFERENCE_NOWHERE,
            ref->weight, &ref->at,
            "ERROR: counting reference for region exceeding the end of the file by one cluster "
            "or more: offset 0x%" PRIx64 " size 0x%" PRIx64,
            off, len);
    end = ((off + len - 1) >> c->g->cluster_bits) + 1;
    if (whole && qcbmi_check_cut(c, ref) < 0)
        return QCBM_E_ABORTED;
    return c->sink->clusters(c, off >> c->g->cluster_bits, end, ref);
}

int qcbmi_check_reference(struct check *c, const struct qcbmi_ref *ref)
{
    return refer(c, ref, true);
}

int qcbmi_check_clusters(struct check *c, const struct qcbmi_ref *ref)
{
    return refer(c, ref, false);
}
