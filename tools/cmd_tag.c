/* cmd_tag.c - qcbm tag: the id in the header of an image by which records know it
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>
#include <string.h>

#include "common_args.h"
#include "opt_parse.h"
#include "plan_out.h"

struct tag_args {
    struct common_args common;
    const char *set;
    bool fresh, remove;
};
COMMON_ARGS_FIRST(struct tag_args);

static const struct opt tag_opts[] = {
    OPT_COMMON_FILE,
    OPT_ROW(struct tag_args, "new", 0, OPT_FLAG, fresh, NULL, "a new one also where there is one, as in a copy"),
    OPT_ROW(struct tag_args, "set", 0, OPT_STRING, set, "TAG", "this one: 32 hexadecimal digits"),
    OPT_ROW(struct tag_args, "remove", 0, OPT_FLAG, remove, NULL, "take it out"),
    OPT_COMMON_DRY_RUN,
    OPT_COMMON_UNDO,
    OPT_COMMON_FORMAT,
    OPT_COMMON_QUIET,
    OPT_COMMON_OUTPUT,
    OPT_COMMON_NO_LOCK,
    OPT_COMMON_NO_SANDBOX,
    OPT_COMMON_IMAGE_OPTS,
    OPT_END,
};

enum { TAG_ROOM = 33 };

struct tag_job {
    const struct tag_args *args;
    struct qcbm_image *img;
    char before[TAG_ROOM], after[TAG_ROOM]; /* "": none; of a dry run the new one is not known */
    bool changed;
    struct plan plan;
};

static void read_tag(const struct qcbm_image *img, char to[TAG_ROOM])
{
    struct qcbm_image_info info;

    qcbm_image_get_info(img, &info, sizeof info);
    snprintf(to, TAG_ROOM, "%s", info.tag ? info.tag : "");
}

/* As records have it, or as info shows it. */
static const char *digits_of(const char *tag)
{
    return tag && strncmp(tag, "tag-", 4) == 0 ? tag + 4 : tag;
}

static int stage(const struct tag_job *job, struct qcbm_edit *edit, struct qcbm_error *err)
{
    const struct tag_args *args = job->args;

    if (args->remove)
        return qcbm_edit_remove_tag(edit, err);
    if (args->set || args->fresh || !job->before[0])
        return qcbm_edit_set_tag(edit, digits_of(args->set), err);
    return 0;
}

static int change(struct tag_job *job)
{
    struct qcbm_edit *edit = NULL;
    struct qcbm_error err;
    int ret;

    read_tag(job->img, job->before);
    ret = qcbm_edit_begin(job->img, &edit, &err);
    if (ret == 0)
        ret = stage(job, edit, &err);
    if (ret == 0)
        ret = plan_run_beside_bitmaps(&job->plan, edit, &job->args->common, &err);
    qcbm_edit_free(edit);
    if (ret < 0)
        return cmd_lib_error(&err, "Could not change '%s'", job->args->common.path);
    job->changed = job->plan.summary.writes > 0;
    if (!job->args->common.dry_run || !job->changed)
        read_tag(job->img, job->after);
    return EXIT_DONE;
}

static void print_text(const struct tag_job *job)
{
    bool unknown = job->args->common.dry_run && job->changed && !job->args->remove;

    if (unknown)
        printf("a new tag");
    else
        printf("%s", job->after[0] ? job->after : "no tag");
    if (!job->changed)
        puts(job->after[0] ? ": is there already" : "");
    else if (job->before[0])
        printf(", in place of %s\n", job->before);
    else
        puts("");
    if (job->args->common.dry_run)
        plan_print(&job->plan, stdout);
}

static void write_tag(struct json_writer *w, const char *key, const char *tag)
{
    if (tag[0])
        json_string(w, key, tag);
    else
        json_null(w, key);
}

static void print_json(const struct tag_job *job)
{
    const struct common_args *common = &job->args->common;
    struct json_writer w = JSON_WRITER_INIT(stdout);

    json_begin_object(&w, NULL);
    json_string(&w, "image", common->path);
    json_bool(&w, "changed", job->changed && !common->dry_run);
    json_bool(&w, "dry-run", common->dry_run);
    write_tag(&w, "tag-before", job->before);
    write_tag(&w, "tag", job->after);
    plan_write_json(&job->plan, common->dry_run, &w);
    json_end_object(&w);
    json_finish(&w);
}

static int run_tag(const struct cmd *cmd, int argc, char **argv)
{
    struct tag_args args = { 0 };
    struct tag_job job = { .args = &args };
    int code = opt_parse(cmd, argc, argv, &args);

    if (code != OPT_GO_ON)
        return code;
    if ((args.set != NULL) + args.fresh + args.remove > 1)
        return cmd_usage_error(cmd, "--new, --set and --remove exclude each other");
    if (!common_take_name_or_uri(&args.common))
        return EXIT_FAILED;
    if (args.common.dry_run)
        common_shut_in(&args.common, false, NULL);
    job.img = common_open(&args.common, common_writing(&args.common));
    if (!job.img)
        return EXIT_FAILED;
    code = change(&job);
    if (code == EXIT_DONE && args.common.output == OUTPUT_JSON)
        print_json(&job);
    else if (code == EXIT_DONE && !args.common.quiet)
        print_text(&job);
    plan_clear(&job.plan);
    qcbm_close(job.img);
    return code;
}

const struct cmd cmd_tag = {
    "tag", NULL, "Give an image an id of its own, by which records know it wherever it goes.", tag_opts, run_tag, NULL
};
