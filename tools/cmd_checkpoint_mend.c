/* cmd_checkpoint_mend.c - qcbm checkpoint mend: a checkpoint that libvirt refuses made one that it takes
 * SPDX-License-Identifier: MIT
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cmd_checkpoint.h"
#include "json_write.h"
#include "opt_parse.h"
#include "progress.h"
#include "qemu_text.h"

struct mend_args {
    struct disk_args disks;
    const char *name, *from, *journal;
    bool trust;
};

static const struct opt mend_opts[] = {
    OPT_ROW(struct mend_args, NULL, 0, OPT_ARG, name, "CHECKPOINT", "the name of the checkpoint"),
    OPT_DISK(struct mend_args),
    OPT_DOMAIN(struct mend_args),
    OPT_ROW(struct mend_args, "from", 0, OPT_STRING, from, "CHECKPOINT",
            "an older one that is valid stands in where this one is not"),
    OPT_ROW(struct mend_args, "trust", 0, OPT_FLAG, trust, NULL,
            "bits in use or disabled are complete: nobody wrote since"),
    COMMON_FLAG("force", 0, force, "where nothing tells what changed, all is dirty"),
    OPT_COMMON_DRY_RUN,
    OPT_CHECKPOINT_UNDO,
    OPT_CHECKPOINT_JOURNAL(struct mend_args),
    OPT_COMMON_OUTPUT,
    OPT_COMMON_QUIET,
    OPT_COMMON_PROGRESS,
    OPT_COMMON_NO_LOCK,
    OPT_COMMON_NO_SANDBOX,
    OPT_COMMON_IMAGE_OPTS,
    OPT_END,
};

/* Told disk by disk while the work goes on, and printed when it is done. */
struct told {
    const struct mend_args *args;
    struct json_writer *w; /* NULL: text */
    FILE *out;
    bool any, open; /* something changes; a disk is open in the JSON */
};

static void begin_disk(struct told *t, const char *disk)
{
    if (t->open)
        return;
    t->open = true;
    if (!t->w)
        return;
    json_begin_object(t->w, NULL);
    json_string(t->w, "disk", disk);
    json_begin_array(t->w, "changes");
}

static const char *const ways[] = {
    [QCBM_MENDED_ALLOCATED] = "what the layer has allocated",
    [QCBM_MENDED_UNION] = "what was stored, and what the layer has allocated",
    [QCBM_MENDED_TRUSTED] = "what was stored, as you say that nobody wrote since",
    [QCBM_MENDED_COPIED] = "a copy of the older checkpoint",
    [QCBM_MENDED_ALL] = "all of it, as nothing tells what changed",
    [QCBM_MENDED_TAIL] = "the end of the disk, of which a shorter layer below knows nothing",
};

static int tell_layer(void *opaque, const struct qcbm_mended_layer *l)
{
    struct told *t = opaque;

    t->any = true;
    begin_disk(t, l->disk);
    if (t->w) {
        json_begin_object(t->w, NULL);
        json_string(t->w, "image", l->layer);
        json_u64(t->w, "depth", l->depth);
        json_string(t->w, "bitmap", l->bitmap);
        json_string(t->w, "was", qcbm_checkpoint_reason_name(l->was));
        json_string(t->w, "took", qcbm_mended_way_name(l->way));
        json_u64(t->w, "granularity", l->granularity);
        json_u64(t->w, "dirty-bytes", l->dirty_bytes);
        json_end_object(t->w);
        return 0;
    }
    print_escaped(t->out, l->disk, strlen(l->disk));
    fprintf(t->out, ", ");
    print_escaped(t->out, l->layer, strlen(l->layer));
    if (strcmp(l->bitmap, t->args->name) != 0) {
        fprintf(t->out, ", bitmap '");
        print_escaped(t->out, l->bitmap, strlen(l->bitmap));
        fprintf(t->out, "' of that layer");
    }
    fprintf(t->out, ": %s; %s %s: %s dirty\n", qcbm_checkpoint_reason_name(l->was),
            t->args->disks.common.dry_run ? "would take" : "took", ways[l->way], size_text(l->dirty_bytes).text);
    return 0;
}

