/* cmd_checkpoint_verify.c - qcbm checkpoint verify: what libvirt would say of checkpoints
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

enum { EXIT_NOT_VALID = 2 };

struct verify_args {
    struct disk_args disks;
    struct opt_actions names;
    char **xml;
};

static const struct opt verify_opts[] = {
    OPT_ROW(struct verify_args, NULL, 0, OPT_ARGS_PERHAPS, xml, "XML", "libvirt's XML of checkpoints"),
    OPT_DISK(struct verify_args),
    OPT_DOMAIN(struct verify_args),
    OPT_ROW(struct verify_args, "names", 0, OPT_ACTION, names, "NAME,...",
            "these checkpoints (default: all that are found)"),
    OPT_COMMON_OUTPUT,
    OPT_COMMON_QUIET,
    OPT_COMMON_PROGRESS,
    OPT_COMMON_FORCE_SHARE,
    OPT_COMMON_NO_LOCK,
    OPT_COMMON_NO_SANDBOX,
    OPT_COMMON_IMAGE_OPTS,
    OPT_END,
};

/* ---- text ---------------------------------------------------------------------------------------------- */

static const char *const remark_texts[] = {
    [QCBM_CHECKPOINT_ORPHAN] = "orphan",
    [QCBM_CHECKPOINT_ZOMBIE] = "zombie",
    [QCBM_CHECKPOINT_DEBRIS] = "debris",
    [QCBM_CHECKPOINT_GROWN_TAIL] = "grown tail",
    [QCBM_CHECKPOINT_SIZES_DIFFER] = "longer",
    [QCBM_CHECKPOINT_BEGINS_LATE] = "begins late",
    [QCBM_CHECKPOINT_OPEN_JOURNAL] = "open journal",
};

static void print_padded(const char *text, size_t width)
{
    size_t columns = escaped_columns(text, strlen(text));

    print_escaped(stdout, text, strlen(text));
    printf("%*s", columns < width ? (int)(width - columns) + 2 : 2, "");
}

struct widths {
    size_t checkpoint, disk;
};

static size_t wider(size_t width, const char *text)
{
    size_t columns = escaped_columns(text, strlen(text));

    return columns > width ? columns : width;
}

static void print_row(const struct qcbm_checkpoint_row *row, const struct widths *w)
{
    bool known = row->dirty_bytes != QCBM_UNKNOWN;

    print_padded(row->checkpoint, w->checkpoint);
    print_padded(row->disk, w->disk);
    printf("%-10s  %6" PRIu32 "  %9s  %11s", qcbm_checkpoint_reason_name(row->reason), row->layers,
           known ? size_text(row->dirty_bytes).text : "-", row->granularity ? size_text(row->granularity).text : "-");
    if (row->where) {
        printf("  ");
        print_escaped(stdout, row->where, strlen(row->where));
    }
    putchar('\n');
}

static void print_remark(const struct qcbm_checkpoint_remark *m)
{
    const char *const parts[] = { m->name, m->disk, m->layer };

    printf("%s:", remark_texts[m->kind]);
    for (size_t i = 0; i < 3; i++) {
        if (parts[i]) {
            printf(i == 2 ? ", " : " ");
            print_escaped(stdout, parts[i], strlen(parts[i]));
        }
    }
    if (m->kind == QCBM_CHECKPOINT_GROWN_TAIL)
        printf(
            ": the top is %s longer, of which this layer's bitmaps say nothing; a backup by libvirt takes equal sizes "
            "only",
            size_text(m->bytes).text);
    else if (m->kind == QCBM_CHECKPOINT_SIZES_DIFFER)
        printf(": %s longer than the top; a backup by libvirt takes equal sizes only", size_text(m->bytes).text);
    if (m->kind == QCBM_CHECKPOINT_BEGINS_LATE) {
        printf(": the younger '");
        print_escaped(stdout, m->other, strlen(m->other));
        printf("' begins there, so this one has lost its bitmaps in it, and covers the layers above it only");
    } else if (m->kind == QCBM_CHECKPOINT_OPEN_JOURNAL) {
        printf(": a change of several disks is under way or was cut short, so its bitmaps may become others yet; "
               "'qcbm checkpoint recover --dry-run ");
        print_shell_name(stdout, m->name);
        printf("' tells what it is about");
    }
    putchar('\n');
}

