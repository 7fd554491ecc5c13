/* cmd_checkpoint.h - what the commands of qcbm checkpoint share: the list of disks
 * SPDX-License-Identifier: MIT
 */
#ifndef QCBM_TOOL_CMD_CHECKPOINT_H
#define QCBM_TOOL_CMD_CHECKPOINT_H

#include "common_args.h"

/* Each is run as a command of its own: argv[0] is "create". */
extern const struct cmd checkpoint_create, checkpoint_recover;
extern const struct cmd checkpoint_verify, checkpoint_mend, checkpoint_reclaim, checkpoint_xml;

/* --disk, --domain and --overlay, as they were typed: the first member of a command's own struct behind the common
 * ones. */
struct disk_args {
    struct common_args common;
    struct opt_actions actions;
    const char *domain;
};

/* clang-format off */
/* @type begins with a struct disk_args called disks. */
#define OPT_DISK(type) \
    { "disk", 0, OPT_ACTION, offsetof(type, disks.actions), "TARGET=IMAGE", \
      "a disk of the machine, and the image that is in use; once for each", NULL }
#define OPT_DOMAIN(type) \
    { "domain", 0, OPT_STRING, offsetof(type, disks.domain), "FILE", \
      "take the disks from this XML of a domain (with --disk: its name alone)", NULL }
#define OPT_OVERLAY(type) \
    { "overlay", 0, OPT_ACTION, offsetof(type, disks.actions), "TARGET=IMAGE", \
      "the new image on top of that disk", NULL }
#define OPT_CHECKPOINT_UNDO \
    COMMON_ROW("undo", 0, OPT_STRING, undo, "FOLDER", \
               "save what is overwritten to TARGET.undo there, of the layer N to TARGET.N.undo")
#define OPT_CHECKPOINT_JOURNAL(type) \
    OPT_ROW(type, "journal", 0, OPT_STRING, journal, "FILE", "the journal (default: beside the first image)")
/* clang-format on */

/* What they mean: from malloc(), in the order of --disk, else of the domain. */
struct disk_list {
    struct qcbm_checkpoint_disk *list;
    size_t n;
    char **targets;                 /* of the list */
    struct qcbm_domain_xml *domain; /* what --domain names, or NULL; it has strings of the list */
};

/* The disks of --disk; without one, those of the domain that libvirt makes a checkpoint of. Images are named as
 * everywhere (file:, --image-opts). Prints the error: no disk, one of the domain that cannot be in a checkpoint, two of
 * one target, an overlay of no disk. */
bool disk_list_make(struct disk_list *disks, const struct cmd *cmd, const struct disk_args *args);
void disk_list_free(struct disk_list *disks);

/* The folder of --undo, if it is not there, is made; not in a dry run. Prints the error. */
bool checkpoint_undo_folder(const struct common_args *common);

#endif
