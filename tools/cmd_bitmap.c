/* cmd_bitmap.c - qcbm bitmap: several operations on one bitmap, in order, in one commit; the syntax is qemu-img's
 * SPDX-License-Identifier: MIT
 */
#include <stdlib.h>
#include <string.h>

#include "cmd_bitmap.h"
#include "image_name.h"
#include "plan_out.h"

/* ---- options ------------------------------------------------------------------------------------------- */

#define ACTION(name, value, help)                                                                                      \
    {                                                                                                                  \
        name, 0, OPT_ACTION, offsetof(struct bitmap_args, actions), value, help                                        \
    }

static const struct opt bitmap_opts[] = {
    { NULL, 0, OPT_ARG, offsetof(struct bitmap_args, path), "FILE", "filename" },
    { NULL, 0, OPT_ARG_PERHAPS, offsetof(struct bitmap_args, name), "NAME", "bitmap name" },
    { NULL, 0, OPT_ARG_SURPLUS, offsetof(struct bitmap_args, surplus), NULL, NULL },
    ACTION("add", NULL, "create NAME, enabled and clean"),
    ACTION("remove", NULL, "delete NAME, even if it is inconsistent"),
    ACTION("clear", NULL, "mark all of NAME clean"),
    ACTION("enable", NULL, "let NAME record writes"),
    ACTION("disable", NULL, "freeze NAME"),
    ACTION("merge", "SRC", "mark dirty in NAME what is dirty in SRC"),
    ACTION("intersect", "SRC", "leave dirty in NAME only what is dirty in SRC"),
    ACTION("subtract", "SRC", "mark clean in NAME what is dirty in SRC"),
    ACTION("rename", "NEW", "call NAME so from here on"),
    ACTION("rotate", "NEW", "freeze NAME, and go on with NEW, clean and enabled"),
    ACTION("regranularise", "SIZE", "change the granularity, rounding outward"),
    ACTION("set", "OFFSET:LENGTH", "mark these bytes dirty, rounding outward"),
    ACTION("unset", "OFFSET:LENGTH", "mark these bytes clean, rounding inward"),
    ACTION("import", "IN", "create NAME from a file of --export, '-' for stdin"),
    { "export", 0, OPT_STRING, offsetof(struct bitmap_args, export_to), "OUT",
      "write NAME to the file OUT, '-' for stdout" },
    { "format", 0, OPT_STRING, offsetof(struct bitmap_args, file_format), "qcbm|raw|json",
      "of OUT and IN: with digest (default), bits, or extents" },
    { "bit-order", 0, OPT_STRING, offsetof(struct bitmap_args, bit_order), "lsb|msb",
      "of raw bits: the first bit is the lowest of a byte (default),\nor the highest" },
    { "copy-to", 0, OPT_STRING, offsetof(struct bitmap_args, copy_to), "IMAGE",
      "put a copy of NAME into IMAGE, of the same virtual size" },
    { "as", 0, OPT_STRING, offsetof(struct bitmap_args, as), "NEW", "name of that copy (default: NAME)" },
    { "prune", 0, OPT_STRING, offsetof(struct bitmap_args, prune), "PATTERN",
      "delete the bitmaps of FILE whose names match, as a shell\nmatches names of files" },
    { "keep", 0, OPT_SIZE, offsetof(struct bitmap_args, keep), "N",
      "of these keep the last N by name, numbers as numbers" },
    { "list", 0, OPT_FLAG, offsetof(struct bitmap_args, list), NULL,
      "list all bitmaps of FILE with their dirty bytes and\nwhat is wrong with them" },
    { "chain", 0, OPT_FLAG, offsetof(struct bitmap_args, chain), NULL,
      "with --list: also those of the images below FILE;\nopens them" },
    { "backing-chain", 0, OPT_FLAG, offsetof(struct bitmap_args, chain), NULL, "the same, as info calls it" },
    { "granularity", 'g', OPT_SIZE, offsetof(struct bitmap_args, granularity), "SIZE",
      "bytes per bit for --add, a power of 2 from 512 to 2G\n(default: the cluster size, within 4k and 64k)" },
    { "source-file", 'b', OPT_STRING, offsetof(struct bitmap_args, source), "FILE", "take SRC from this image" },
    { "source-format", 'F', OPT_STRING, offsetof(struct bitmap_args, source_format), "FMT", "format of that image" },
    OPT_COMMON_FORMAT(bitmap_args),
    { "force", 0, OPT_FLAG, offsetof(struct bitmap_args, force), NULL,
      "import into a disk that begins differently; let --export\nreplace a file or what is on a block device" },
    { "dry-run", 0, OPT_FLAG, offsetof(struct bitmap_args, dry_run), NULL,
      "print what would be written, and write nothing" },
    OPT_COMMON_UNDO(bitmap_args),
    { "force-share", 'U', OPT_FLAG, offsetof(struct bitmap_args, force_share), NULL,
      "with --list, --export or --dry-run: read while a writer is active" },
    { "quiet", 'q', OPT_FLAG, offsetof(struct bitmap_args, quiet), NULL, "print errors only" },
    OPT_COMMON_PROGRESS(bitmap_args),
    OPT_COMMON_OUTPUT(bitmap_args),
    OPT_COMMON_NO_LOCK(bitmap_args),
    OPT_COMMON_NO_SANDBOX(bitmap_args),
    OPT_COMMON_IMAGE_OPTS(bitmap_args),
    OPT_END,
};

