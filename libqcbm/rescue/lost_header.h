/* lost_header.h - a header put together from what the rest of the file shows
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_LOST_HEADER_H
#define QCBMI_LOST_HEADER_H

#include "rescue/geometry.h"
#include "rescue/refcount_root.h"

struct qcbmi_lost_header {
    struct q2_header h;
    uint64_t luks_offset, luks_length; /* 0: none */
    bool size_proven;
    bool guessed; /* one of several L1 tables was taken */
};

/* @img has a header with what @root tells and a disk of no size. Returns 0, QCBM_E_NOT_QCOW2 (no L1 table is to be
 * found), QCBM_E_ARG (the L1 table has no room for a disk of that size), QCBM_E_LIMIT, QCBM_E_IO, QCBM_E_NOMEM. */
int qcbmi_find_header(struct qcbmi_image *img, uint64_t size, struct qcbmi_lost_header *out, struct qcbm_error *err);

#endif
