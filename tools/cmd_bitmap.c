/* cmd_bitmap.c - qcbm bitmap: several operations on one bitmap, in order, in one commit; the syntax is qemu-img's
 * SPDX-License-Identifier: MIT
 */
#include <stdlib.h>
#include <string.h>

#include "cmd_bitmap.h"
#include "plan_out.h"

/* ---- options ------------------------------------------------------------------------------------------- */

#define ACTION(name, value, help)                                                                                      \
    {                                                                                                                  \
        name, 0, OPT_ACTION, offsetof(struct bitmap_args, actions), value, help                                        \
    }

static const struct opt bitmap_opts[] = {
    ACTION("add", NULL, "create NAME, enabled and clean"),
    ACTION("remove", NULL, "delete NAME, even if it is inconsistent"),
    ACTION("clear", NULL, "mark all of NAME clean"),
    ACTION("enable", NULL, "let NAME record writes"),
    ACTION("disable", NULL, "freeze NAME"),
    ACTION("merge", "SRC", "mark dirty in NAME what is dirty in SRC"),
    { "list", 0, OPT_FLAG, offsetof(struct bitmap_args, list), NULL,
      "list all bitmaps of FILE with their dirty bytes and\nwhat is wrong with them" },
    { "granularity", 'g', OPT_SIZE, offsetof(struct bitmap_args, granularity), "SIZE",
      "bytes per bit for --add, a power of 2 from 512 to 2G\n(default: the cluster size, within 4k and 64k)" },
    { "source-file", 'b', OPT_STRING, offsetof(struct bitmap_args, source), "FILE", "take SRC from this image" },
    { "source-format", 'F', OPT_STRING, offsetof(struct bitmap_args, source_format), "FMT", "format of that image" },
    OPT_COMMON_FORMAT(bitmap_args),
    { "dry-run", 0, OPT_FLAG, offsetof(struct bitmap_args, dry_run), NULL,
      "print what would be written, and write nothing" },
    { "force-share", 'U', OPT_FLAG, offsetof(struct bitmap_args, force_share), NULL,
      "with --list or --dry-run: read while a writer is active" },
    { "quiet", 'q', OPT_FLAG, offsetof(struct bitmap_args, quiet), NULL, "print errors only" },
    OPT_COMMON_OUTPUT(bitmap_args),
    OPT_COMMON_NO_LOCK(bitmap_args),
    OPT_COMMON_NO_SANDBOX(bitmap_args),
    OPT_COMMON_REFUSED,
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

/* The rules and words of qemu-img, in its order; then our own. */
static int check_usage(const struct cmd *cmd, const struct bitmap_args *args, int n_names)
{
    if (args->actions.count == 0)
        return cmd_error("Need at least one of --add, --remove, --clear, --enable, --disable, or --merge");
    if (args->granularity && !has_action(args, "add"))
        return cmd_error("granularity only supported with --add");
    if (args->source_format && !args->source)
        return cmd_error("-F only supported with -b");
    if (args->source && !has_action(args, "merge"))
        return cmd_error("Merge bitmap source file only supported with --merge");
    if (n_names != 2)
        return cmd_error("Expecting filename and bitmap name");
    if (args->force_share && !args->dry_run)
        return cmd_usage_error(cmd, "-U is for reading only: use it with --list or --dry-run");
    return EXIT_DONE;
}

static int check_list_usage(const struct cmd *cmd, const struct bitmap_args *args, int n_names)
{
    if (args->actions.count > 0 || args->granularity || args->source || args->source_format || args->dry_run)
        return cmd_usage_error(cmd, "--list cannot be combined with an operation or its options");
    if (n_names != 1)
        return cmd_usage_error(cmd, "Expecting one image file name");
    return EXIT_DONE;
}

/* ---- operations ---------------------------------------------------------------------------------------- */

struct job {
    const struct bitmap_args *args;
    const char *path, *name;
    struct qcbm_image *img;
    struct qcbm_image *source; /* NULL: the same image */
    struct qcbm_edit *edit;
    struct plan plan;
};

static int do_action(struct job *job, const struct opt_action *action, struct qcbm_error *err)
{
    switch (action->opt->name[0]) {
    case 'a':
        return qcbm_edit_add(job->edit, job->name, job->args->granularity, 0, err);
    case 'r':
        return qcbm_edit_remove(job->edit, job->name, err);
    case 'c':
        return qcbm_edit_clear(job->edit, job->name, err);
    case 'e':
        return qcbm_edit_enable(job->edit, job->name, err);
    case 'd':
        return qcbm_edit_disable(job->edit, job->name, err);
    default:
        return qcbm_edit_merge(job->edit, job->name, job->source, action->value, err);
    }
}

static int open_images(struct job *job)
{
    const struct bitmap_args *args = job->args;
    unsigned no_lock = args->no_lock ? QCBM_OPEN_NO_LOCK : 0;
    unsigned reading = no_lock | (args->force_share ? QCBM_OPEN_FORCE_SHARE : 0);

    job->img = cmd_open(job->path, args->format, args->dry_run ? reading : no_lock | QCBM_OPEN_WRITE);
    if (!job->img)
        return EXIT_FAILED;
    if (!args->source || (!args->source_format && cmd_same_file(args->source, job->path)))
        return EXIT_DONE;
    job->source = cmd_open(args->source, args->source_format, reading);
    return job->source ? EXIT_DONE : EXIT_FAILED;
}

static int do_actions(struct job *job)
{
    const struct opt_actions *actions = &job->args->actions;
    struct qcbm_error err;

    if (qcbm_edit_begin(job->img, &job->edit, &err) < 0)
        return cmd_lib_error(&err, "Could not change '%s'", job->path);
    for (size_t i = 0; i < actions->count; i++) {
        if (do_action(job, &actions->list[i], &err) == 0)
            continue;
        if (err.offset == QCBM_NO_OFFSET) /* qemu-img's words */
            return cmd_lib_error(&err, "Operation %s on bitmap %s failed", actions->list[i].opt->name, job->name);
        return cmd_lib_error(&err, "Operation %s on bitmap %s of '%s' failed", actions->list[i].opt->name, job->name,
                             job->path);
    }
    if (plan_run(&job->plan, job->edit, job->args->dry_run, &err) < 0)
        return cmd_lib_error(&err, "Could not change '%s'", job->path);
    return EXIT_DONE;
}

static void print_json(const struct job *job)
{
    const struct opt_actions *actions = &job->args->actions;
    struct json_writer w = JSON_WRITER_INIT(stdout);

    json_begin_object(&w, NULL);
    json_string(&w, "image", job->path);
    json_string(&w, "bitmap", job->name);
    json_begin_array(&w, "operations");
    for (size_t i = 0; i < actions->count; i++)
        json_string(&w, NULL, actions->list[i].opt->name);
    json_end_array(&w);
    json_bool(&w, "dry-run", job->args->dry_run);
    plan_write_json(&job->plan, job->args->dry_run, &w);
    json_end_object(&w);
    json_finish(&w);
}

static int run_job(struct job *job)
{
    int code = open_images(job);

    if (code == EXIT_DONE)
        code = do_actions(job);
    if (code == EXIT_DONE && job->args->output == OUTPUT_JSON)
        print_json(job);
    else if (code == EXIT_DONE && job->args->dry_run && !job->args->quiet)
        plan_print(&job->plan, stdout);
    plan_clear(&job->plan);
    qcbm_edit_free(job->edit);
    qcbm_close(job->source);
    qcbm_close(job->img);
    return code;
}

static int run_list(const struct bitmap_args *args, const char *path)
{
    unsigned flags = (args->force_share ? QCBM_OPEN_FORCE_SHARE : 0) | (args->no_lock ? QCBM_OPEN_NO_LOCK : 0);
    struct qcbm_image *img;

    cmd_shut_in(args->no_sandbox, false, path, NULL);
    img = cmd_open(path, args->format, flags);
    if (!img)
        return EXIT_FAILED;
    int code = bitmap_list(img, path, args->output);
    qcbm_close(img);
    return code;
}

static int run_parsed(const struct cmd *cmd, const struct bitmap_args *args, int n_names, char **names)
{
    if (args->list) {
        int code = check_list_usage(cmd, args, n_names);
        return code == EXIT_DONE ? run_list(args, names[0]) : code;
    }
    int code = check_usage(cmd, args, n_names);
    if (code != EXIT_DONE)
        return code;
    struct job job = { .args = args, .path = names[0], .name = names[1] };
    if (args->dry_run)
        cmd_shut_in(args->no_sandbox, false, job.path, args->source);
    return run_job(&job);
}

static int run_bitmap(const struct cmd *cmd, int argc, char **argv)
{
    struct bitmap_args args = { 0 };
    int first, code;
    enum opt_result parsed = opt_parse(cmd, argc, argv, &args, &first);

    if (parsed == OPT_GO_ON)
        code = run_parsed(cmd, &args, argc - first, argv + first);
    else
        code = parsed == OPT_HELP_SHOWN ? EXIT_DONE : EXIT_FAILED;
    free(args.actions.list);
    return code;
}

const struct cmd cmd_bitmap = { "bitmap", "FILE NAME  |  --list [OPTION]... FILE",
                                "Change a bitmap: all operations named, in their order, or none of them.", bitmap_opts,
                                run_bitmap };
