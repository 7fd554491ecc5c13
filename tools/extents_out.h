/* extents_out.h - the extents of a bitmap, as nbdinfo --map prints them
 * SPDX-License-Identifier: MIT
 */
#ifndef QCBM_TOOL_EXTENTS_OUT_H
#define QCBM_TOOL_EXTENTS_OUT_H

#include <stdio.h>

#include "qcbm.h"

enum { N_EXTENT_TYPES = 4 };
/* What the types are called: bit 0 of a type is dirty, bit 1 reads as zeros. */
extern const char *const extent_descriptions[N_EXTENT_TYPES];

/* @flags as of qcbm_bitmap_extents(), whose value is returned. If writing to @out failed, *@lost is errno, else 0. */
int extents_print(FILE *out, bool json, struct qcbm_image *img, const char *name, unsigned flags, int *lost,
                  struct qcbm_error *err);

#endif