static bool has_action(const struct bitmap_args *args, const char *name)
{
    for (size_t i = 0; i < args->actions.count; i++) {
        if (strcmp(args->actions.list[i].opt->name, name) == 0)
            return true;
    }
    return false;
}

static bool takes_source(const struct bitmap_args *args)
{
    return has_action(args, "merge") || has_action(args, "intersect") || has_action(args, "subtract");
}

bool bitmap_is_format(const struct bitmap_args *args, const char *format)
{
    return strcmp(args->file_format ? args->file_format : "qcbm", format) == 0;
}

const char *bitmap_bit_order(const struct bitmap_args *args)
{
    if (!bitmap_is_format(args, "raw"))
        return NULL;
    return args->bit_order ? args->bit_order : "lsb";
}

const char *bitmap_bit_order_text(const char *bit_order)
{
    return strcmp(bit_order, "msb") == 0 ? "the highest bit of a byte first" : "the lowest bit of a byte first";
}

enum qcbm_transfer_format bitmap_transfer(const struct bitmap_args *args)
{
    const char *order = bitmap_bit_order(args);

    return !order ? QCBM_TRANSFER_QCBM : strcmp(order, "msb") == 0 ? QCBM_TRANSFER_RAW_MSB : QCBM_TRANSFER_RAW;
}

static bool bit_order_known(const struct bitmap_args *args)
{
    return !args->bit_order || strcmp(args->bit_order, "lsb") == 0 || strcmp(args->bit_order, "msb") == 0;
}

static bool format_known(const struct bitmap_args *args)
{
    return bitmap_is_format(args, "qcbm") || bitmap_is_format(args, "raw") || bitmap_is_format(args, "json");
}

/* Options of the jobs that stand alone, where they are not one's own. */
static int check_own_usage(const struct cmd *cmd, const struct bitmap_args *args)
{
    bool transfers = args->export_to || has_action(args, "import");

    if (args->chain && !args->list)
        return cmd_usage_error(cmd, "--chain goes with --list");
    if (args->as && !args->copy_to)
        return cmd_usage_error(cmd, "--as goes with --copy-to");
    if (args->keep && !args->prune)
        return cmd_usage_error(cmd, "--keep goes with --prune");
    if ((args->file_format || args->force) && !transfers)
        return cmd_usage_error(cmd, "--format and --force go with --export or --import");
    if (!format_known(args))
        return cmd_usage_error(cmd, "--format knows qcbm, raw and json, not '%s'", args->file_format);
    if (args->bit_order && !bitmap_is_format(args, "raw"))
        return cmd_usage_error(cmd, "--bit-order goes with --format=raw");
    if (!bit_order_known(args))
        return cmd_usage_error(cmd, "--bit-order knows lsb and msb, not '%s'", args->bit_order);
    return EXIT_DONE;
}

/* The rules and words of qemu-img, in its order; then our own. */
static int check_usage(const struct cmd *cmd, const struct bitmap_args *args)
{
    if (args->actions.count == 0) {
        cmd_error("Need at least one of --add, --remove, --clear, --enable, --disable, or --merge");
        cmd_hint("'qcbm bitmap --list FILE' shows the bitmaps of an image, 'qcbm help bitmap' all that can be done");
        return EXIT_FAILED;
    }
    if (args->granularity && !has_action(args, "add") && !has_action(args, "import"))
        return cmd_error("granularity only supported with --add");
    if (args->source_format && !args->source)
        return cmd_error("-F only supported with -b");
    if (args->source && !takes_source(args))
        return cmd_error("Merge bitmap source file only supported with --merge");
    if (!args->name || args->surplus)
        return cmd_error("Expecting filename and bitmap name");
    if (args->force_share && !args->dry_run)
        return cmd_usage_error(cmd, "-U is for reading only: use it with --list or --dry-run");
    return bitmap_actions_valid(&args->actions) ? EXIT_DONE : EXIT_FAILED;
}

