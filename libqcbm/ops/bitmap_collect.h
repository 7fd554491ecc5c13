/* bitmap_collect.h - what the bitmaps of one name say in all layers of a chain, for who only reads
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_BITMAP_COLLECT_H
#define QCBMI_BITMAP_COLLECT_H

#include "bitmap/dirtymap.h"
#include "bitmap/handle.h"

/* *@map gets what qcbm_edit_collect() would stage, with the granularity of the top's bitmap; nothing is staged. Returns
 * what that returns. */
int qcbmi_bitmap_collect(struct qcbm_image *top, const char *name, struct qcbmi_dirtymap *map, struct qcbm_error *err);

#endif
