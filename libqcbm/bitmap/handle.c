/* handle.c - what a caller holds: an open image, its bitmaps, and what was found wrong with it so far
 * SPDX-License-Identifier: MIT */
#include "bitmap/handle.h"

#include "bitmap/bitmap_list.h"
#include "image/data.h"

void qcbmi_handle_clear(struct qcbm_image *handle)
{
    qcbmi_data_close(handle->data);
    qcbmi_bitmap_list_free(handle->bitmaps);
    qcbmi_findings_free(&handle->findings);
    *handle = (struct qcbm_image){ .image = handle->image };
}
