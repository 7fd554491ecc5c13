/* plan_out.h - a plan made or carried out, and its print in text and JSON
 * SPDX-License-Identifier: MIT
 */
#ifndef QCBM_TOOL_PLAN_OUT_H
#define QCBM_TOOL_PLAN_OUT_H

#include "json_write.h"
#include "qcbm.h"

struct plan {
    bool made; /* false: there is none, because the image is damaged */
    struct qcbm_plan_summary summary;
    struct qcbm_plan_step *steps; /* only of a dry run; their strings are constants of the library */
    size_t n_steps, room;
};

/* With @dry_run work out what a commit would write, else commit, with @undo (may be NULL) as the undo file. Returns what
 * the library returns. */
int plan_run(struct plan *plan, struct qcbm_edit *edit, bool dry_run, const char *undo, struct qcbm_error *err);
void plan_clear(struct plan *plan);

/* Collects the steps of a dry run: a qcbm_plan_fn whose opaque is the struct plan. */
int plan_collect(void *opaque, const struct qcbm_plan_step *step);

void plan_print_steps(const struct plan *plan, FILE *out);

void plan_print(const struct plan *plan, FILE *out);
void plan_write_steps(const struct plan *plan, struct json_writer *w); /* the member "steps" */
/* The member "plan" (null if there is none), and "steps" if @dry_run. */
void plan_write_json(const struct plan *plan, bool dry_run, struct json_writer *w);

#endif
