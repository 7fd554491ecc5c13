/* cmd_undo.c - qcbm undo: a recorded change taken back, byte for byte
 * SPDX-License-Identifier: MIT
 */
#include <inttypes.h>
#include <string.h>

#include "common_args.h"
#include "opt_parse.h"
#include "plan_out.h"
#include "progress.h"
#include "qemu_text.h"

struct undo_args {
    struct common_args common;
    const char *undo_path;
};
COMMON_ARGS_FIRST(struct undo_args);

static const struct opt undo_opts[] = {
    OPT_ROW(struct undo_args, NULL, 0, OPT_ARG, common.path, "FILE", "image"),
    OPT_ROW(struct undo_args, NULL, 0, OPT_ARG, undo_path, "UNDOFILE", "undo file"),
    OPT_ROW(struct undo_args, "dry-run", 0, OPT_FLAG, common.dry_run, NULL,
            "compare image and undo file, print what would be\nwritten, and write nothing"),
    OPT_ROW(struct undo_args, "force", 0, OPT_FLAG, common.force, NULL,
            "undo it though the image was written since: bitmaps that\nrecord writes lack these then"),
    OPT_COMMON_FORMAT,
    OPT_COMMON_QUIET,
    OPT_COMMON_PROGRESS,
    OPT_COMMON_OUTPUT,
    OPT_COMMON_NO_LOCK,
    OPT_COMMON_NO_SANDBOX,
    OPT_COMMON_IMAGE_OPTS,
    OPT_END,
};

struct job {
    const struct undo_args *args;
    const char *path, *undo_path;
    struct qcbm_undo_result result;
    struct plan plan; /* the steps of a dry run */
    bool damaged;     /* the image does not open, which an edit by hand may have done, or taken back */
};

static const char *const found_names[] = {
    [QCBM_UNDO_FOUND_AFTER] = "after",
    [QCBM_UNDO_FOUND_BETWEEN] = "between",
    [QCBM_UNDO_FOUND_BEFORE] = "before",
};

static const char *const writer_names[] = {
    [QCBM_UNDO_WRITER_NONE] = "none",
    [QCBM_UNDO_WRITER_UNKNOWN] = "unknown",
    [QCBM_UNDO_WRITER_SEEN] = "seen",
};

static void print_text(const struct job *job)
{
    const struct qcbm_undo_result *r = &job->result;

    plan_print_steps(&job->plan, stdout);
    if (r->found == QCBM_UNDO_FOUND_BEFORE) {
        printf("nothing to undo: the image is as it was before the change\n");
        return;
    }
    printf("%s: %s in %s, %s; ", job->args->common.dry_run ? "to be undone" : "undone",
           size_text(r->bytes_written).text, count_text(r->writes, "write").text, count_text(r->flushes, "flush").text);
    printf("the file gets shorter by %s%s\n", size_text(r->bytes_cut).text,
           r->found == QCBM_UNDO_FOUND_BETWEEN ? "; the change, or an undo of it, had been cut short" : "");
}

static void print_json(const struct job *job)
{
    const struct qcbm_undo_result *r = &job->result;
    struct json_writer w = JSON_WRITER_INIT(stdout);

    json_begin_object(&w, NULL);
    json_string(&w, "image", job->path);
    json_string(&w, "undo-file", job->undo_path);
    json_bool(&w, "dry-run", job->args->common.dry_run);
    json_string(&w, "found", found_names[r->found]);
    json_string(&w, "writer", writer_names[r->writer]);
    json_u64(&w, "bytes-written", r->bytes_written);
    json_u64(&w, "writes", r->writes);
    json_u64(&w, "flushes", r->flushes);
    json_u64(&w, "bytes-cut", r->bytes_cut);
    json_u64(&w, "file-size", r->file_size);
    if (job->args->common.dry_run)
        plan_write_steps(&job->plan, &w);
    json_end_object(&w);
    json_finish(&w);
}

static void warn_of_writer(const struct qcbm_undo_result *r)
{
    if (r->writer == QCBM_UNDO_WRITER_SEEN)
        cmd_warning("the image was written since: bitmaps that record writes may lack these");
    else if (r->writer == QCBM_UNDO_WRITER_UNKNOWN)
        cmd_warning("whether a guest has run since cannot be told: if so, bitmaps that record writes lack its writes");
}

