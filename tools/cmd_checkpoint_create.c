/* cmd_checkpoint_create.c - qcbm checkpoint create: a bitmap on every disk of a machine, or on none
 * SPDX-License-Identifier: MIT
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cmd_checkpoint.h"
#include "opt_parse.h"
#include "output.h"
#include "plan_out.h"
#include "qemu_text.h"

struct create_args {
    struct disk_args disks;
    const char *name, *journal, *xml, *parent;
    uint64_t granularity;
    bool freeze, resume;
};
_Static_assert(offsetof(struct create_args, disks) == 0, "rows of disks");

static const struct opt create_opts[] = {
    OPT_ROW(struct create_args, NULL, 0, OPT_ARG, name, "CHECKPOINT", "the name of the checkpoint"),
    OPT_DISK(struct create_args),
    OPT_DOMAIN(struct create_args),
    OPT_OVERLAY(struct create_args),
    OPT_ROW(struct create_args, "freeze", 0, OPT_FLAG, freeze, NULL,
            "disable the bitmaps of an image that gets an overlay"),
    OPT_ROW(struct create_args, "granularity", 'g', OPT_SIZE, granularity, "SIZE",
            "bytes that one bit stands for (default: the cluster size of each image,\nbut 4 KiB to 64 KiB)"),
    OPT_ROW(struct create_args, "journal", 0, OPT_STRING, journal, "FILE",
            "where the journal is kept meanwhile (default: beside the first image)"),
    OPT_ROW(struct create_args, "resume", 0, OPT_FLAG, resume, NULL,
            "a disk that has the bitmap already, recording and empty, is done"),
    OPT_ROW(struct create_args, "xml", 0, OPT_STRING, xml, "FILE",
            "write libvirt's XML of the checkpoint to this new file"),
    OPT_ROW(struct create_args, "parent", 0, OPT_STRING, parent, "CHECKPOINT",
            "with --xml: the checkpoint before this one"),
    COMMON_FLAG("force", 0, force, "though bitmaps are in use; over what is on the block device of an overlay"),
    OPT_COMMON_DRY_RUN,
    COMMON_ROW("undo", 0, OPT_STRING, undo, "FOLDER", "save what is overwritten to TARGET.undo there, for qcbm undo"),
    OPT_COMMON_FORMAT,
    OPT_COMMON_FORCE_SHARE,
    OPT_COMMON_QUIET,
    OPT_COMMON_OUTPUT,
    OPT_COMMON_NO_LOCK,
    OPT_COMMON_NO_SANDBOX,
    OPT_COMMON_IMAGE_OPTS,
    OPT_END,
};

/* ---- what is told -------------------------------------------------------------------------------------- */

struct disk_told {
    struct qcbm_checkpoint_told told;
    struct plan plan; /* the steps of a dry run */
};

struct told_list {
    struct disk_told *list;
    size_t n, room;
};

static int keep_disk(void *opaque, const struct qcbm_checkpoint_told *told)
{
    struct told_list *all = opaque;

    if (all->n == all->room)
        return 1;
    all->list[all->n++] = (struct disk_told){ .told = *told, .plan = { .made = true, .summary = told->plan } };
    return 0;
}

static int keep_step(void *opaque, const struct qcbm_checkpoint_told *told, const struct qcbm_plan_step *step)
{
    struct told_list *all = opaque;

    (void)told;
    return plan_collect(&all->list[all->n - 1].plan, step);
}

static void put_name(const char *name)
{
    putchar('\'');
    print_escaped(stdout, name, strlen(name));
    putchar('\'');
}

