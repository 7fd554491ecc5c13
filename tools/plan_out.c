/* plan_out.c - a plan made or carried out, and its print in text and JSON
 * SPDX-License-Identifier: MIT
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cmd.h"
#include "plan_out.h"
#include "progress.h"
#include "qemu_text.h"

int plan_collect(void *opaque, const struct qcbm_plan_step *step)
{
    struct plan *plan = opaque;

    if (plan->n_steps == plan->room) {
        size_t room = plan->room ? plan->room * 2 : 64;
        struct qcbm_plan_step *steps = realloc(plan->steps, room * sizeof *steps);

        if (!steps)
            return 1;
        plan->steps = steps;
        plan->room = room;
    }
    plan->steps[plan->n_steps++] = *step;
    return 0;
}

/* What the commit would refuse. */
static int check_undo(const char *undo, struct qcbm_error *err)
{
    struct stat st;

    if (!undo || lstat(undo, &st) < 0)
        return 0;
    *err = (struct qcbm_error){ .code = QCBM_E_EXISTS, .offset = QCBM_NO_OFFSET };
    snprintf(err->message, sizeof err->message, "undo file '%.200s': the file exists already and is not overwritten",
             undo);
    return QCBM_E_EXISTS;
}

static int commit(struct plan *plan, struct qcbm_edit *edit, const struct common_args *how, struct qcbm_error *err)
{
    struct progress shown = { .wanted = how->progress && !how->quiet };
    const struct qcbm_progress progress = progress_of(&shown);
    int ret = how->undo ? qcbm_edit_set_undo(edit, how->undo, err) : 0;

    if (ret < 0)
        return ret;
    qcbm_edit_set_progress(edit, &progress);
    ret = qcbm_edit_commit(edit, &plan->summary, sizeof(plan->summary), err);
    qcbm_edit_set_progress(edit, NULL);
    progress_end(&shown, ret == 0);
    if (ret == 0 && plan->summary.writes > 0)
        cmd_note_done("the image has been changed all the same");
    return ret;
}

static int look_ahead(struct plan *plan, struct qcbm_edit *edit, const char *undo, struct qcbm_error *err)
{
    int ret = check_undo(undo, err);

    if (ret == 0)
        ret = qcbm_edit_plan(edit, &plan->summary, sizeof(plan->summary), plan_collect, plan, err);
    if (ret == QCBM_E_ABORTED)
        snprintf(err->message, sizeof err->message, "no memory for the list of steps");
    return ret;
}

static int carry_out(struct plan *plan, struct qcbm_edit *edit, const struct common_args *how, struct qcbm_error *err)
{
    plan->made = true;
    return how->dry_run ? look_ahead(plan, edit, how->undo, err) : commit(plan, edit, how, err);
}

int plan_run_beside_bitmaps(struct plan *plan, struct qcbm_edit *edit, const struct common_args *how,
                            struct qcbm_error *err)
{
    memset(plan, 0, sizeof *plan);
    return carry_out(plan, edit, how, err);
}

int plan_run(struct plan *plan, const struct qcbm_image *img, struct qcbm_edit *edit, const struct common_args *how,
             struct qcbm_error *err)
{
    int ret;

    memset(plan, 0, sizeof *plan);
    if (!stale_names_take(&plan->stale, img)) {
        *err = (struct qcbm_error){ .code = QCBM_E_NOMEM, .offset = QCBM_NO_OFFSET };
        snprintf(err->message, sizeof err->message, "no memory for the names of stale bitmaps");
        return QCBM_E_NOMEM;
    }
    ret = carry_out(plan, edit, how, err);
    if (ret == 0)
        stale_names_tell(&plan->stale, &plan->summary, how->dry_run);
    return ret;
}

void plan_clear(struct plan *plan)
{
    stale_names_clear(&plan->stale);
    free(plan->steps);
    plan->steps = NULL;
    plan->n_steps = plan->room = 0;
}

void plan_print_steps(const struct plan *plan, FILE *out)
{
    for (size_t i = 0; i < plan->n_steps; i++) {
        const struct qcbm_plan_step *step = &plan->steps[i];

        fprintf(out, "  stage %" PRIu32 ", %s: %s, %s at 0x%" PRIx64 "\n", step->stage, step->stage_name, step->what,
                count_text(step->length, "byte").text, step->offset);
    }
}

void plan_print(const struct plan *plan, FILE *out)
{
    const struct qcbm_plan_summary *s = &plan->summary;

    plan_print_steps(plan, out);
    fprintf(out, "plan: %s in %s, %s; ", size_text(s->bytes_written).text, count_text(s->writes, "write").text,
            count_text(s->flushes, "flush").text);
    fprintf(out, "%s taken, %" PRIu64 " freed; ", count_text(s->clusters_allocated, "cluster").text, s->clusters_freed);
    fprintf(out, "the file grows by %s\n", size_text(s->file_growth).text);
}

static void write_step(const struct qcbm_plan_step *step, struct json_writer *w)
{
    json_begin_object(w, NULL);
    json_u64(w, "stage", step->stage);
    json_string(w, "stage-name", step->stage_name);
    json_string(w, "what", step->what);
    json_u64(w, "offset", step->offset);
    json_u64(w, "length", step->length);
    json_end_object(w);
}

static void write_summary(const struct qcbm_plan_summary *s, struct json_writer *w)
{
    json_begin_object(w, "plan");
    json_u64(w, "bytes-written", s->bytes_written);
    json_u64(w, "clusters-allocated", s->clusters_allocated);
    json_u64(w, "clusters-freed", s->clusters_freed);
    json_u64(w, "file-growth", s->file_growth);
    json_u64(w, "writes", s->writes);
    json_u64(w, "flushes", s->flushes);
    json_end_object(w);
}

void plan_write_steps(const struct plan *plan, struct json_writer *w)
{
    json_begin_array(w, "steps");
    for (size_t i = 0; i < plan->n_steps; i++)
        write_step(&plan->steps[i], w);
    json_end_array(w);
}

void plan_write_json(const struct plan *plan, bool dry_run, struct json_writer *w)
{
    if (plan->made)
        write_summary(&plan->summary, w);
    else
        json_null(w, "plan");
    stale_names_json(&plan->stale, &plan->summary, w);
    if (dry_run)
        plan_write_steps(plan, w);
}
