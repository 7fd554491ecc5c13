/* cmd_undo.c - qcbm undo: a recorded change taken back, byte for byte
 * SPDX-License-Identifier: MIT
 */
#include <inttypes.h>
#include <string.h>

#include "image_name.h"
#include "opt_parse.h"
#include "plan_out.h"
#include "progress.h"
#include "qemu_text.h"

struct undo_args {
    const char *path, *undo_path, *format;
    enum opt_output output;
    const char *object; /* without effect */
    bool image_opts, dry_run, force, quiet, progress, no_lock, no_sandbox;
};

static const struct opt undo_opts[] = {
    { NULL, 0, OPT_ARG, offsetof(struct undo_args, path), "FILE", "image" },
    { NULL, 0, OPT_ARG, offsetof(struct undo_args, undo_path), "UNDOFILE", "undo file" },
    { "dry-run", 0, OPT_FLAG, offsetof(struct undo_args, dry_run), NULL,
      "compare image and undo file, print what would be\nwritten, and write nothing" },
    { "force", 0, OPT_FLAG, offsetof(struct undo_args, force), NULL,
      "undo it though the image was written since: bitmaps that\nrecord writes lack these then" },
    OPT_COMMON_FORMAT(undo_args),
    { "quiet", 'q', OPT_FLAG, offsetof(struct undo_args, quiet), NULL, "print errors only" },
    OPT_COMMON_PROGRESS(undo_args),
    OPT_COMMON_OUTPUT(undo_args),
    OPT_COMMON_NO_LOCK(undo_args),
    OPT_COMMON_NO_SANDBOX(undo_args),
    OPT_COMMON_IMAGE_OPTS(undo_args),
    OPT_END,
};

struct job {
    const struct undo_args *args;
    const char *path, *undo_path;
    struct qcbm_undo_result result;
    struct plan plan; /* the steps of a dry run */
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
    printf("%s: %s in %" PRIu32 " writes, %" PRIu32 " flushes; ", job->args->dry_run ? "to be undone" : "undone",
           size_text(r->bytes_written).text, r->writes, r->flushes);
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
    json_bool(&w, "dry-run", job->args->dry_run);
    json_string(&w, "found", found_names[r->found]);
    json_string(&w, "writer", writer_names[r->writer]);
    json_u64(&w, "bytes-written", r->bytes_written);
    json_u64(&w, "writes", r->writes);
    json_u64(&w, "flushes", r->flushes);
    json_u64(&w, "bytes-cut", r->bytes_cut);
    json_u64(&w, "file-size", r->file_size);
    if (job->args->dry_run)
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

static int undo(struct job *job, struct qcbm_image *img)
{
    struct qcbm_undo_options options = QCBM_UNDO_OPTIONS_INIT;
    struct progress progress = { .wanted = job->args->progress && !job->args->quiet };
    const struct qcbm_progress told = progress_of(&progress);
    struct qcbm_error err;
    int ret;

    options.progress = &told;
    options.dry_run = job->args->dry_run;
    options.force = job->args->force;
    options.step = job->args->dry_run ? plan_collect : NULL;
    options.opaque = &job->plan;
    ret = qcbm_undo(img, job->undo_path, &options, &job->result, sizeof job->result, &err);
    progress_end(&progress, ret == 0);
    if (ret < 0)
        return cmd_lib_error(&err, "Could not undo the change of '%s'", job->path);
    warn_of_writer(&job->result);
    if (job->args->output == OUTPUT_JSON)
        print_json(job);
    else if (!job->args->quiet)
        print_text(job);
    return EXIT_DONE;
}

static int run_undo(const struct cmd *cmd, int argc, char **argv)
{
    struct undo_args args = { 0 };
    enum opt_result parsed = opt_parse(cmd, argc, argv, &args);

    if (parsed != OPT_GO_ON)
        return parsed == OPT_HELP_SHOWN ? EXIT_DONE : EXIT_FAILED;
    if (!image_name_take(&args.path, &args.format, args.image_opts))
        return EXIT_FAILED;
    struct job job = { .args = &args, .path = args.path, .undo_path = args.undo_path };
    if (args.dry_run)
        cmd_shut_in(args.no_sandbox, false, job.path, job.undo_path);
    struct qcbm_image *img =
        cmd_open(job.path, args.format, (args.dry_run ? 0 : QCBM_OPEN_WRITE) | (args.no_lock ? QCBM_OPEN_NO_LOCK : 0));
    if (!img)
        return EXIT_FAILED;
    int code = undo(&job, img);
    plan_clear(&job.plan);
    qcbm_close(img);
    return code;
}

const struct cmd cmd_undo = { "undo",    NULL,     "Take back a change that was made with --undo=UNDOFILE.",
                              undo_opts, run_undo, NULL };
