/* cmd_bitmap_edit.c - the operations of qcbm bitmap in one edit: all of them, in their order, or none
 * SPDX-License-Identifier: MIT
 */
#include <stdlib.h>
#include <string.h>

#include "cmd_bitmap_edit.h"
#include "plan_out.h"
#include "qemu_text.h"
#include "remote.h"

/* Of the image itself nothing has to be opened for SRC, and its own locks would refuse that. */
static bool is_itself(const struct bitmap_args *args)
{
    if (!args->source)
        return true;
    return (!args->source_format || strcmp(args->source_format, "qcow2") == 0) &&
           qcbm_same_file(args->source, args->common.path);
}

static int open_images(struct bitmap_job *job)
{
    const struct bitmap_args *args = job->args;

    job->img = common_open(&args->common, common_writing(&args->common));
    if (!job->img)
        return EXIT_FAILED;
    if (is_itself(args))
        return EXIT_DONE;
    job->source = cmd_open(args->source, args->source_format, common_reading(&args->common));
    return job->source ? EXIT_DONE : EXIT_FAILED;
}

static int add_result(struct bitmap_job *job, const struct bitmap_result *result, const char *name,
                      struct qcbm_error *err)
{
    struct bitmap_result *to = &job->results[job->n_results];

    *to = *result;
    to->name = strdup(name);
    if (!to->name) {
        *err = (struct qcbm_error){ .code = QCBM_E_NOMEM, .offset = QCBM_NO_OFFSET, .message = "no memory" };
        return QCBM_E_NOMEM;
    }
    job->n_results++;
    return 0;
}

static int do_action(struct bitmap_job *job, const struct opt_action *action, struct qcbm_error *err)
{
    const struct bitmap_verb *verb = bitmap_verb_of(action);
    struct bitmap_result result = { .action = action };
    const char *name = job->name;
    int ret = verb->edit(job, &result, err);

    if (ret < 0 || verb->told == BITMAP_TOLD_NOTHING)
        return ret;
    result.has_figures = verb->told != BITMAP_TOLD_RENAMED;
    if (result.has_figures)
        ret = qcbm_edit_look(job->edit, job->name, &result.figures, sizeof result.figures, err);
    return ret < 0 ? ret : add_result(job, &result, name, err);
}

static int fail_action(const struct bitmap_job *job, const struct opt_action *action, const struct qcbm_error *err)
{
    const struct common_args *common = &job->args->common;

    if (err->offset == QCBM_NO_OFFSET) /* qemu-img's words */
        cmd_lib_error(err, "Operation %s on bitmap %s failed", action->opt->name, job->name);
    else
        cmd_lib_error(err, "Operation %s on bitmap %s of '%s' failed", action->opt->name, job->name, common->path);
    if (err->code == QCBM_E_UNSAFE && !common->force && !job->args->check && strcmp(action->opt->name, "import") == 0)
        cmd_hint("--force takes it all the same");
    if (err->code == QCBM_E_ARG && strcmp(action->opt->name, "import") == 0 && bitmap_is_format(job->args, "raw") &&
        !job->args->granularity)
        cmd_hint("-g says how many bytes of the disk a bit stands for");
    return EXIT_FAILED;
}

/* Whoever only takes bitmaps out wants the image to be of use again. */
static bool only_removes(const struct opt_actions *actions)
{
    for (size_t i = 0; i < actions->count; i++)
        if (strcmp(actions->list[i].opt->name, "remove") != 0)
            return false;
    return true;
}

/* Would the change be refused for bitmaps that stay? */
static bool must_mend(const struct bitmap_job *job)
{
    struct qcbm_edit *edit = NULL;
    struct qcbm_error err;
    int ret;

    if (!only_removes(&job->args->actions) || !mend_is_damaged(job->img))
        return false;
    ret = qcbm_edit_begin(job->img, &edit, &err);
    if (ret == 0)
        ret = qcbm_edit_remove(edit, job->name, &err);
    if (ret == 0)
        ret = qcbm_edit_plan(edit, NULL, 0, NULL, NULL, &err);
    qcbm_edit_free(edit);
    return mend_may_help(ret);
}

static bool is_named(const void *name, const char *other)
{
    return strcmp(name, other) == 0;
}

static int begin(struct bitmap_job *job, struct qcbm_error *err)
{
    int ret;

    job->mend = (struct mend){ .named = is_named, .opaque = job->args->name };
    ret =
        must_mend(job) ? mend_begin(&job->mend, job->img, &job->edit, err) : qcbm_edit_begin(job->img, &job->edit, err);
    return ret < 0 ? cmd_lib_error(err, "Could not change '%s'", job->args->common.path) : EXIT_DONE;
}

