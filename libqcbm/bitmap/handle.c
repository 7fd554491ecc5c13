/* handle.c - what a caller holds: an open image, its bitmaps, and what was found wrong with it so far
 * SPDX-License-Identifier: MIT */
#include "bitmap/handle.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "bitmap/bitmap_list.h"
#include "image/data.h"

#define MAX_FINDINGS 4096u

void qcbmi_handle_clear(struct qcbm_image *handle)
{
    qcbmi_data_close(handle->data);
    qcbmi_bitmap_list_free(handle->bitmaps);
    free(handle->findings.list);
    *handle = (struct qcbm_image){ .image = handle->image };
}

void qcbmi_finding_add(struct qcbm_image *handle, const char *code, enum qcbm_severity severity, uint64_t offset,
                       uint32_t bitmap, const char *fmt, ...)
{
    struct qcbmi_findings *all = &handle->findings;
    struct qcbm_finding *f;
    va_list args;

    if (all->n >= MAX_FINDINGS || qcbmi_grow_array(&all->list, &all->capacity, all->n, sizeof(*f), NULL) < 0)
        return;
    f = &all->list[all->n++];
    f->code = code;
    f->severity = severity;
    f->offset = offset;
    f->bitmap = bitmap;
    va_start(args, fmt);
    vsnprintf(f->message, sizeof(f->message), fmt, args);
    va_end(args);
}
