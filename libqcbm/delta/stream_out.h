/* stream_out.h - the writer of a form that is a stream: bytes in a row, and what comes side by side on the disk in one
 * record
 * SPDX-License-Identifier: MIT
 *
 * Data is cut at multiples of QCBMI_STREAM_MAX of the disk, so memory does not depend on the delta, and a record is
 * within one object where the disk is stored in objects of the usual size. Zeros are gathered without limit. */
#ifndef QCBMI_STREAM_OUT_H
#define QCBMI_STREAM_OUT_H

#include "delta/delta.h"

#define QCBMI_STREAM_MAX (UINT64_C(4) << 20)
#define QCBMI_STREAM_ROOM 64u /* in front of the data and behind it, for what the form puts there */

struct qcbmi_stream_out {
    struct qcbmi_io *io;
    bool seekable;               /* it is a file */
    uint64_t at;                 /* where the next byte goes */
    struct qcbmi_delta_record r; /* not written yet; .length 0: nothing */
    uint8_t *data;               /* of a record of data */
    /* Write the record, which is never empty. */
    int (*put)(struct qcbmi_stream_out *o, struct qcbm_error *err);
};

/* Makes w->self. Returns 0 or QCBM_E_NOMEM. */
int qcbmi_stream_out_open(struct qcbmi_delta_writer *w, int (*put)(struct qcbmi_stream_out *o, struct qcbm_error *err),
                          struct qcbm_error *err);
int qcbmi_stream_out_bytes(struct qcbmi_stream_out *o, const void *bytes, uint64_t len, struct qcbm_error *err);
int qcbmi_stream_out_flush(struct qcbmi_stream_out *o, struct qcbm_error *err);

/* Of the form (struct qcbmi_delta_form). */
int qcbmi_stream_out_zero(struct qcbmi_delta_writer *w, uint64_t offset, uint64_t length, struct qcbm_error *err);
int qcbmi_stream_out_data(struct qcbmi_delta_writer *w, uint64_t offset, uint64_t length, const uint8_t *bytes,
                          struct qcbm_error *err);
void qcbmi_stream_out_free(struct qcbmi_delta_writer *w);

#endif
