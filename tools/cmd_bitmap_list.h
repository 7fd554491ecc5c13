/* cmd_bitmap_list.h - what the files of qcbm bitmap --list share
 * SPDX-License-Identifier: MIT
 */
#ifndef QCBM_TOOL_CMD_BITMAP_LIST_H
#define QCBM_TOOL_CMD_BITMAP_LIST_H

#include "json_write.h"
#include "progress.h"
#include "qcbm.h"

/* The bitmaps of one image; @w NULL: as text. Returns the exit code. */
int bitmap_list_image(struct qcbm_image *img, const char *path, struct progress *progress, struct json_writer *w);

#endif