/* In place of stale ones a new bitmap looks as if it went on with them. */
static void tell_empty(const struct bitmap_job *job, const struct plan *plan)
{
    const struct opt_actions *actions = &job->args->actions;
    bool added = false;
    char *name;

    for (size_t i = 0; i < actions->count; i++)
        added |= strcmp(actions->list[i].opt->name, "add") == 0;
    if (!added || !plan->stale.any || plan->summary.writes == 0)
        return;
    name = shell_name(job->args->common.path);
    cmd_warning("the new bitmap is empty, and knows of no write so far: the next backup must be a full one; "
                "'qcbm check -r bitmaps %s' instead keeps the stale ones, all dirty",
                name ? name : "FILE");
    free(name);
}

static int do_actions(struct bitmap_job *job, struct plan *plan)
{
    const struct opt_actions *actions = &job->args->actions;
    const struct common_args *common = &job->args->common;
    struct qcbm_error err;

    job->results = calloc(actions->count, sizeof *job->results);
    if (!job->results)
        return cmd_error("no memory");
    if (begin(job, &err) != EXIT_DONE)
        return EXIT_FAILED;
    for (size_t i = 0; i < actions->count; i++) {
        if (do_action(job, &actions->list[i], &err) < 0)
            return fail_action(job, &actions->list[i], &err);
    }
    if (plan_run(plan, job->img, job->edit, common, &err) < 0)
        return cmd_lib_error(&err, "Could not change '%s'", common->path);
    mend_tell(&job->mend);
    tell_empty(job, plan);
    return EXIT_DONE;
}

static void print_json(const struct bitmap_job *job, const struct plan *plan)
{
    const struct opt_actions *actions = &job->args->actions;
    struct json_writer w = JSON_WRITER_INIT(stdout);

    json_begin_object(&w, NULL);
    json_string(&w, "image", job->args->common.path);
    json_string(&w, "bitmap", job->args->name);
    json_begin_array(&w, "operations");
    for (size_t i = 0; i < actions->count; i++)
        json_string(&w, NULL, actions->list[i].opt->name);
    json_end_array(&w);
    bitmap_results_json(job, &w);
    json_bool(&w, "dry-run", job->args->common.dry_run);
    plan_write_json(plan, job->args->common.dry_run, &w);
    json_end_object(&w);
    json_finish(&w);
}

static void print_text(const struct bitmap_job *job, const struct plan *plan)
{
    bitmap_results_print(job);
    if (job->args->common.dry_run)
        plan_print(plan, stdout);
}

/* What --import reads, before an image is locked. */
static int open_inputs(struct bitmap_job *job)
{
    const struct opt_actions *actions = &job->args->actions;
    int code = EXIT_DONE;

    job->inputs = calloc(actions->count, sizeof *job->inputs);
    if (!job->inputs)
        return cmd_error("no memory");
    for (size_t i = 0; code == EXIT_DONE && i < actions->count; i++) {
        if (bitmap_verb_of(&actions->list[i])->needs & BITMAP_INPUT)
            code = job->args->context
                       ? remote_connect_to_disk(actions->list[i].value, job->args->context, job->args->common.no_lock)
                       : input_open(&job->inputs[i], actions->list[i].value);
    }
    return code;
}

static void close_inputs(struct bitmap_job *job)
{
    for (size_t i = 0; job->inputs && i < job->args->actions.count; i++)
        input_close(&job->inputs[i]);
    free(job->inputs);
}

int bitmap_edit(const struct bitmap_args *args)
{
    struct bitmap_job job = { .args = args, .name = args->name };
    struct plan plan = { 0 };
    int code = open_inputs(&job);

    if (args->check)
        (void)qcbm_digest_load(QCBM_DIGEST_SHA256, NULL); /* cannot be loaded later */
    if (args->common.dry_run)                             /* it only reads then; what --import names is open by now */
        common_shut_in(&args->common, args->check != NULL, args->source);
    if (code == EXIT_DONE)
        code = open_images(&job);
    if (code == EXIT_DONE)
        code = do_actions(&job, &plan);
    if (code == EXIT_DONE && args->common.output == OUTPUT_JSON)
        print_json(&job, &plan);
    else if (code == EXIT_DONE && !args->common.quiet)
        print_text(&job, &plan);
    plan_clear(&plan);
    bitmap_results_free(&job);
    close_inputs(&job);
    qcbm_edit_free(job.edit);
    mend_clear(&job.mend);
    qcbm_close(job.source);
    qcbm_close(job.img);
    return code;
}
