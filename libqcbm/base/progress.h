/* progress.h - how far a long call is, told to its caller, who may ask for an end
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_PROGRESS_H
#define QCBMI_PROGRESS_H

#include "qcbm.h"

struct qcbmi_progress {
    const struct qcbm_progress *to; /* NULL: nobody asks */
    uint64_t done, total;
};

/* Each tells if somebody asks, never more than the total and never less than before. @p may be NULL.
 * Returns 0 or QCBM_E_ABORTED. */
int qcbmi_progress_add(struct qcbmi_progress *p, uint64_t amount, struct qcbm_error *err);
int qcbmi_progress_at(struct qcbmi_progress *p, uint64_t done, struct qcbm_error *err);

#endif
