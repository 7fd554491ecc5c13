/* picture_host.h - a picture of an image file: metadata, data in order and scattered, leaks
 * SPDX-License-Identifier: MIT
 */
#ifndef QCBM_TOOL_PICTURE_HOST_H
#define QCBM_TOOL_PICTURE_HOST_H

#include "picture.h"
#include "qcbm.h"

struct picture_plan picture_host_plan(void);
uint64_t picture_host_size(struct qcbm_image *img); /* bytes of the file */
/* Returns what qcbm_host_map() returns. */
int picture_host_count(struct qcbm_image *img, struct picture_cells *cells, const struct qcbm_progress *progress,
                       struct qcbm_error *err);

#endif
