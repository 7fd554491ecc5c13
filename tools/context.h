/* context.h - what an NBD server says of a guest's disk, as dirty ranges
 * SPDX-License-Identifier: MIT
 */
#ifndef QCBM_TOOL_CONTEXT_H
#define QCBM_TOOL_CONTEXT_H

#include <stdbool.h>

#include "qcbm.h"

/* Which flags of a context are dirty; CONTEXT_OTHER: not known here. */
enum context_kind {
    CONTEXT_OTHER,
    CONTEXT_BITMAP,     /* qemu:dirty-bitmap:NAME: what the bitmap has dirty */
    CONTEXT_DEPTH,      /* qemu:allocation-depth: what the topmost layer has */
    CONTEXT_ALLOCATION, /* base:allocation: all but holes that read as zeros */
};

enum context_kind context_kind_of(const char *context);

/* Mark in bitmap @name of @edit, an edit of @img, what @context of the connection to @uri has dirty. The disk must be
 * as large as the image says. Fills @err. */
int context_mark(const char *uri, const char *context, struct qcbm_image *img, struct qcbm_edit *edit, const char *name,
                 struct qcbm_error *err);

#endif