static void print_report(const struct qcbm_checkpoint_report *report, const struct qcbm_checkpoint_summary *sum)
{
    struct widths w = { strlen("CHECKPOINT"), strlen("DISK") };
    struct qcbm_checkpoint_row row;
    struct qcbm_checkpoint_remark remark;

    for (uint32_t i = 0; qcbm_checkpoint_report_row(report, i, &row, sizeof row) == 0; i++)
        w = (struct widths){ wider(w.checkpoint, row.checkpoint), wider(w.disk, row.disk) };
    if (sum->rows == 0)
        printf("no checkpoints\n");
    else
        printf("%-*s  %-*s  %-10s  %6s  %9s  %11s  %s\n", (int)w.checkpoint, "CHECKPOINT", (int)w.disk, "DISK",
               "VERDICT", "LAYERS", "DIRTY", "GRANULARITY", "BECAUSE OF");
    for (uint32_t i = 0; qcbm_checkpoint_report_row(report, i, &row, sizeof row) == 0; i++)
        print_row(&row, &w);
    for (uint32_t i = 0; qcbm_checkpoint_report_remark(report, i, &remark, sizeof remark) == 0; i++)
        print_remark(&remark);
}

/* ---- JSON ---------------------------------------------------------------------------------------------- */

static void write_row(struct json_writer *w, const struct qcbm_checkpoint_row *row)
{
    json_begin_object(w, NULL);
    json_string(w, "disk", row->disk);
    json_bool(w, "valid", row->valid);
    if (row->valid)
        json_null(w, "reason");
    else
        json_string(w, "reason", qcbm_checkpoint_reason_name(row->reason));
    json_u64(w, "layers", row->layers);
    if (row->granularity)
        json_u64(w, "granularity", row->granularity);
    else
        json_null(w, "granularity");
    if (row->dirty_bytes == QCBM_UNKNOWN)
        json_null(w, "dirty-bytes");
    else
        json_u64(w, "dirty-bytes", row->dirty_bytes);
    json_u64(w, "tail-bytes", row->tail_bytes);
    if (row->where)
        json_string(w, "where", row->where);
    if (row->begins)
        json_string(w, "begins", row->begins);
    json_end_object(w);
}

static void write_checkpoints(struct json_writer *w, const struct qcbm_checkpoint_report *report)
{
    const char *open = NULL;
    struct qcbm_checkpoint_row row;

    json_begin_array(w, "checkpoints");
    for (uint32_t i = 0; qcbm_checkpoint_report_row(report, i, &row, sizeof row) == 0; i++) {
        if (open != row.checkpoint) { /* a string of the report, the same for all rows of a checkpoint */
            if (open) {
                json_end_array(w);
                json_end_object(w);
            }
            open = row.checkpoint;
            json_begin_object(w, NULL);
            json_string(w, "name", open);
            json_begin_array(w, "disks");
        }
        write_row(w, &row);
    }
    if (open) {
        json_end_array(w);
        json_end_object(w);
    }
    json_end_array(w);
}

static void write_remark(struct json_writer *w, const struct qcbm_checkpoint_remark *m)
{
    if (m->kind == QCBM_CHECKPOINT_ZOMBIE) {
        json_string(w, NULL, m->name);
        return;
    }
    json_begin_object(w, NULL);
    if (m->name)
        json_string(w, m->kind == QCBM_CHECKPOINT_OPEN_JOURNAL ? "journal" : "name", m->name);
    if (m->other)
        json_string(w, "younger", m->other);
    json_string(w, "disk", m->disk);
    json_string(w, "image", m->layer);
    if (m->kind == QCBM_CHECKPOINT_GROWN_TAIL || m->kind == QCBM_CHECKPOINT_SIZES_DIFFER)
        json_u64(w, "bytes", m->bytes);
    json_end_object(w);
}

static void write_remarks(struct json_writer *w, const struct qcbm_checkpoint_report *report, const char *key,
                          enum qcbm_checkpoint_remark_kind kind)
{
    struct qcbm_checkpoint_remark remark;

    json_begin_array(w, key);
    for (uint32_t i = 0; qcbm_checkpoint_report_remark(report, i, &remark, sizeof remark) == 0; i++) {
        if (remark.kind == kind)
            write_remark(w, &remark);
    }
    json_end_array(w);
}

