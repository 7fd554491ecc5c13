/* cmd_checkpoint.h - what the commands of qcbm checkpoint share: the list of disks
 * SPDX-License-Identifier: MIT
 */
#ifndef QCBM_TOOL_CMD_CHECKPOINT_H
#define QCBM_TOOL_CMD_CHECKPOINT_H

#include "common_args.h"

/* Each is run as a command of its own: argv[0] is "create". */
extern const struct cmd checkpoint_create, checkpoint_recover;

/* --disk and --overlay, as they were typed: the first member of a command's own struct behind the common ones. */
struct disk_args {
    struct common_args common;
    struct opt_actions actions;
};

/* clang-format off */
/* @type begins with a struct disk_args called disks. */
#define OPT_DISK(type) \
    { "disk", 0, OPT_ACTION, offsetof(type, disks.actions), "TARGET=IMAGE", \
      "a disk of the machine, and the image that is in use; once for each", NULL }
#define OPT_OVERLAY(type) \
    { "overlay", 0, OPT_ACTION, offsetof(type, disks.actions), "TARGET=IMAGE", \
      "the new image on top of that disk", NULL }
/* clang-format on */

/* What they mean: from malloc(), in the order of --disk; the strings live until the program ends. */
struct disk_list {
    struct qcbm_checkpoint_disk *list;
    size_t n;
    char **targets; /* of the list */
};

/* Images are named as everywhere (file:, --image-opts). Prints the error: no disk, two of one target, an overlay of no disk. */
bool disk_list_make(struct disk_list *disks, const struct cmd *cmd, const struct disk_args *args);
void disk_list_free(struct disk_list *disks);

#endif
