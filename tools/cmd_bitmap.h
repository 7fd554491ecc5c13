/* cmd_bitmap.h - what cmd_bitmap.c and cmd_bitmap_list.c share
 * SPDX-License-Identifier: MIT
 */
#ifndef QCBM_TOOL_CMD_BITMAP_H
#define QCBM_TOOL_CMD_BITMAP_H

#include "opt_parse.h"

struct bitmap_args {
    struct opt_actions actions; /* --add, --remove ... in their order */
    uint64_t granularity;
    const char *format, *source, *source_format;
    enum opt_output output;
    bool list, dry_run, quiet, force_share, no_lock, no_sandbox;
};

/* qcbm bitmap --list: returns the exit code. */
int bitmap_list(struct qcbm_image *img, const char *path, enum opt_output output);

#endif
