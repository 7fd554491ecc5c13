/* cmd_bitmap.h - what the files of qcbm bitmap share
 * SPDX-License-Identifier: MIT
 */
#ifndef QCBM_TOOL_CMD_BITMAP_H
#define QCBM_TOOL_CMD_BITMAP_H

#include "input.h"
#include "json_write.h"
#include "opt_parse.h"
#include "progress.h"

struct bitmap_args {
    const char *path, *name, *surplus;
    struct opt_actions actions; /* --add, --remove ... in their order */
    uint64_t granularity, keep;
    const char *format, *source, *source_format, *undo;
    const char *copy_to, *as, *export_to, *prune; /* each a job of its own */
    const char *file_format, *bit_order;          /* of --export and --import */
    enum opt_output output;
    const char *object; /* without effect */
    bool image_opts, list, chain, progress, dry_run, quiet, force, force_share, no_lock, no_sandbox;
};

/* Is the file of --export and --import of this format? */
bool bitmap_is_format(const struct bitmap_args *args, const char *format);

/* The library's name for that format and the order of bits. */
enum qcbm_transfer_format bitmap_transfer(const struct bitmap_args *args);
/* "lsb" or "msb" of raw bits, NULL of other formats; and in words. */
const char *bitmap_bit_order(const struct bitmap_args *args);
const char *bitmap_bit_order_text(const char *bit_order);

/* Flags for an image that is only read; for one that is to be changed. */
unsigned bitmap_reading(const struct bitmap_args *args);
unsigned bitmap_writing(const struct bitmap_args *args);

/* qcbm bitmap --list, --copy-to, --export, --prune: each returns the exit code. */
/* @w NULL: as text. */
int bitmap_list(struct qcbm_image *img, const char *path, struct progress *progress, struct json_writer *w);
int bitmap_list_chain(struct qcbm_image *img, const char *path, struct progress *progress, struct json_writer *w);
int bitmap_copy(const struct bitmap_args *args, const char *path, const char *name);
int bitmap_export(const struct bitmap_args *args, const char *path, const char *name);
int bitmap_prune(const struct bitmap_args *args, const char *path);

/* ---- operations on one bitmap (cmd_bitmap_actions.c) ---- */

struct bitmap_result {
    const struct opt_action *action;
    char *name; /* of the bitmap before the operation */
    bool has_figures;
    struct qcbm_edit_bitmap_info figures;
    bool has_fingerprint; /* --import of our own format */
    enum qcbm_fingerprint fingerprint;
    const char *bit_order; /* --import of raw bits, else NULL */
};

struct bitmap_job {
    const struct bitmap_args *args;
    const char *path, *name; /* the name changes with --rename */
    struct qcbm_image *img;
    struct qcbm_image *source; /* NULL: the same image */
    struct qcbm_edit *edit;
    struct input *inputs;          /* one for each operation; those of --import are open */
    struct bitmap_result *results; /* of the operations that qemu-img does not have; room for all */
    size_t n_results;
};

/* Are the values of all operations well-formed? Prints the error. */
bool bitmap_actions_valid(const struct opt_actions *actions);
int bitmap_do_action(struct bitmap_job *job, const struct opt_action *action, struct qcbm_error *err);
void bitmap_results_print(const struct bitmap_job *job);
void bitmap_results_json(const struct bitmap_job *job, struct json_writer *w);
void bitmap_results_free(struct bitmap_job *job);

/* --import in the edit (cmd_bitmap_import.c). */
int bitmap_import(struct bitmap_job *job, const struct opt_action *action, struct bitmap_result *result,
                  struct qcbm_error *err);

/* Replace the error by one of the command's own. Returns @code. */
int bitmap_fail(struct qcbm_error *err, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

#endif