static void print_disk(const struct disk_told *one, bool dry_run)
{
    const struct qcbm_checkpoint_told *t = &one->told;

    print_escaped(stdout, t->target, strlen(t->target));
    if (t->outcome == QCBM_CHECKPOINT_THERE) {
        printf(": ");
        put_name(t->image);
        printf(" has it already, empty and recording\n");
        return;
    }
    printf(": %s ", dry_run ? "would be made in" : "made in");
    put_name(t->overlay ? t->overlay : t->image);
    if (t->overlay) {
        printf(", a new image on top of ");
        put_name(t->image);
    }
    printf(", granularity %s", size_text(t->granularity).text);
    if (t->overlay)
        printf("; %s of that image %s on in it, %" PRIu32 " %s disabled there", count_text(t->continued, "bitmap").text,
               t->continued == 1 ? "goes" : "go", t->disabled, t->disabled == 1 ? "is" : "are");
    putchar('\n');
    if (dry_run && t->plan.writes)
        plan_print(&one->plan, stdout);
}

static void print_text(const struct create_args *args, const struct told_list *all)
{
    printf("checkpoint ");
    put_name(args->name);
    printf(" of %s\n", count_text(all->n, "disk").text);
    for (size_t i = 0; i < all->n; i++)
        print_disk(&all->list[i], args->disks.common.dry_run);
}

static void write_disk(const struct disk_told *one, bool dry_run, struct json_writer *w)
{
    const struct qcbm_checkpoint_told *t = &one->told;

    json_begin_object(w, NULL);
    json_string(w, "disk", t->target);
    json_string(w, "image", t->image);
    if (t->overlay)
        json_string(w, "overlay", t->overlay);
    json_string(w, "outcome", t->outcome == QCBM_CHECKPOINT_THERE ? "there" : "created");
    json_u64(w, "granularity", t->granularity);
    if (t->overlay) {
        json_u64(w, "continued", t->continued);
        json_u64(w, "disabled", t->disabled);
        json_u64(w, "overlay-size", t->overlay_size);
    }
    plan_write_json(&one->plan, dry_run, w);
    json_end_object(w);
}

static void print_json(const struct create_args *args, const struct told_list *all)
{
    struct json_writer w = JSON_WRITER_INIT(stdout);

    json_begin_object(&w, NULL);
    json_string(&w, "checkpoint", args->name);
    json_begin_array(&w, "disks");
    for (size_t i = 0; i < all->n; i++)
        write_disk(&all->list[i], args->disks.common.dry_run, &w);
    json_end_array(&w);
    json_bool(&w, "dry-run", args->disks.common.dry_run);
    json_end_object(&w);
    json_finish(&w);
}

/* ---- the work ------------------------------------------------------------------------------------------ */

static struct qcbm_checkpoint_options options_of(const struct create_args *args, struct told_list *all)
{
    const struct common_args *common = &args->disks.common;
    struct qcbm_checkpoint_options o = QCBM_CHECKPOINT_OPTIONS_INIT;

    o.flags = (args->freeze ? QCBM_CHECKPOINT_FREEZE : 0) | (args->resume ? QCBM_CHECKPOINT_RESUME : 0) |
              (common->force ? QCBM_CHECKPOINT_FORCE : 0) | (common->dry_run ? QCBM_CHECKPOINT_DRY_RUN : 0);
    o.open_flags = common_reading(common);
    o.granularity = args->granularity;
    o.journal = args->journal;
    o.undo_folder = common->undo;
    o.disk = keep_disk;
    o.step = keep_step;
    o.opaque = all;
    return o;
}

/* ---- libvirt's XML ------------------------------------------------------------------------------------- */

static int put_xml(void *opaque, const void *bytes, size_t len)
{
    return opaque && fwrite(bytes, 1, len, opaque) != len;
}

/* To @file; with NULL only whether it can be written is found out. */
static int write_xml(const struct create_args *args, const struct disk_list *disks, FILE *file)
{
    const char **targets = calloc(disks->n, sizeof *targets);
    struct qcbm_checkpoint_xml_content content = QCBM_CHECKPOINT_XML_CONTENT_INIT;
    struct qcbm_error err;
    int ret;

    if (!targets)
        return cmd_error("no memory");
    for (size_t i = 0; i < disks->n; i++)
        targets[i] = disks->list[i].target;
    content.name = args->name;
    content.parent = args->parent;
    content.creation_time = (uint64_t)time(NULL);
    content.disks = targets;
    content.n_disks = disks->n;
    ret = qcbm_checkpoint_xml_write(&content, put_xml, file, &err);
    free(targets);
    return ret < 0 ? cmd_lib_error(&err, "XML of checkpoint '%s'", args->name) : EXIT_DONE;
}

