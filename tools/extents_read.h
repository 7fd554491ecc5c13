/* extents_read.h - extents in the forms of other programs, read
 * SPDX-License-Identifier: MIT
 */
#ifndef QCBM_TOOL_EXTENTS_READ_H
#define QCBM_TOOL_EXTENTS_READ_H

#include <stdio.h>

#include "extents_form.h"
#include "qcbm.h"

/* Returns 0, or a code with @err filled, which ends the reading. */
typedef int extents_read_fn(void *opaque, const struct qcbm_extent *extent, struct qcbm_error *err);

struct extents_in {
    FILE *in;
    enum extents_form form;
    uint64_t size;         /* of the disk, in whole sectors */
    uint64_t cluster_size; /* of the image: what a bit of EXTENTS_XEN_BITS stands for */
};

/* Read all of @from, and give each extent to @fn: in order, none overlaps another, none passes the end of the disk.
 * Memory is flat. There are two kinds of forms:
 * - EXTENTS_HUMAN, JSON, JSONL, OVIRT cover the disk without gaps, so that a list of another disk, or one that was cut
 *   short, does not pass for one with clean ends. JSON may also be that of qemu-img map: dirty is all that is present
 *   at depth 0, data and zeros; what older versions print does not say what is present, and all of depth 0 is dirty
 *   there. OVIRT without a bitmap: all but holes is dirty.
 * - the others say what is dirty, and what they leave out is clean. CSI and XEN_JSON say how large the disk is, and
 *   bits have a length that fits, or one in whole bytes that leaves the rest of the disk out, which is dirty then. What
 *   THIN_DELTA says of blocks past the end of the disk is left out.
 * Members that are not known are skipped in JSON and JSONL, and refused elsewhere. Returns 0, QCBM_E_CORRUPT with the
 * place in @in, QCBM_E_IO, QCBM_E_NOMEM, or what @fn returned. */
int extents_read(const struct extents_in *from, extents_read_fn *fn, void *opaque, struct qcbm_error *err);

#endif
