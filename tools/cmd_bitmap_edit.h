/* cmd_bitmap_edit.h - operations of qcbm bitmap on one bitmap, in one edit
 * SPDX-License-Identifier: MIT
 */
#ifndef QCBM_TOOL_CMD_BITMAP_EDIT_H
#define QCBM_TOOL_CMD_BITMAP_EDIT_H

#include "cmd_bitmap.h"
#include "input.h"
#include "json_write.h"
#include "mend.h"

struct bitmap_result {
    const struct opt_action *action;
    char *name; /* of the bitmap before the operation */
    bool has_figures;
    struct qcbm_edit_bitmap_info figures;
    bool has_fingerprint; /* --import of our own format */
    enum qcbm_fingerprint fingerprint;
    const char *bit_order; /* --import of raw bits, else NULL */
    bool has_check;        /* --import --check */
    struct qcbm_copy_checked checked;
};

struct bitmap_job {
    const struct bitmap_args *args;
    const char *name; /* changes with --rename */
    struct qcbm_image *img;
    struct qcbm_image *source; /* NULL: the same image */
    struct qcbm_edit *edit;
    struct mend mend;              /* what @edit mends as well */
    struct input *inputs;          /* one for each operation; those of --import are open */
    struct bitmap_result *results; /* of the operations that qemu-img does not have; room for all */
    size_t n_results;
};

/* All operations named, in their order, or none of them. Returns the exit code. */
int bitmap_edit(const struct bitmap_args *args);

/* ---- the operations (cmd_bitmap_actions.c, cmd_bitmap_import.c) ---- */

typedef int bitmap_edit_fn(struct bitmap_job *job, struct bitmap_result *result, struct qcbm_error *err);

bitmap_edit_fn bitmap_add, bitmap_remove, bitmap_clear, bitmap_enable, bitmap_disable, bitmap_rename, bitmap_rotate;
bitmap_edit_fn bitmap_merge, bitmap_intersect, bitmap_subtract, bitmap_regranularise, bitmap_set, bitmap_unset;
bitmap_edit_fn bitmap_import;

bool bitmap_size_valid(const struct opt_action *action);
bool bitmap_range_valid(const struct opt_action *action);

/* ---- what is told of them (cmd_bitmap_results.c) ---- */

void bitmap_results_print(const struct bitmap_job *job);
void bitmap_results_json(const struct bitmap_job *job, struct json_writer *w);
void bitmap_results_free(struct bitmap_job *job);

#endif
