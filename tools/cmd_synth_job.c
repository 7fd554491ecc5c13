/* cmd_synth_job.c - the work of qcbm synth: images opened, a bitmap staged, the edit carried out
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "cmd_synth.h"
#include "remote.h"
#include "uri.h"

static const char could_not[] = "Could not synthesise bitmap '%s' from '%s'";

static void hint_at_another(const struct synth_args *args, unsigned flags)
{
    if ((flags & QCBM_OPEN_WRITE) && uri_is_server(args->common.path))
        cmd_hint("--into=IMAGE gives the bitmap to an image here, and --dry-run tells of it");
}

int synth_open(struct synth_job *job)
{
    const struct synth_args *args = job->args;
    unsigned changing = common_writing(&args->common);
    bool other = args->into && !qcbm_same_file(args->into, args->common.path);

    job->target_path = other ? args->into : args->common.path;
    job->overlay = common_open(&args->common, other ? common_reading(&args->common) : changing);
    if (!job->overlay) {
        hint_at_another(args, other ? 0 : changing);
        return EXIT_FAILED;
    }
    if (other)
        job->into = common_with_threads(&args->common, cmd_open(args->into, NULL, changing));
    return other && !job->into ? EXIT_FAILED : EXIT_DONE;
}

int synth_refine_mode(const struct synth_args *args)
{
    if (!args->refine)
        return args->refine_against ? QCBM_REFINE_CONTENT : QCBM_REFINE_NONE;
    if (strcmp(args->refine, "zero") == 0)
        return QCBM_REFINE_ZERO;
    return args->refine[0] == '\0' || strcmp(args->refine, "content") == 0 ? QCBM_REFINE_CONTENT : -1;
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

static void hint_at_force(void)
{
    cmd_hint("--force goes on all the same; qcbm-synth(1) says what the bitmap is worth then");
}

/* An option that is missing, where the library has said why one is needed. */
static void hint_at_option(const struct synth_job *job, const struct qcbm_synth_options *options)
{
    if (options->refine && !options->refine_against && (options->since_snapshot || job->merged))
        cmd_hint("--refine-against=snapshot:S, or =IMAGE, names it");
    else if (options->snapshot && !job->into && job->enabled)
        cmd_hint("--disabled makes it a frozen bitmap, --into=IMAGE gives it to another image");
}

/* What of the command's options would have helped? --force only where it is all that is in the way. */
static void hint_at_way(struct synth_job *job, const char *name, const struct qcbm_synth_options *options, int ret)
{
    struct qcbm_synth_options forced = *options;
    struct qcbm_synth_result *result;
    struct qcbm_error ignored;

    if (ret == QCBM_E_ARG)
        hint_at_option(job, options);
    if (ret == QCBM_E_EXISTS)
        cmd_hint("--replace makes it anew, --merge adds to it");
    if (job->args->common.force || (ret != QCBM_E_UNSAFE && ret != QCBM_E_UNSUPPORTED))
        return;
    if (job->args->against) { /* trying it would read all of the disk again */
        if (ret == QCBM_E_UNSAFE)
            hint_at_force();
        return;
    }
    forced.flags |= QCBM_SYNTH_FORCE;
    if (qcbm_edit_synth(job->edit, job->overlay, name, &forced, &result, &ignored) == 0) {
        hint_at_force();
        qcbm_synth_result_free(result);
    }
}

int synth_tell_unsafe(const struct synth_job *job)
{
    cmd_lib_error(&job->unsafe, could_not, job->unsafe_name, job->args->common.path);
    hint_at_force();
    return EXIT_FAILED;
}

/* A dry run begins as the run does, so that it is refused the same; of damage and lost tables it has figures all the
 * same. */
static int synthesise(struct synth_job *job, const char *name, struct qcbm_synth_options *options,
                      struct qcbm_synth_result **result, struct qcbm_error *err)
{
    struct qcbm_synth_summary summary;
    struct qcbm_error why;
    int ret = qcbm_edit_synth(job->edit, job->overlay, name, options, result, err);

    if (!job->args->common.dry_run || (ret != QCBM_E_CORRUPT && ret != QCBM_E_UNSAFE))
        return ret;
    why = *err;
    options->flags |= QCBM_SYNTH_ALLOW_DAMAGE;
    ret = qcbm_edit_synth(job->edit, job->overlay, name, options, result, err);
    if (ret < 0)
        return ret;
    qcbm_synth_result_summary(*result, &summary, sizeof summary);
    if (summary.damaged_entries == 0 && !job->unsafe.code) { /* of damaged entries report() tells the number */
        job->unsafe = why;
        job->unsafe_name = name;
    }
    return 0;
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
    options.refine = (unsigned)synth_refine_mode(job->args);
    options.refine_against = job->args->refine_against;
    options.refine_format = job->args->refine_format;
    if (uri_is_server(options.refine_against)) {
        options.refine_ops = remote_ops();
        options.refine_self = remote_self(options.refine_against);
    }
    options.against = job->args->against;
    options.within = job->args->within;
    options.flags = synth_flags(job);
    options.progress = &progress;
    ret = synthesise(job, name, &options, result, &err);
    progress_end(&job->progress, ret == 0);
    if (ret < 0) {
        if (ret == QCBM_E_NOTFOUND && job->args->since_snapshot)
            err.code = QCBM_E_ARG; /* which snapshots there are is told; which bitmaps is of no help */
        cmd_lib_error(&err, could_not, name, job->args->common.path);
        hint_at_way(job, name, &options, ret);
        return EXIT_FAILED;
    }
    qcbm_synth_result_summary(*result, summary, sizeof *summary);
    return EXIT_DONE;
}

