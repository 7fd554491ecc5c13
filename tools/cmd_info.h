/* cmd_info.h - what the files of qcbm info share: what is to be shown of one image
 * SPDX-License-Identifier: MIT
 */
#ifndef QCBM_TOOL_CMD_INFO_H
#define QCBM_TOOL_CMD_INFO_H

#include "file_node.h"
#include "json_write.h"
#include "progress.h"
#include "qcbm.h"

struct info {
    const char *path;
    struct qcbm_image *img;
    struct qcbm_image_info image;
    struct file_node file;
    uint32_t snapshots;
    struct qcbm_luks_info luks;
    bool has_luks;
    struct qcbm_image_usage usage;
    bool has_usage;
};

/* All of @info but its path and img, and warnings of what is wrong; @usage is NULL where how much is in use is not
 * asked for.
 * Returns the exit code (cmd_info_collect.c). */
int info_collect(struct info *info, struct progress *usage);

/* cmd_info_out.c */
void info_print(const struct info *info);
void info_write(struct json_writer *w, const struct info *info);
/* A layer of a chain that is no qcow2 image; @w NULL: as text. */
void info_show_raw(const struct qcbm_chain_layer *layer, struct json_writer *w);

#endif