/* What --list, --copy-to, --export and --prune have in common: each is a command of its own. */
static int check_alone(const struct cmd *cmd, const struct bitmap_args *args, const char *what, bool with_name)
{
    int jobs = args->list + (args->copy_to != NULL) + (args->export_to != NULL) + (args->prune != NULL);

    if (jobs > 1 || args->actions.count > 0 || args->granularity || args->source || args->source_format ||
        (args->undo && (args->list || args->export_to)))
        return cmd_usage_error(cmd, "--%s cannot be combined with an operation or its options", what);
    if (args->force_share && !args->dry_run && (args->copy_to || args->prune))
        return cmd_usage_error(cmd, "-U is for reading only: use it with --list or --dry-run");
    if (with_name && (!args->name || args->surplus))
        return cmd_usage_error(cmd, "Expecting filename and bitmap name");
    if (!with_name && (!args->path || args->name))
        return cmd_usage_error(cmd, "Expecting one image file name");
    return EXIT_DONE;
}

/* ---- operations ---------------------------------------------------------------------------------------- */

unsigned bitmap_reading(const struct bitmap_args *args)
{
    return (args->no_lock ? QCBM_OPEN_NO_LOCK : 0) | (args->force_share ? QCBM_OPEN_FORCE_SHARE : 0);
}

unsigned bitmap_writing(const struct bitmap_args *args)
{
    return args->dry_run ? bitmap_reading(args) : (args->no_lock ? QCBM_OPEN_NO_LOCK : 0) | QCBM_OPEN_WRITE;
}

/* Of the image itself nothing has to be opened for SRC, and its own locks would refuse that. */
static bool is_itself(const struct bitmap_args *args, const char *path)
{
    if (!args->source)
        return true;
    return (!args->source_format || strcmp(args->source_format, "qcow2") == 0) && qcbm_same_file(args->source, path);
}

static bool take_names(struct bitmap_args *args)
{
    return image_name_take(&args->path, &args->format, args->image_opts) &&
           image_name_take(&args->source, &args->source_format, false) && image_name_take(&args->copy_to, NULL, false);
}

static int open_images(struct bitmap_job *job)
{
    const struct bitmap_args *args = job->args;

    job->img = cmd_open(job->path, args->format, bitmap_writing(args));
    if (!job->img)
        return EXIT_FAILED;
    if (is_itself(args, job->path))
        return EXIT_DONE;
    job->source = cmd_open(args->source, args->source_format, bitmap_reading(args));
    return job->source ? EXIT_DONE : EXIT_FAILED;
}

static int do_actions(struct bitmap_job *job, struct plan *plan)
{
    const struct opt_actions *actions = &job->args->actions;
    struct qcbm_error err;

    job->results = calloc(actions->count, sizeof *job->results);
    if (!job->results)
        return cmd_error("no memory");
    if (qcbm_edit_begin(job->img, &job->edit, &err) < 0)
        return cmd_lib_error(&err, "Could not change '%s'", job->path);
    for (size_t i = 0; i < actions->count; i++) {
        if (bitmap_do_action(job, &actions->list[i], &err) == 0)
            continue;
        if (err.offset == QCBM_NO_OFFSET) /* qemu-img's words */
            return cmd_lib_error(&err, "Operation %s on bitmap %s failed", actions->list[i].opt->name, job->name);
        return cmd_lib_error(&err, "Operation %s on bitmap %s of '%s' failed", actions->list[i].opt->name, job->name,
                             job->path);
    }
    if (plan_run(plan, job->img, job->edit,
                 &(struct plan_how){ job->args->dry_run, job->args->progress && !job->args->quiet, job->args->undo },
                 &err) < 0)
        return cmd_lib_error(&err, "Could not change '%s'", job->path);
    return EXIT_DONE;
}

static void print_json(const struct bitmap_job *job, const char *name, const struct plan *plan)
{
    const struct opt_actions *actions = &job->args->actions;
    struct json_writer w = JSON_WRITER_INIT(stdout);

    json_begin_object(&w, NULL);
    json_string(&w, "image", job->path);
    json_string(&w, "bitmap", name);
    json_begin_array(&w, "operations");
    for (size_t i = 0; i < actions->count; i++)
        json_string(&w, NULL, actions->list[i].opt->name);
    json_end_array(&w);
    bitmap_results_json(job, &w);
    json_bool(&w, "dry-run", job->args->dry_run);
    plan_write_json(plan, job->args->dry_run, &w);
    json_end_object(&w);
    json_finish(&w);
}

