/* cmd_bitmap.h - what the files of qcbm bitmap share: its arguments, and what a verb is
 * SPDX-License-Identifier: MIT
 */
#ifndef QCBM_TOOL_CMD_BITMAP_H
#define QCBM_TOOL_CMD_BITMAP_H

#include "common_args.h"
#include "extents_form.h"

struct bitmap_args {
    struct common_args common;
    const char *name, *surplus;
    struct opt_actions actions; /* --add, --remove ... in their order */
    uint64_t granularity, keep;
    const char *source, *source_format, *as, *against, *check;
    const char *file_format, *bit_order; /* of --export and --import */
    const char *context;                 /* of an NBD server, which --import names */
    bool chain, trust, base64, grown;
};
COMMON_ARGS_FIRST(struct bitmap_args);

/* ---- verbs --------------------------------------------------------------------------------------------- */

/* Options that go with some verbs only. */
enum bitmap_option {
    BITMAP_CHAIN = 1u << 0,
    BITMAP_AS = 1u << 1,
    BITMAP_KEEP = 1u << 2,
    BITMAP_FORMAT = 1u << 3, /* and --force, --bit-order */
    BITMAP_GRANULARITY = 1u << 4,
    BITMAP_SOURCE = 1u << 5,
    BITMAP_UNDO = 1u << 6,
    BITMAP_DRY_RUN = 1u << 7,
    BITMAP_TRUST = 1u << 8,
    BITMAP_BASE64 = 1u << 9,
    BITMAP_GROWN = 1u << 10,
    BITMAP_AGAINST = 1u << 11,
    BITMAP_CHECK = 1u << 12,
    BITMAP_CONTEXT = 1u << 13
};

enum bitmap_need {
    BITMAP_NAME = 1u << 0,        /* the name of a bitmap behind that of the file */
    BITMAP_WRITING = 1u << 1,     /* an image open for writing, but in a dry run */
    BITMAP_OTHER_IMAGE = 1u << 2, /* its value names one */
    BITMAP_INPUT = 1u << 3,       /* its value names a file to be read, which is opened before an image is locked */
    BITMAP_LAYERS = 1u << 4       /* opens the images below FILE */
};

/* What is told of an operation that is done. */
enum bitmap_told {
    BITMAP_TOLD_NOTHING, /* qemu-img has it, too, and is silent */
    BITMAP_TOLD_FIGURES,
    BITMAP_TOLD_RENAMED, /* the new name; it does not look at the bits */
    BITMAP_TOLD_ROTATED  /* figures, and the new name */
};

struct bitmap_job;
struct bitmap_result;

/* The .detail of its row in the table of options, which has its name and its help. */
struct bitmap_verb {
    unsigned takes, needs; /* enum bitmap_option, enum bitmap_need */
    enum bitmap_told told;
    bool (*valid)(const struct opt_action *action); /* is the value well-formed? Prints the error. NULL: any is */
    /* An operation on a bitmap, in the edit of @job; or else a job that stands alone and returns the exit code. */
    int (*edit)(struct bitmap_job *job, struct bitmap_result *result, struct qcbm_error *err);
    int (*alone)(const struct bitmap_args *args, const char *value);
};

const struct bitmap_verb *bitmap_verb_of(const struct opt_action *action);

/* The verb that stands alone, if there is one: the last of its name, whose value counts. */
struct opt_action *bitmap_alone(const struct bitmap_args *args);

/* Do verbs, options and arguments go together? Prints the error. Returns the exit code (cmd_bitmap_usage.c). */
int bitmap_check_usage(const struct cmd *cmd, const struct bitmap_args *args);

int bitmap_list(const struct bitmap_args *args, const char *none);
int bitmap_copy(const struct bitmap_args *args, const char *image);
int bitmap_export(const struct bitmap_args *args, const char *file);
int bitmap_prune(const struct bitmap_args *args, const char *pattern);
int bitmap_collect(const struct bitmap_args *args, const char *name);
int bitmap_commit(const struct bitmap_args *args, const char *base);
int bitmap_revive(const struct bitmap_args *args, const char *none);

/* ---- the file of --export and --import (cmd_bitmap_args.c) ---- */

#define BITMAP_FORMATS "qcbm|raw|" EXTENTS_WRITTEN "|thin-delta"

bool bitmap_is_format(const struct bitmap_args *args, const char *format);
/* One of those in which others write extents; N_EXTENTS_FORMS for the others. */
enum extents_form bitmap_form(const struct bitmap_args *args);
/* The library's name for that format and the order of bits. */
enum qcbm_transfer_format bitmap_transfer(const struct bitmap_args *args);
/* "lsb" or "msb" of raw bits, NULL of other formats; and in words. */
const char *bitmap_bit_order(const struct bitmap_args *args);
const char *bitmap_bit_order_text(const char *bit_order);

#endif
