/* pending.h - what comes side by side on the disk, gathered into one record of a stream
 * SPDX-License-Identifier: MIT
 *
 * Data is cut at multiples of QCBMI_PENDING_MAX of the disk, so memory does not depend on the delta, and a record is within one
 * object where the disk is stored in objects of the usual size. Zeros are gathered without limit. */
#ifndef QCBMI_PENDING_H
#define QCBMI_PENDING_H

#include "delta/delta.h"

#define QCBMI_PENDING_MAX (UINT64_C(4) << 20)
#define QCBMI_PENDING_ROOM 64u /* in front of the data and behind it, for what the form puts there */

struct qcbmi_pending {
    struct qcbmi_delta_record r; /* .length 0: nothing */
    uint8_t *data;               /* of a record of data */
    /* Write the record, which is never empty. */
    int (*put)(void *opaque, const struct qcbmi_pending *p, struct qcbm_error *err);
    void *opaque;
};

/* .put and .opaque are set. Returns 0 or QCBM_E_NOMEM. */
int qcbmi_pending_init(struct qcbmi_pending *p, struct qcbm_error *err);
void qcbmi_pending_free(struct qcbmi_pending *p); /* fine on a zeroed struct */

/* In ascending order. All return 0 or what ->put() returns. */
int qcbmi_pending_data(struct qcbmi_pending *p, uint64_t offset, uint64_t length, const uint8_t *bytes,
                       struct qcbm_error *err);
int qcbmi_pending_zero(struct qcbmi_pending *p, uint64_t offset, uint64_t length, struct qcbm_error *err);
int qcbmi_pending_flush(struct qcbmi_pending *p, struct qcbm_error *err);

#endif