static int try_undo(struct job *job, struct qcbm_image *img, const struct qcbm_undo_options *options,
                    struct qcbm_error *err)
{
    if (!img)
        return qcbm_undo_path(job->path, common_writing(&job->args->common), job->undo_path, options, &job->result,
                              sizeof job->result, err);
    return qcbm_undo(img, job->undo_path, options, &job->result, sizeof job->result, err);
}

/* What is in the way of an undo that was refused: only a guest that may have run since, or more than that? */
static void hint_at_way(struct job *job, struct qcbm_image *img)
{
    struct qcbm_undo_options forced = QCBM_UNDO_OPTIONS_INIT;
    struct qcbm_error ignored;

    forced.dry_run = true;
    forced.force = true;
    if (!job->args->common.force && try_undo(job, img, &forced, &ignored) == 0)
        cmd_hint("--force undoes it all the same; see qcbm-undo(1) for what these bitmaps are worth then");
    else
        cmd_hint("--force does not help here: undo what was changed later first, or take the undo file of this image");
}

static int undo(struct job *job, struct qcbm_image *img)
{
    struct qcbm_undo_options options = QCBM_UNDO_OPTIONS_INIT;
    struct progress progress = { .wanted = job->args->common.progress && !job->args->common.quiet };
    const struct qcbm_progress told = progress_of(&progress);
    struct qcbm_error err;
    int ret;

    options.progress = &told;
    options.dry_run = job->args->common.dry_run;
    options.force = job->args->common.force;
    options.step = job->args->common.dry_run ? plan_collect : NULL;
    options.opaque = &job->plan;
    ret = try_undo(job, img, &options, &err);
    progress_end(&progress, ret == 0);
    if (ret == QCBM_E_ARG && job->damaged) { /* no image of this change: why does it not open? */
        qcbm_close(common_open(&job->args->common, common_reading(&job->args->common)));
        return EXIT_FAILED;
    }
    if (ret < 0) {
        cmd_lib_error(&err, "Could not undo the change of '%s'", job->path);
        if (ret == QCBM_E_UNSAFE)
            hint_at_way(job, img);
        return EXIT_FAILED;
    }
    if (!job->args->common.dry_run && job->result.found != QCBM_UNDO_FOUND_BEFORE)
        cmd_note_done("the image has been changed all the same");
    warn_of_writer(&job->result);
    if (job->args->common.output == OUTPUT_JSON)
        print_json(job);
    else if (!job->args->common.quiet)
        print_text(job);
    return EXIT_DONE;
}

/* Or is it kept from that by something else than its header? Then opening it again tells of it. Whether the undo file
 * is one of this image is found out without a header, too. */
static bool opens(const struct common_args *common)
{
    struct qcbm_image *img = NULL;
    int ret = common->format || !cmd_may_write(common->path)
                  ? 0
                  : qcbm_open(common->path, common_reading(common) | QCBM_OPEN_INFO, &img, NULL);

    qcbm_close(img);
    return ret != QCBM_E_NOT_QCOW2 && ret != QCBM_E_CORRUPT && ret != QCBM_E_UNSUPPORTED && ret != QCBM_E_LIMIT;
}

static int run_undo(const struct cmd *cmd, int argc, char **argv)
{
    struct undo_args args = { 0 };
    int code = opt_parse(cmd, argc, argv, &args);

    if (code != OPT_GO_ON)
        return code;
    if (!common_take_name(&args.common))
        return EXIT_FAILED;
    struct job job = { .args = &args, .path = args.common.path, .undo_path = args.undo_path };
    if (args.common.dry_run)
        common_shut_in(&args.common, false, job.undo_path);
    job.damaged = !opens(&args.common);
    struct qcbm_image *img = job.damaged ? NULL : common_open(&args.common, common_writing(&args.common));
    if (!img && !job.damaged)
        return EXIT_FAILED;
    code = undo(&job, img);
    plan_clear(&job.plan);
    qcbm_close(img);
    return code;
}

const struct cmd cmd_undo = { "undo",    NULL,     "Take back a change that was made with --undo=UNDOFILE.",
                              undo_opts, run_undo, NULL };
