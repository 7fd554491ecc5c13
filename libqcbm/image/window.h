/* window.h - reading tables piece by piece: flat memory, few reads, holes of a sparse file skipped
 * SPDX-License-Identifier: MIT
 *
 * What lies past the end of the file reads as zeros, as it does for QEMU. */
#ifndef QCBMI_WINDOW_H
#define QCBMI_WINDOW_H

#include "io/holes.h"

#define QCBMI_WINDOW_BYTES (UINT64_C(64) << 10)

struct qcbmi_window {
    struct qcbmi_holes *holes; /* of the file, where several windows look at it in any order; may be NULL */
    uint8_t *buf;              /* QCBMI_WINDOW_BYTES */
    uint64_t start, end;       /* of the file, in buf */
    uint64_t zero_end;         /* from start up to here the file is known to be zeros; start if nothing is known */
    unsigned n_slow;           /* reads that waited for a disk */
};

void qcbmi_window_free(struct qcbmi_window *w); /* fine on a zeroed struct */

/* @need bytes at @off (at most 4096), which stay valid until the next call. @rest, at least @need, is how far the table
 * goes on: no more is read, unless the reads are close to each other. */
int qcbmi_window_at(struct qcbmi_window *w, struct qcbmi_io *io, uint64_t off, uint64_t need, uint64_t rest,
                    const uint8_t **out, struct qcbm_error *err);

/* Up to where all is known to be zeros from @off on, from calls before; @off if nothing is known. */
uint64_t qcbmi_window_zero_end(const struct qcbmi_window *w, uint64_t off);
bool qcbmi_window_is_zero(const struct qcbmi_window *w, uint64_t off, uint64_t len);

#endif
