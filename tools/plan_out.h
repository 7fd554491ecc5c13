/* plan_out.h - a plan made or carried out, and its print in text and JSON
 * SPDX-License-Identifier: MIT
 */
#ifndef QCBM_TOOL_PLAN_OUT_H
#define QCBM_TOOL_PLAN_OUT_H

#include "common_args.h"
#include "json_write.h"
#include "qcbm.h"
#include "stale.h"

struct plan {
    bool made; /* false: there is none, because the image is damaged */
    struct qcbm_plan_summary summary;
    struct qcbm_plan_step *steps; /* only of a dry run; their strings are constants of the library */
    size_t n_steps, room;
    struct stale_names stale; /* that were given up, or would be */
};

/* In a dry run work out what a commit of @edit, of @img, would write, else commit, with undo file and progress as @how
 * says.
 * Returns what the library returns. Stale bitmaps that go away are told on stderr. */
int plan_run(struct plan *plan, const struct qcbm_image *img, struct qcbm_edit *edit, const struct common_args *how,
             struct qcbm_error *err);
/* The same of an edit in which no bitmap is changed: stale ones stay. */
int plan_run_beside_bitmaps(struct plan *plan, struct qcbm_edit *edit, const struct common_args *how,
                            struct qcbm_error *err);
void plan_clear(struct plan *plan);

/* Collects the steps of a dry run: a qcbm_plan_fn whose opaque is the struct plan. */
int plan_collect(void *opaque, const struct qcbm_plan_step *step);

void plan_print_steps(const struct plan *plan, FILE *out);

void plan_print(const struct plan *plan, FILE *out);
void plan_write_steps(const struct plan *plan, struct json_writer *w); /* the member "steps" */
/* The member "plan" (null if there is none), and "steps" if @dry_run. */
void plan_write_json(const struct plan *plan, bool dry_run, struct json_writer *w);

#endif
