/* handle.h - what a caller holds: an open image, its bitmaps, and what was found wrong with it so far
 * SPDX-License-Identifier: MIT
 *
 * The rooms below know images only; bitmaps come with the handle, so it is made here, for all rooms from here on. */
#ifndef QCBMI_HANDLE_H
#define QCBMI_HANDLE_H

#include "bitmap/findings.h"
#include "image/image.h"

struct qcbmi_bitmap_list; /* bitmap/bitmap_list.h */
struct qcbmi_data;        /* image/data.h */

struct qcbm_image {
    struct qcbmi_image *image;         /* may be borrowed, as that of a layer of a chain is */
    struct qcbmi_bitmap_list *bitmaps; /* NULL until qcbmi_bitmap_list_load() */
    struct qcbmi_data *data;           /* of qcbm_read(); NULL until it is called */
    struct qcbmi_findings findings;
};

/* qcbmi_image_open(), and the bitmaps. @io is taken over, on failure too. */
int qcbmi_handle_open(struct qcbmi_io *io, const char *path, unsigned flags, struct qcbm_image **out,
                      struct qcbm_error *err);
/* Image and handle; NULL is fine. */
void qcbmi_handle_close(struct qcbm_image *handle);

/* Free all that the handle has but the image; fine on a zeroed struct. */
void qcbmi_handle_clear(struct qcbm_image *handle);

#endif
