/* extents_out.h - the extents of a bitmap, as nbdinfo --map prints them
 * SPDX-License-Identifier: MIT
 */
#ifndef QCBM_TOOL_EXTENTS_OUT_H
#define QCBM_TOOL_EXTENTS_OUT_H

#include <stdio.h>

#include "qcbm.h"

#include "progress.h"
#include "text_out.h"

enum { N_EXTENT_TYPES = 4 };
/* What the types are called: bit 0 of a type is dirty, bit 1 reads as zeros. */
extern const char *const extent_descriptions[N_EXTENT_TYPES];

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

/* Returns what qcbm_bitmap_extents() returns. */
int extents_print(struct extents_out *to, struct qcbm_image *img, const char *name, struct qcbm_error *err);

#endif