static void write_report(const struct qcbm_checkpoint_report *report, bool valid)
{
    struct json_writer w = JSON_WRITER_INIT(stdout);

    json_begin_object(&w, NULL);
    json_bool(&w, "valid", valid);
    write_checkpoints(&w, report);
    write_remarks(&w, report, "orphans", QCBM_CHECKPOINT_ORPHAN);
    write_remarks(&w, report, "zombies", QCBM_CHECKPOINT_ZOMBIE);
    write_remarks(&w, report, "debris", QCBM_CHECKPOINT_DEBRIS);
    write_remarks(&w, report, "grown-tails", QCBM_CHECKPOINT_GROWN_TAIL);
    write_remarks(&w, report, "longer-layers", QCBM_CHECKPOINT_SIZES_DIFFER);
    write_remarks(&w, report, "begins-late", QCBM_CHECKPOINT_BEGINS_LATE);
    write_remarks(&w, report, "open-journals", QCBM_CHECKPOINT_OPEN_JOURNAL);
    json_end_object(&w);
    json_finish(&w);
}

/* ---- the work ------------------------------------------------------------------------------------------ */

/* A checkpoint of other disks than these has no row, and is not valid either: a zombie. Nothing is while a journal is
 * open. */
static bool has_more_to_say(const struct qcbm_checkpoint_report *report)
{
    struct qcbm_checkpoint_remark m;

    for (uint32_t i = 0; qcbm_checkpoint_report_remark(report, i, &m, sizeof m) == 0; i++) {
        if (m.kind == QCBM_CHECKPOINT_ZOMBIE || m.kind == QCBM_CHECKPOINT_OPEN_JOURNAL)
            return true;
    }
    return false;
}

static int show(const struct verify_args *args, const struct qcbm_checkpoint_report *report)
{
    struct qcbm_checkpoint_summary sum;
    bool valid;

    qcbm_checkpoint_report_summary(report, &sum, sizeof sum);
    valid = sum.valid_rows == sum.rows && !has_more_to_say(report);
    if (args->disks.common.output == OUTPUT_JSON)
        write_report(report, valid);
    else if (!args->disks.common.quiet)
        print_report(report, &sum);
    return valid ? EXIT_DONE : EXIT_NOT_VALID;
}

static int verify(const struct verify_args *args, const struct disk_list *disks, const struct name_list *names,
                  const struct checkpoint_files *files)
{
    const struct common_args *common = &args->disks.common;
    struct progress progress = { .wanted = common->progress && !common->quiet };
    const struct qcbm_progress told = progress_of(&progress);
    struct qcbm_checkpoint_verify_options opt = QCBM_CHECKPOINT_VERIFY_OPTIONS_INIT;
    struct qcbm_checkpoint_report *report;
    struct qcbm_error err;
    int ret, code;

    opt.flags = common_reading(common);
    opt.names = names->list;
    opt.n_names = names->n;
    opt.xml = (const struct qcbm_checkpoint_xml *const *)files->list;
    opt.n_xml = files->n;
    opt.progress = &told;
    ret = qcbm_checkpoint_verify(disks->list, sizeof disks->list[0], disks->n, &opt, &report, &err);
    progress_end(&progress, ret == 0);
    if (ret < 0) {
        cmd_lib_error(&err, "Could not verify");
        cmd_hint_at_sharing(&err, opt.flags);
        return EXIT_FAILED;
    }
    code = show(args, report);
    qcbm_checkpoint_report_free(report);
    return code;
}

static int run_verify(const struct cmd *cmd, int argc, char **argv)
{
    struct verify_args args = { 0 };
    struct disk_list disks = { 0 };
    struct name_list names = { 0 };
    struct checkpoint_files files = { 0 };
    int code = opt_parse(cmd, argc, argv, &args);

    if (code == OPT_GO_ON) {
        bool ok = disk_list_make(&disks, cmd, &args.disks) && checkpoint_files_read(&files, args.xml) &&
                  name_list_take(&names, &args.names);

        code = EXIT_FAILED;
        if (ok) {
            cmd_shut_in(args.disks.common.no_sandbox, true, NULL, NULL);
            code = verify(&args, &disks, &names, &files);
        }
    }
    checkpoint_files_free(&files);
    name_list_free(&names);
    free(args.names.list);
    disk_list_free(&disks);
    free(args.disks.actions.list);
    return code;
}

const struct cmd checkpoint_verify = {
    "checkpoint verify", NULL,       "Tell what libvirt would say of the checkpoints.",
    verify_opts,         run_verify, "0 all are valid, 1 failed, 2 not all are valid"
};
