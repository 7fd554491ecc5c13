/* extents_read.h - extents in JSON, as qcbm, nbdinfo and qemu-img map print them, read back
 * SPDX-License-Identifier: MIT
 */
#ifndef QCBM_TOOL_EXTENTS_READ_H
#define QCBM_TOOL_EXTENTS_READ_H

#include <stdio.h>

#include "qcbm.h"

/* Returns 0, or a code with @err filled, which ends the reading. */
typedef int extents_read_fn(void *opaque, const struct qcbm_extent *extent, struct qcbm_error *err);

/* Read one array of extents to the end of @in, and give each to @fn. They must cover the disk of @size bytes in order and
 * without gaps, so that a list of another disk, or one that was cut short, does not pass for one with clean ends. Memory is
 * flat. Two kinds of lists are taken:
 * - the map of a dirty bitmap (qcbm extents, nbdinfo --map=qemu:dirty-bitmap:...): bit 0 of the type is dirty;
 * - qemu-img map: dirty is all that is present at depth 0, data and zeros; what older versions print does not say what is
 *   present, and all of depth 0 is dirty there.
 * Returns 0, QCBM_E_CORRUPT with the place in @in, QCBM_E_IO, QCBM_E_NOMEM, or what @fn returned. */
int extents_read(FILE *in, uint64_t size, extents_read_fn *fn, void *opaque, struct qcbm_error *err);

#endif
