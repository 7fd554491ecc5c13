/* tell.h - ranges of the disk as they are told: neighbours that are alike are one
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_TELL_H
#define QCBMI_TELL_H

#include "bitmap/dirtymap.h"
#include "rescue/rescue.h"

struct qcbmi_tell {
    uint64_t size; /* of the disk: nothing behind it is told */
    qcbm_rescue_fn *fn;
    void *opaque;
    struct qcbmi_dirtymap *doubt; /* gets what is not proven */
    struct qcbm_rescue_range run; /* not told yet */
    uint64_t bytes[3];            /* of each enum qcbm_rescue_certainty */
};

/* Ranges come in the order of the disk. Returns 0, QCBM_E_ABORTED, QCBM_E_NOMEM. */
int qcbmi_tell(struct qcbmi_tell *t, uint64_t start, uint64_t len, unsigned score, enum qcbmi_rescue_why why,
               bool mapped, struct qcbm_error *err);
int qcbmi_tell_end(struct qcbmi_tell *t, struct qcbm_error *err);

#endif