/* ---- damaged bitmaps, of which a new one in place of an old one has the others mended ---- */

static struct qcbm_image *target_of(const struct synth_job *job)
{
    return job->into ? job->into : job->overlay;
}

static bool is_named(const void *name, const char *other)
{
    return strcmp(name, other) == 0;
}

static int begin_mending(struct synth_job *job, struct qcbm_error *err)
{
    job->mend = (struct mend){ .named = is_named, .opaque = job->args->name };
    return mend_begin(&job->mend, target_of(job), &job->edit, err);
}

/* A plan was refused, with nothing written. An image that is marked as damaged is not written to by the way. */
static bool may_mend(const struct synth_job *job, int ret)
{
    struct qcbm_image_info info;

    qcbm_image_get_info(target_of(job), &info, sizeof info);
    return job->args->replace && !job->args->like && !job->args->from && !job->mend.out && mend_may_help(ret) &&
           !(info.incompatible_features & (QCBM_INCOMPAT_DIRTY | QCBM_INCOMPAT_CORRUPT));
}

/* The same once more, in an edit that mends. False: that does not help, and what was refused stays; *@why says so if it
 * is for what others would lose. */
static bool stage_mending(struct synth_job *job, struct qcbm_error *why)
{
    struct qcbm_edit *refused = job->edit;
    struct qcbm_synth_result *result = job->result;
    struct qcbm_error err;

    job->edit = NULL;
    job->result = NULL;
    if (begin_mending(job, &err) < 0 ||
        synth_stage(job, job->args->name, job->args->granularity, &job->result, &job->summary) != EXIT_DONE) {
        if (job->mend.refused.code)
            *why = job->mend.refused;
        mend_clear(&job->mend);
        qcbm_edit_free(job->edit);
        qcbm_synth_result_free(job->result);
        job->edit = refused;
        job->result = result;
        return false;
    }
    qcbm_synth_result_free(result);
    qcbm_edit_free(refused);
    plan_clear(&job->plan);
    return true;
}

bool synth_has_tag(const struct synth_job *job)
{
    struct qcbm_image_info info;

    qcbm_image_get_info(target_of(job), &info, sizeof info);
    return info.tag != NULL;
}

int synth_stage_tag(struct synth_job *job, struct qcbm_edit *edit, struct qcbm_error *err)
{
    if (!job->args->tag || synth_has_tag(job))
        return 0;
    job->tagged = true;
    return qcbm_edit_set_tag(edit, NULL, err);
}

static int run_plan(struct synth_job *job, const struct common_args *how, struct qcbm_error *err)
{
    int ret = synth_stage_tag(job, job->edit, err);

    return ret < 0 ? ret : plan_run(&job->plan, target_of(job), job->edit, how, err);
}

int synth_carry_out(struct synth_job *job)
{
    struct common_args how = job->args->common;
    struct qcbm_error err;

    how.progress = false; /* the scan went up to 100 %, and writing takes no time beside it */
    if (job->summary.damaged_entries > 0 || job->unsafe.code)
        return EXIT_DONE; /* a dry run: report() tells it */
    int ret = run_plan(job, &how, &err);

    if (ret < 0 && may_mend(job, ret) && stage_mending(job, &err))
        ret = run_plan(job, &how, &err);
    if (ret == 0)
        return EXIT_DONE;
    if (!how.dry_run || ret == QCBM_E_EXISTS)
        return cmd_lib_error(&err, "Could not change '%s'", job->target_path);
    job->plan.made = false;
    job->refused = err; /* the figures are known all the same */
    return EXIT_DONE;
}

/* What was found when the image was opened would be refused when all of it has been read. */
static bool must_mend(const struct synth_job *job)
{
    struct qcbm_edit *edit = NULL;
    struct qcbm_error err;
    int ret;

    if (!may_mend(job, QCBM_E_UNSAFE) || !mend_is_damaged(target_of(job)))
        return false;
    ret = qcbm_edit_begin(target_of(job), &edit, &err);
    if (ret == 0)
        ret = qcbm_edit_remove(edit, job->args->name, &err);
    if (ret == 0 || ret == QCBM_E_NOTFOUND)
        ret = qcbm_edit_add(edit, job->args->name, 0, 0, &err);
    if (ret == 0)
        ret = qcbm_edit_plan(edit, NULL, 0, NULL, NULL, &err);
    qcbm_edit_free(edit);
    return mend_may_help(ret);
}

int synth_one(struct synth_job *job)
{
    struct qcbm_error err;
    int code;

    job->since = job->args->since;
    look_at_old(job);
    if ((must_mend(job) ? begin_mending(job, &err) : qcbm_edit_begin(target_of(job), &job->edit, &err)) < 0)
        return cmd_lib_error(&err, "Could not change '%s'", job->target_path);
    code = synth_stage(job, job->args->name, job->args->granularity, &job->result, &job->summary);
    if (code == EXIT_DONE)
        code = synth_carry_out(job);
    if (code == EXIT_DONE && job->refused.code == 0)
        mend_tell(&job->mend);
    return code;
}