static bool may_write_all(const struct disk_list *disks, const struct common_args *common)
{
    for (size_t i = 0; i < disks->n && !common->dry_run; i++) {
        if (!cmd_may_write(disks->list[i].image)) {
            cmd_error("Could not open '%s': Block node is read-only", disks->list[i].image);
            return false;
        }
    }
    return true;
}

static int create_images(const struct create_args *args, const struct disk_list *disks, struct told_list *all)
{
    const struct common_args *common = &args->disks.common;
    struct qcbm_checkpoint_options options = options_of(args, all);
    struct qcbm_checkpoint_result result;
    struct qcbm_error err;

    if (!may_write_all(disks, common) || !checkpoint_undo_folder(common))
        return EXIT_FAILED;
    if (qcbm_checkpoint_create(args->name, disks->list, sizeof disks->list[0], disks->n, &options, &result,
                               sizeof result, &err) < 0)
        return cmd_lib_error(&err, "Could not make checkpoint '%s'", args->name);
    if (!common->dry_run && result.created)
        cmd_note_done("the checkpoint has been made all the same");
    return EXIT_DONE;
}

/* What would be refused of the XML is refused first. */
static int create(const struct create_args *args, const struct disk_list *disks, struct told_list *all)
{
    const struct common_args *common = &args->disks.common;
    struct output out = { 0 };
    int code = args->xml ? write_xml(args, disks, NULL) : EXIT_DONE;

    if (code == EXIT_DONE && args->xml)
        code = output_open(&out, args->xml, false, common->dry_run);
    if (code != EXIT_DONE)
        return code;
    if (common->dry_run)
        cmd_shut_in(common->no_sandbox, true, NULL, NULL);
    code = create_images(args, disks, all);
    if (code == EXIT_DONE && args->xml)
        code = write_xml(args, disks, out.file);
    if (args->xml && output_close(&out, code) != EXIT_DONE)
        code = EXIT_FAILED;
    if (code == EXIT_DONE && common->output == OUTPUT_JSON)
        print_json(args, all);
    else if (code == EXIT_DONE && !common->quiet)
        print_text(args, all);
    return code;
}

static int run_create(const struct cmd *cmd, int argc, char **argv)
{
    struct create_args args = { 0 };
    struct told_list all = { 0 };
    struct disk_list disks = { 0 };
    int code = opt_parse(cmd, argc, argv, &args);

    if (code == OPT_GO_ON)
        code = disk_list_make(&disks, cmd, &args.disks) ? EXIT_DONE : EXIT_FAILED;
    if (code == EXIT_DONE && disks.n && args.parent && !args.xml)
        code = cmd_usage_error(cmd, "--parent goes with --xml: it is for libvirt, the images do not know of it");
    if (code == EXIT_DONE && disks.n && args.xml && strcmp(args.xml, "-") == 0)
        code = cmd_usage_error(cmd, "--xml expects a file: standard output is for what was done");
    if (code == EXIT_DONE && disks.n) {
        all = (struct told_list){ calloc(disks.n, sizeof *all.list), 0, disks.n };
        code = all.list ? create(&args, &disks, &all) : cmd_error("no memory");
    }
    for (size_t i = 0; i < all.n; i++)
        plan_clear(&all.list[i].plan);
    free(all.list);
    free(args.disks.actions.list);
    disk_list_free(&disks);
    return code;
}

const struct cmd checkpoint_create = { "checkpoint create", NULL,       "Make a bitmap on every disk, or on none.",
                                       create_opts,         run_create, NULL };
