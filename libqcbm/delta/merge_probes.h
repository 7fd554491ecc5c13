/* merge_probes.h - probes of several deltas that are true of the merged one as well
 * SPDX-License-Identifier: MIT
 *
 * A probe is content that a delta leaves alone. Where none of the deltas writes, and no state in between was shorter,
 * it is the same in all states, so it holds for all of them together. */
#ifndef QCBMI_MERGE_PROBES_H
#define QCBMI_MERGE_PROBES_H

#include "delta/delta.h"

struct qcbmi_merge_probes {
    struct qcbmi_delta_probe *list; /* ascending, no overlap; .length 0: given up */
    size_t n, at;                   /* @at: the first one that may still be written to */
};

/* Candidates of all @n deltas. Returns 0 or QCBM_E_NOMEM. */
int qcbmi_merge_probes_init(struct qcbmi_merge_probes *p, struct qcbmi_delta *const *deltas, size_t n,
                            struct qcbm_error *err);
void qcbmi_merge_probes_free(struct qcbmi_merge_probes *p); /* fine on a zeroed struct */
/* This is written to; to be called in ascending order. */
void qcbmi_merge_probes_strike(struct qcbmi_merge_probes *p, uint64_t offset, uint64_t length);
/* What is left, evenly chosen if there are too many. */
void qcbmi_merge_probes_give(const struct qcbmi_merge_probes *p, struct qcbmi_delta_meta *out);

#endif
