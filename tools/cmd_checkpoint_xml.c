/* cmd_checkpoint_xml.c - qcbm checkpoint xml: libvirt's XML of checkpoints, and the lines of virsh that take it
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "cmd_checkpoint.h"
#include "disk_files.h"
#include "every_args.h"
#include "json_write.h"
#include "opt_parse.h"
#include "output.h"
#include "qemu_text.h"

struct xml_args {
    struct disk_args disks;
    char **names;
    const char *parent, *folder, *description;
    uint64_t time;
};

static const struct opt xml_opts[] = {
    OPT_ROW(struct xml_args, NULL, 0, OPT_ARGS, names, "CHECKPOINT",
            "the names of checkpoints, each the parent of the next one"),
    OPT_DISK(struct xml_args),
    OPT_DOMAIN(struct xml_args),
    OPT_ROW(struct xml_args, "parent", 0, OPT_STRING, parent, "CHECKPOINT", "the parent of the first"),
    OPT_ROW(struct xml_args, "folder", 'o', OPT_STRING, folder, "FOLDER",
            "write CHECKPOINT.xml there, and print the lines of virsh"),
    OPT_ROW(struct xml_args, "time", 0, OPT_SIZE, time, "SECONDS", "when it was made, since 1970 (default: now)"),
    OPT_ROW(struct xml_args, "description", 0, OPT_STRING, description, "TEXT", "words for people"),
    COMMON_FLAG("force", 0, force, "replace files; and write what verify says is not valid"),
    OPT_COMMON_NO_LOCK,
    OPT_COMMON_FORCE_SHARE,
    OPT_COMMON_IMAGE_OPTS,
    OPT_END,
};

/* A checkpoint that libvirt would refuse is of no use to it. */
static int check(const struct xml_args *args, const struct disk_list *disks)
{
    struct qcbm_checkpoint_verify_options opt = QCBM_CHECKPOINT_VERIFY_OPTIONS_INIT;
    struct qcbm_checkpoint_report *report;
    struct qcbm_checkpoint_row row;
    struct qcbm_error err;
    int code = EXIT_DONE;

    opt.flags = common_reading(&args->disks.common);
    opt.names = (const char *const *)args->names;
    for (char **name = args->names; *name; name++)
        opt.n_names++;
    if (qcbm_checkpoint_verify(disks->list, sizeof disks->list[0], disks->n, &opt, &report, &err) < 0)
        return cmd_lib_error(&err, "Could not verify");
    for (uint32_t i = 0; qcbm_checkpoint_report_row(report, i, &row, sizeof row) == 0; i++) {
        if (!row.valid)
            code = cmd_error("checkpoint '%s' is not valid on disk '%s': %s", row.checkpoint, row.disk,
                             qcbm_checkpoint_reason_name(row.reason));
    }
    if (code != EXIT_DONE)
        cmd_hint("'qcbm checkpoint verify' says more, 'qcbm checkpoint mend' makes it valid");
    qcbm_checkpoint_report_free(report);
    return code;
}

/* ---- files --------------------------------------------------------------------------------------------- */

static int give(void *opaque, const void *bytes, size_t len)
{
    return fwrite(bytes, 1, len, opaque) != len;
}

/* Images that cannot be read are not opened for it: with --force nobody has asked for that. */
static int keep_disks(const struct xml_args *args, const struct disk_list *disks, const char *file)
{
    int code = EXIT_DONE;

    for (size_t i = 0; code == EXIT_DONE && i < disks->n; i++) {
        struct qcbm_image *img = NULL;
        struct qcbm_error err;

        if (cmd_try_open(disks->list[i].image, common_reading(&args->disks.common), &img, &err) == 0)
            code = disk_files_keep(file, img, NULL);
        qcbm_close(img);
    }
    return code;
}

static int write_one(const struct xml_args *args, const struct disk_list *disks, const char *parent, const char *name,
                     const char *file)
{
    struct qcbm_checkpoint_xml_content content = QCBM_CHECKPOINT_XML_CONTENT_INIT;
    struct output out;
    struct qcbm_error err;
    int code = output_open(&out, file, args->disks.common.force, false);

    if (code == EXIT_DONE && output_replaces(&out))
        code = keep_disks(args, disks, file);
    if (code != EXIT_DONE)
        return output_close(&out, code);
    content.name = name;
    content.parent = parent;
    content.description = args->description;
    content.creation_time = args->time;
    content.disks = (const char *const *)disks->targets;
    content.n_disks = disks->n;
    if (qcbm_checkpoint_xml_write(&content, give, out.file, &err) < 0)
        code = err.code == QCBM_E_ABORTED ? cmd_error("Could not write '%s': %s", file, strerror(errno))
                                          : cmd_lib_error(&err, "Could not write the XML of '%s'", name);
    return output_close(&out, code);
}

static const char *domain_name(const struct disk_list *disks)
{
    struct qcbm_domain_xml_info info;

    if (!disks->domain)
        return "DOMAIN";
    qcbm_domain_xml_get_info(disks->domain, &info, sizeof info);
    return info.name;
}

/* libvirt knows a parent before its child. */
static int write_all(const struct xml_args *args, const struct disk_list *disks)
{
    struct json_writer w = JSON_WRITER_INIT(stdout);
    const char *parent = args->parent;
    int code = EXIT_DONE;

    if (every_args.record)
        json_begin_array(&w, NULL);
    for (char **name = args->names; code == EXIT_DONE && *name; parent = *name++) {
        char *file = NULL;

        if (args->folder && asprintf(&file, "%s/%s.xml", args->folder, *name) < 0)
            return cmd_error("no memory");
        code = write_one(args, disks, parent, *name, file ? file : "-");
        if (file && code == EXIT_DONE && every_args.record) {
            json_begin_object(&w, NULL);
            json_string(&w, "checkpoint", *name);
            json_string(&w, "file", file);
            json_end_object(&w);
        } else if (file && code == EXIT_DONE) {
            printf("virsh checkpoint-create ");
            print_shell_name(stdout, domain_name(disks));
            putchar(' ');
            print_shell_name(stdout, file);
            printf(" --redefine\n");
        }
        free(file);
    }
    if (every_args.record)
        json_end_array(&w);
    return code;
}

static bool check_folder(const struct cmd *cmd, const struct xml_args *args)
{
    struct stat st;

    if (!args->folder && every_args.record) {
        cmd_usage_error(cmd, "Expecting --folder with --record: without it the XML is printed");
        return false;
    }
    if (!args->folder && args->names[1]) {
        cmd_usage_error(cmd, "Expecting --folder where there are several checkpoints");
        return false;
    }
    if (!args->folder || (stat(args->folder, &st) == 0 && S_ISDIR(st.st_mode)))
        return true;
    cmd_error("'%s' is no folder", args->folder);
    return false;
}

static int run_xml(const struct cmd *cmd, int argc, char **argv)
{
    struct xml_args args = { .time = (uint64_t)time(NULL) };
    struct disk_list disks = { 0 };
    int code = opt_parse(cmd, argc, argv, &args);

    if (code == OPT_GO_ON) {
        code = EXIT_FAILED;
        if (check_folder(cmd, &args) && disk_list_make(&disks, cmd, &args.disks))
            code = args.disks.common.force ? EXIT_DONE : check(&args, &disks);
        if (code == EXIT_DONE)
            code = write_all(&args, &disks);
    }
    disk_list_free(&disks);
    free(args.disks.actions.list);
    return code;
}

const struct cmd checkpoint_xml = { "checkpoint xml", NULL,    "Write libvirt's XML of checkpoints.",
                                    xml_opts,         run_xml, NULL };
