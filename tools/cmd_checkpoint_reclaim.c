/* cmd_checkpoint_reclaim.c - qcbm checkpoint reclaim: all bitmaps removed but those of checkpoints that stay
 * SPDX-License-Identifier: MIT
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cmd_checkpoint.h"
#include "cmd_checkpoint_files.h"
#include "json_write.h"
#include "opt_parse.h"
#include "progress.h"
#include "qemu_text.h"

struct reclaim_args {
    struct disk_args disks;
    struct opt_actions keep, keep_xml;
    const char *journal;
};

static const struct opt reclaim_opts[] = {
    OPT_DISK(struct reclaim_args),
    OPT_DOMAIN(struct reclaim_args),
    OPT_ROW(struct reclaim_args, "keep", 0, OPT_ACTION, keep, "NAME,...", "checkpoints that stay; may be repeated"),
    OPT_ROW(struct reclaim_args, "keep-xml", 0, OPT_ACTION, keep_xml, "FOLDER",
            "so do those of libvirt's XML, FOLDER/*.xml"),
    COMMON_FLAG("force", 0, force, "go on though no disk has one that is to stay"),
    OPT_COMMON_DRY_RUN,
    OPT_CHECKPOINT_UNDO,
    OPT_CHECKPOINT_JOURNAL(struct reclaim_args),
    OPT_COMMON_OUTPUT,
    OPT_COMMON_QUIET,
    OPT_COMMON_PROGRESS,
    OPT_COMMON_NO_LOCK,
    OPT_COMMON_NO_SANDBOX,
    OPT_COMMON_IMAGE_OPTS,
    OPT_END,
};

/* Told while the work goes on, and printed when it is done. */
struct told {
    const struct reclaim_args *args;
    struct json_writer *w; /* NULL: text */
    FILE *out;
    uint64_t n;
};

static int tell(void *opaque, const struct qcbm_reclaimed *r)
{
    struct told *t = opaque;

    t->n++;
    if (t->w) {
        json_begin_object(t->w, NULL);
        json_string(t->w, "name", r->name);
        json_string(t->w, "disk", r->disk);
        json_string(t->w, "image", r->layer);
        json_u64(t->w, "depth", r->depth);
        json_end_object(t->w);
        return 0;
    }
    fprintf(t->out, t->args->disks.common.dry_run ? "would remove '" : "removed '");
    print_escaped(t->out, r->name, strlen(r->name));
    fprintf(t->out, "': ");
    print_escaped(t->out, r->disk, strlen(r->disk));
    fprintf(t->out, ", ");
    print_escaped(t->out, r->layer, strlen(r->layer));
    fprintf(t->out, "\n");
    return 0;
}

static int reclaim(struct told *t, const struct disk_list *disks, const struct name_list *keep)
{
    const struct common_args *common = &t->args->disks.common;
    struct qcbm_checkpoint_reclaim_options opt = QCBM_CHECKPOINT_RECLAIM_OPTIONS_INIT;
    struct progress progress = { .wanted = common->progress && !common->quiet };
    const struct qcbm_progress way = progress_of(&progress);
    struct qcbm_error err;
    int ret;

    opt.progress = &way;
    opt.flags = common_writing(common);
    opt.how = common->force ? QCBM_RECLAIM_FORCE : 0;
    opt.keep = keep->list;
    opt.n_keep = keep->n;
    opt.removed = tell;
    opt.opaque = t;
    opt.undo = common->undo;
    opt.journal = t->args->journal;
    if (t->w) {
        json_begin_object(t->w, NULL);
        json_begin_array(t->w, "removed");
    }
    ret = qcbm_checkpoint_reclaim(disks->list, sizeof disks->list[0], disks->n, &opt, &err);
    progress_end(&progress, ret == 0);
    if (ret < 0)
        return cmd_lib_error(&err, "Could not reclaim, and nothing was changed");
    if (t->w) {
        json_end_array(t->w);
        json_bool(t->w, "dry-run", common->dry_run);
        json_end_object(t->w);
        json_finish(t->w);
    } else if (t->n == 0) {
        fprintf(t->out, "nothing to remove\n");
    }
    return EXIT_DONE;
}

static int run(const struct reclaim_args *args, const struct disk_list *disks, const struct name_list *keep)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    struct json_writer w = JSON_WRITER_INIT(out);
    struct told told = { .args = args, .w = args->disks.common.output == OUTPUT_JSON ? &w : NULL, .out = out };
    int code;

    if (args->disks.common.dry_run)
        cmd_shut_in(args->disks.common.no_sandbox, true, NULL, NULL);
    code = out ? reclaim(&told, disks, keep) : cmd_error("no memory");

    if (out && fclose(out) != 0 && code == EXIT_DONE)
        code = cmd_error("no memory for the answer");
    if (code == EXIT_DONE && told.n > 0 && !args->disks.common.dry_run)
        cmd_note_done("the images have been changed all the same");
    if (code == EXIT_DONE && (!args->disks.common.quiet || told.w))
        fwrite(text, 1, len, stdout);
    free(text);
    return code;
}

/* Those of --keep, and of --keep-xml. The names of the latter live as long as @files. */
static bool take_kept(struct name_list *keep, struct checkpoint_files *files, const struct cmd *cmd,
                      const struct reclaim_args *args)
{
    const char **list;

    if (args->keep.count + args->keep_xml.count == 0) {
        cmd_usage_error(cmd, "Expecting --keep or --keep-xml: what stays");
        return false;
    }
    if (!name_list_take(keep, &args->keep) || !checkpoint_files_read_dirs(files, &args->keep_xml))
        return false;
    list = realloc(keep->list, (keep->n + files->n) * sizeof *list);
    if (!list) {
        cmd_error("no memory");
        return false;
    }
    keep->list = list;
    for (size_t i = 0; i < files->n; i++)
        list[keep->n++] = checkpoint_file_name(files->list[i]);
    return true;
}

static int run_reclaim(const struct cmd *cmd, int argc, char **argv)
{
    struct reclaim_args args = { 0 };
    struct disk_list disks = { 0 };
    struct name_list keep = { 0 };
    struct checkpoint_files files = { 0 };
    int code = opt_parse(cmd, argc, argv, &args);

    if (code == OPT_GO_ON)
        code = disk_list_make(&disks, cmd, &args.disks) && take_kept(&keep, &files, cmd, &args) &&
                       checkpoint_undo_folder(&args.disks.common)
                   ? run(&args, &disks, &keep)
                   : EXIT_FAILED;
    name_list_free(&keep);
    checkpoint_files_free(&files);
    disk_list_free(&disks);
    free(args.keep.list);
    free(args.keep_xml.list);
    free(args.disks.actions.list);
    return code;
}

const struct cmd checkpoint_reclaim = {
    "checkpoint reclaim", NULL, "Remove all bitmaps but those of some checkpoints.", reclaim_opts, run_reclaim, NULL
};
