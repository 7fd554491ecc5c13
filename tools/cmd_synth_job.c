/* cmd_synth_job.c - the work of qcbm synth: images opened, a bitmap staged, the edit carried out
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "cmd_synth.h"

int synth_open(struct synth_job *job)
{
    const struct synth_args *args = job->args;
    unsigned changing = common_writing(&args->common);
    bool other = args->into && !qcbm_same_file(args->into, args->common.path);

    job->target_path = other ? args->into : args->common.path;
    job->overlay = common_open(&args->common, other ? common_reading(&args->common) : changing);
    if (!job->overlay)
        return EXIT_FAILED;
    if (other)
        job->into = common_with_threads(&args->common, cmd_open(args->into, NULL, changing));
    return other && !job->into ? EXIT_FAILED : EXIT_DONE;
}

/* What a dry run up to a snapshot plans for the image itself is the bitmap that it could have. */
static bool is_disabled(const struct synth_job *job)
{
    const struct synth_args *args = job->args;

    return args->disabled || (args->snapshot && args->common.dry_run && !args->merge && !job->into);
}

static unsigned synth_flags(const struct synth_job *job)
{
    const struct synth_args *args = job->args;

    return (is_disabled(job) ? QCBM_SYNTH_DISABLED : 0) | (args->replace ? QCBM_SYNTH_REPLACE : 0) |
           (args->merge ? QCBM_SYNTH_MERGE : 0) | (args->common.force ? QCBM_SYNTH_FORCE : 0) |
           (args->common.dry_run ? QCBM_SYNTH_ALLOW_DAMAGE : 0) |
           (args->common.force_share ? QCBM_SYNTH_FORCE_SHARE : 0) | (args->dirty_tail ? QCBM_SYNTH_DIRTY_TAIL : 0);
}

/* --merge leaves a bitmap that is there already as it is, enabled or disabled. */
static void look_at_old(struct synth_job *job)
{
    struct qcbm_image *target = job->into ? job->into : job->overlay;
    struct qcbm_image_info image;
    struct qcbm_bitmap_info bitmap;

    job->enabled = !is_disabled(job);
    qcbm_image_get_info(target, &image, sizeof image);
    for (uint32_t i = 0; job->args->merge && !job->merged && i < image.bitmap_count; i++) {
        qcbm_bitmap_get(target, i, &bitmap, sizeof bitmap);
        job->merged = strcmp(bitmap.name, job->args->name) == 0;
        if (job->merged)
            job->enabled = bitmap.enabled;
    }
}

/* What of the command's options would have helped? --force only where it is all that is in the way. */
static void hint_at_way(struct synth_job *job, const char *name, const struct qcbm_synth_options *options, int ret,
                        struct qcbm_synth_result **result)
{
    struct qcbm_synth_options forced = *options;
    struct qcbm_error ignored;

    if (ret == QCBM_E_EXISTS)
        cmd_hint("--replace makes it anew, --merge adds to it");
    if (job->args->common.force || (ret != QCBM_E_UNSAFE && ret != QCBM_E_UNSUPPORTED))
        return;
    forced.flags |= QCBM_SYNTH_FORCE;
    if (qcbm_edit_synth(job->edit, job->overlay, name, &forced, result, &ignored) == 0)
        cmd_hint("--force goes on all the same; qcbm-synth(1) says what the bitmap is worth then");
}

int synth_stage(struct synth_job *job, const char *name, uint64_t granularity, struct qcbm_synth_result **result,
                struct qcbm_synth_summary *summary)
{
    struct qcbm_synth_options options = QCBM_SYNTH_OPTIONS_INIT;
    const struct qcbm_progress progress = progress_of(&job->progress);
    struct qcbm_error err;
    int ret;

    options.granularity = granularity;
    options.since = job->since;
    options.since_snapshot = job->args->since_snapshot;
    options.snapshot = job->args->snapshot;
    options.flags = synth_flags(job);
    options.progress = &progress;
    ret = qcbm_edit_synth(job->edit, job->overlay, name, &options, result, &err);
    progress_end(&job->progress, ret == 0);
    if (ret < 0) {
        if (ret == QCBM_E_NOTFOUND && job->args->since_snapshot)
            err.code = QCBM_E_ARG; /* which snapshots there are is told; which bitmaps is of no help */
        cmd_lib_error(&err, "Could not synthesise bitmap '%s' from '%s'", name, job->args->common.path);
        hint_at_way(job, name, &options, ret, result);
        return EXIT_FAILED;
    }
    qcbm_synth_result_summary(*result, summary, sizeof *summary);
    return EXIT_DONE;
}

int synth_carry_out(struct synth_job *job)
{
    struct common_args how = job->args->common;
    struct qcbm_error err;

    how.progress = false; /* the scan went up to 100 %, and writing takes no time beside it */
    if (job->summary.damaged_entries > 0)
        return EXIT_DONE; /* a dry run: report() tells it */
    int ret = plan_run(&job->plan, job->into ? job->into : job->overlay, job->edit, &how, &err);

    if (ret == 0)
        return EXIT_DONE;
    if (!how.dry_run || ret == QCBM_E_EXISTS)
        return cmd_lib_error(&err, "Could not change '%s'", job->target_path);
    job->plan.made = false;
    job->refused = err; /* the figures are known all the same */
    return EXIT_DONE;
}

int synth_one(struct synth_job *job)
{
    struct qcbm_error err;

    job->since = job->args->since;
    look_at_old(job);
    if (qcbm_edit_begin(job->into ? job->into : job->overlay, &job->edit, &err) < 0)
        return cmd_lib_error(&err, "Could not change '%s'", job->target_path);
    int code = synth_stage(job, job->args->name, job->args->granularity, &job->result, &job->summary);
    return code == EXIT_DONE ? synth_carry_out(job) : code;
}
