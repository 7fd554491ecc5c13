/* extents_out.h - extents, as nbdinfo --map prints them
 * SPDX-License-Identifier: MIT
 */
#ifndef QCBM_TOOL_EXTENTS_OUT_H
#define QCBM_TOOL_EXTENTS_OUT_H

#include <stdio.h>

#include "qcbm.h"

#include "extents_form.h"
#include "progress.h"
#include "text_out.h"

/* How they are printed; the caller fills what comes before .lost. */
struct extents_out {
    FILE *out;
    bool json;
    unsigned flags;  /* of qcbm_bitmap_extents() */
    uint64_t offset; /* of the first extent */
    uint64_t limit;  /* extents to be printed; 0 = all */
    struct progress progress;
    int lost; /* errno of a failed write, else 0 */
    uint64_t printed;
    uint64_t size; /* of the disk */
    struct text_high offsets;
};

/* Of a bitmap. Returns what qcbm_bitmap_extents() returns. */
int extents_print(struct extents_out *to, struct qcbm_image *img, const char *name, struct qcbm_error *err);

/* The same of extents of any kind, which are those of @img. Returns what qcbm_extents_fill() returns, and
 * QCBM_E_ABORTED with to->lost. */
int extents_print_of(struct extents_out *to, struct qcbm_image *img, struct qcbm_extents *from, struct qcbm_error *err);

/* Each of them from @offset on; @fn ends the walk by what is not 0. Returns what qcbm_extents_fill() returns. */
int extents_each(struct qcbm_extents *from, uint64_t offset, qcbm_extent_fn *fn, void *opaque, struct qcbm_error *err);

#endif
