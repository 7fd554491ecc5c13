/* cmd_synth.h - what the files of qcbm synth share
 * SPDX-License-Identifier: MIT
 */
#ifndef QCBM_TOOL_CMD_SYNTH_H
#define QCBM_TOOL_CMD_SYNTH_H

#include "common_args.h"
#include "mend.h"
#include "opt_parse.h"
#include "plan_out.h"
#include "progress.h"

struct synth_args {
    struct common_args common;
    const char *name, *surplus;
    uint64_t granularity;
    const char *since, *since_snapshot, *snapshot, *like, *into;
    const char *refine; /* as it was typed; "": without a value */
    const char *refine_against, *refine_format;
    const char *against, *within;
    const char *from, *context; /* of an NBD server */
    bool disabled, replace, merge, if_missing, dirty_tail, tag;
};
COMMON_ARGS_FIRST(struct synth_args);

struct synth_job {
    const struct synth_args *args;
    const char *target_path, *since;
    struct qcbm_image *overlay, *into; /* into: NULL if the overlay gets the bitmap */
    struct qcbm_edit *edit;
    struct mend mend;                 /* of damaged bitmaps beside the one that is replaced */
    struct qcbm_synth_result *result; /* of the one bitmap; with --like of the first */
    struct qcbm_synth_summary summary;
    struct plan plan;
    struct progress progress;
    double seconds;
    bool enabled;              /* the state of the bitmap afterwards */
    bool merged;               /* into one that was there */
    bool kept;                 /* --if-missing, and it is there: nothing was done, there are no figures */
    bool tagged;               /* the image gets a tag with it */
    struct qcbm_error refused; /* why a dry run found no way to write it; code 0: it did */
    struct qcbm_error unsafe;  /* a dry run: the run is refused for this, though there are figures; code 0: it is not */
    const char *unsafe_name;   /* the bitmap that this is said of */
};

/* ---- the work (cmd_synth_job.c) ---- */

int synth_open(struct synth_job *job);
/* enum qcbm_refine, or -1: no such word. */
int synth_refine_mode(const struct synth_args *args);
/* Stage the bitmap @name in job->edit, with figures, which a dry run has of a damaged image, too. Prints the error. */
int synth_stage(struct synth_job *job, const char *name, uint64_t granularity, struct qcbm_synth_result **result,
                struct qcbm_synth_summary *summary);
/* The refusal that a dry run keeps to itself until its figures are out; returns EXIT_FAILED. */
int synth_tell_unsafe(const struct synth_job *job);
/* Carry the edit out, or plan it in a dry run. Of an image that could not be written to there is no plan. */
int synth_carry_out(struct synth_job *job);
/* What --tag asks for, in an edit of the image that gets the bitmap: nothing if that has one. */
int synth_stage_tag(struct synth_job *job, struct qcbm_edit *edit, struct qcbm_error *err);
bool synth_has_tag(const struct synth_job *job);
/* With --if-missing: is the bitmap there? If so job->kept, if it is one that can be relied on. Prints the error. */
int synth_look(struct synth_job *job);
/* The bitmap that was named, staged and carried out. */
int synth_one(struct synth_job *job);

/* The same of --from (cmd_synth_from.c), and what is claimed of it, from malloc(). */
int synth_from(struct synth_job *job);
char *synth_from_claim(const struct synth_job *job);

/* ---- the answer (cmd_synth_out.c) ---- */

/* What OVERLAY is said to differ from, from malloc(). */
char *synth_claim(const struct synth_job *job);
void synth_one_print(const struct synth_job *job, const char *claimed);
/* The same of a bitmap that was left as it is. */
void synth_kept_print(const struct synth_job *job);
void synth_kept_write(const struct synth_job *job, struct json_writer *w);
void synth_one_write(const struct synth_job *job, struct json_writer *w);
/* "NAME: 1 MiB dirty ...", without an end of line. */
void synth_print_figures(const char *name, const struct qcbm_synth_summary *s);
/* With --tag. */
void synth_print_tag(const struct synth_job *job);
void synth_write_tag(const struct synth_job *job, struct json_writer *w);
void synth_write_figures(const struct qcbm_synth_summary *s, struct json_writer *w);
/* Notes, and the plan of a dry run. */
void synth_print_rest(const struct synth_job *job);
/* Layers, plan; the array "notes" is left open for more. */
void synth_write_rest(const struct synth_job *job, struct json_writer *w);

#endif