static int tell_disk(void *opaque, const struct qcbm_mended_disk *d)
{
    struct told *t = opaque;

    begin_disk(t, d->disk);
    t->open = false;
    if (t->w) {
        json_end_array(t->w);
        json_u64(t->w, "layers", d->layers);
        json_string(t->w, "begins", d->begins);
        json_u64(t->w, "dirty-bytes", d->dirty_bytes);
        json_u64(t->w, "stored-bytes", d->stored_bytes);
        json_u64(t->w, "over-copy-bytes", d->over_copy_bytes);
        json_end_object(t->w);
        return 0;
    }
    print_escaped(t->out, d->disk, strlen(d->disk));
    fprintf(t->out, ": %s%s dirty over %s, %s more than what was stored said; begins in ",
            t->args->disks.common.dry_run && d->mended ? "would be " : "", size_text(d->dirty_bytes).text,
            count_text(d->layers, "layer").text, size_text(d->over_copy_bytes).text);
    print_escaped(t->out, d->begins, strlen(d->begins));
    fprintf(t->out, "%s\n", d->mended ? "" : "; it was valid");
    return 0;
}

static void begin_report(struct told *t)
{
    if (!t->w)
        return;
    json_begin_object(t->w, NULL);
    json_string(t->w, "checkpoint", t->args->name);
    if (t->args->from)
        json_string(t->w, "from", t->args->from);
    json_begin_array(t->w, "disks");
}

static void end_report(struct told *t)
{
    if (!t->w)
        return;
    json_end_array(t->w);
    json_bool(t->w, "changed", t->any && !t->args->disks.common.dry_run);
    json_bool(t->w, "dry-run", t->args->disks.common.dry_run);
    json_end_object(t->w);
    json_finish(t->w);
}

static int mend(struct told *t, const struct disk_list *disks)
{
    const struct mend_args *args = t->args;
    struct qcbm_checkpoint_mend_options opt = QCBM_CHECKPOINT_MEND_OPTIONS_INIT;
    struct progress progress = { .wanted = args->disks.common.progress && !args->disks.common.quiet };
    const struct qcbm_progress way = progress_of(&progress);
    struct qcbm_error err;
    int ret;

    opt.progress = &way;
    opt.flags = common_writing(&args->disks.common);
    opt.how = (args->trust ? QCBM_MEND_TRUST : 0u) | (args->disks.common.force ? QCBM_MEND_FORCE : 0u);
    opt.from = args->from;
    opt.layer = tell_layer;
    opt.disk = tell_disk;
    opt.opaque = t;
    opt.undo = args->disks.common.undo;
    opt.journal = args->journal;
    begin_report(t);
    ret = qcbm_checkpoint_mend(disks->list, sizeof disks->list[0], disks->n, args->name, &opt, &err);
    progress_end(&progress, ret == 0);
    if (ret < 0)
        return cmd_lib_error(&err, "Could not mend '%s', and nothing was changed", args->name);
    end_report(t);
    return EXIT_DONE;
}

static int run(const struct mend_args *args, const struct disk_list *disks)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    struct json_writer w = JSON_WRITER_INIT(out);
    struct told told = { .args = args, .w = args->disks.common.output == OUTPUT_JSON ? &w : NULL, .out = out };
    int code;

    if (args->disks.common.dry_run)
        cmd_shut_in(args->disks.common.no_sandbox, true, NULL, NULL);
    code = out ? mend(&told, disks) : cmd_error("no memory");

    if (out && fclose(out) != 0 && code == EXIT_DONE)
        code = cmd_error("no memory for the answer");
    if (code == EXIT_DONE && told.any && !args->disks.common.dry_run)
        cmd_note_done("the images have been changed all the same");
    if (code == EXIT_DONE && (!args->disks.common.quiet || told.w))
        fwrite(text, 1, len, stdout);
    free(text);
    return code;
}

static int run_mend(const struct cmd *cmd, int argc, char **argv)
{
    struct mend_args args = { 0 };
    struct disk_list disks = { 0 };
    int code = opt_parse(cmd, argc, argv, &args);

    if (code == OPT_GO_ON)
        code = disk_list_make(&disks, cmd, &args.disks) && checkpoint_undo_folder(&args.disks.common)
                   ? run(&args, &disks)
                   : EXIT_FAILED;
    disk_list_free(&disks);
    free(args.disks.actions.list);
    return code;
}

const struct cmd checkpoint_mend = {
    "checkpoint mend", NULL, "Make a broken checkpoint valid, on all disks or none.", mend_opts, run_mend, NULL
};
