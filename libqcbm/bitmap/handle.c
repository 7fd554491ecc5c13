/* handle.c - what a caller holds: an open image, its bitmaps, and what was found wrong with it so far
 * SPDX-License-Identifier: MIT */
#include "bitmap/handle.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "bitmap/bitmap_list.h"
#include "image/data.h"

int qcbmi_handle_open(struct qcbmi_io *io, const char *path, unsigned flags, struct qcbm_image **out,
                      struct qcbm_error *err)
{
    struct qcbm_image *img = qcbmi_alloc_array(1, sizeof(*img), err);
    int ret;

    *out = NULL;
    if (!img) {
        qcbmi_io_close(io);
        return QCBM_E_NOMEM;
    }
    ret = qcbmi_image_open(io, path, flags, &img->image, err);
    if (ret == 0)
        ret = qcbmi_bitmap_list_load(img, err);
    if (ret < 0) {
        qcbmi_handle_close(img);
        return ret;
    }
    *out = img;
    return 0;
}

void qcbmi_handle_close(struct qcbm_image *handle)
{
    if (!handle)
        return;
    qcbmi_handle_clear(handle);
    qcbmi_image_free(handle->image);
    free(handle);
}

void qcbmi_handle_clear(struct qcbm_image *handle)
{
    qcbmi_data_close(handle->data);
    qcbmi_bitmap_list_free(handle->bitmaps);
    qcbmi_findings_free(&handle->findings);
    *handle = (struct qcbm_image){ .image = handle->image };
}