static void print_text(const struct bitmap_job *job, const struct plan *plan)
{
    bitmap_results_print(job);
    if (job->args->dry_run)
        plan_print(plan, stdout);
}

/* A dry run only reads; what --import names is open by then. */
static void shut_in(const struct bitmap_args *args)
{
    if (args->dry_run)
        cmd_shut_in(args->no_sandbox, false, args->path, args->copy_to ? args->copy_to : args->source);
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
        if (strcmp(actions->list[i].opt->name, "import") == 0)
            code = input_open(&job->inputs[i], actions->list[i].value);
    }
    return code;
}

static void close_inputs(struct bitmap_job *job)
{
    for (size_t i = 0; job->inputs && i < job->args->actions.count; i++)
        input_close(&job->inputs[i]);
    free(job->inputs);
}

static int run_job(const struct bitmap_args *args)
{
    struct bitmap_job job = { .args = args, .path = args->path, .name = args->name };
    struct plan plan = { 0 };
    int code = open_inputs(&job);

    shut_in(args);
    if (code == EXIT_DONE)
        code = open_images(&job);
    if (code == EXIT_DONE)
        code = do_actions(&job, &plan);
    if (code == EXIT_DONE && args->output == OUTPUT_JSON)
        print_json(&job, args->name, &plan);
    else if (code == EXIT_DONE && !args->quiet)
        print_text(&job, &plan);
    plan_clear(&plan);
    bitmap_results_free(&job);
    close_inputs(&job);
    qcbm_edit_free(job.edit);
    qcbm_close(job.source);
    qcbm_close(job.img);
    return code;
}

static int run_list(const struct bitmap_args *args)
{
    struct json_writer json = JSON_WRITER_INIT(stdout), *w = args->output == OUTPUT_JSON ? &json : NULL;
    struct qcbm_image *img;

    cmd_shut_in(args->no_sandbox, args->chain, args->path, NULL);
    img = cmd_open(args->path, args->format, bitmap_reading(args));
    if (!img)
        return EXIT_FAILED;
    struct progress progress = { .wanted = args->progress && !args->quiet };
    int code = (args->chain ? bitmap_list_chain : bitmap_list)(img, args->path, &progress, w);
    if (w && !args->chain)
        json_finish(w);
    qcbm_close(img);
    return code;
}

/* --list, --copy-to, --export, --prune */
static int run_alone(const struct cmd *cmd, struct bitmap_args *args)
{
    bool with_name = args->copy_to || args->export_to;
    const char *what = args->list ? "list" : args->copy_to ? "copy-to" : args->export_to ? "export" : "prune";
    int code = check_alone(cmd, args, what, with_name);

    if (code != EXIT_DONE)
        return code;
    if (args->list && args->dry_run)
        return cmd_usage_error(cmd, "--list cannot be combined with an operation or its options");
    if (!take_names(args))
        return EXIT_FAILED;
    if (args->list)
        return run_list(args);
    if (!args->export_to)
        shut_in(args);
    if (args->copy_to)
        return bitmap_copy(args, args->path, args->name);
    return args->prune ? bitmap_prune(args, args->path) : bitmap_export(args, args->path, args->name);
}

static int run_parsed(const struct cmd *cmd, struct bitmap_args *args)
{
    int code = check_own_usage(cmd, args);

    if (code != EXIT_DONE)
        return code;
    if (args->list || args->copy_to || args->export_to || args->prune)
        return run_alone(cmd, args);
    code = check_usage(cmd, args);
    if (code != EXIT_DONE)
        return code;
    return take_names(args) ? run_job(args) : EXIT_FAILED;
}

static int run_bitmap(const struct cmd *cmd, int argc, char **argv)
{
    struct bitmap_args args = { 0 };
    int code;
    enum opt_result parsed = opt_parse(cmd, argc, argv, &args);

    if (parsed == OPT_GO_ON)
        code = run_parsed(cmd, &args);
    else
        code = parsed == OPT_HELP_SHOWN ? EXIT_DONE : EXIT_FAILED;
    free(args.actions.list);
    return code;
}

const struct cmd cmd_bitmap = { "bitmap",
                                "FILE NAME  |  --list|--prune=PATTERN [OPTION]... FILE",
                                "Change a bitmap: all operations named, in their order, or none of them.",
                                bitmap_opts,
                                run_bitmap,
                                NULL };
