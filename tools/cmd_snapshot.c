/* cmd_snapshot.c - qcbm snapshot -l: the internal snapshots of an image
 * SPDX-License-Identifier: MIT
 *
 * Only the listing of qemu-img snapshot: making, applying and deleting snapshots rewrites mapping tables.
 */
#include <stdint.h>
#include <stdio.h>

#include "common_args.h"
#include "opt_parse.h"
#include "snapshots_out.h"

struct snapshot_args {
    struct common_args common;
    bool list;
};
COMMON_ARGS_FIRST(struct snapshot_args);

#define ONLY_LIST "qcbm only lists snapshots (-l); qemu-img makes, applies and deletes them"

static const struct opt snapshot_opts[] = {
    OPT_COMMON_FILE,
    OPT_ROW(struct snapshot_args, NULL, 'l', OPT_FLAG, list, NULL, "list the snapshots"),
    OPT_COMMON_FORMAT_OR_RAW,
    OPT_COMMON_FORCE_SHARE,
    OPT_ROW(struct snapshot_args, "quiet", 'q', OPT_FLAG, common.quiet, NULL,
            "accepted; the list is printed all the same"),
    OPT_COMMON_OUTPUT,
    OPT_COMMON_NO_LOCK,
    OPT_COMMON_NO_SANDBOX,
    OPT_NOT_HERE('a', "SNAPSHOT", ONLY_LIST),
    OPT_NOT_HERE('c', "SNAPSHOT", ONLY_LIST),
    OPT_NOT_HERE('d', "SNAPSHOT", ONLY_LIST),
    OPT_COMMON_IMAGE_OPTS,
    OPT_END,
};

static void print(const struct qcbm_image *img, uint32_t count, enum opt_output output)
{
    struct json_writer w = JSON_WRITER_INIT(stdout);

    if (output != OUTPUT_JSON) {
        snapshots_print(img, count);
        return;
    }
    snapshots_write(img, count, NULL, &w);
    json_finish(&w);
}

/* A raw image has none: @img is NULL. */
static int list_snapshots(struct qcbm_image *img, const struct common_args *common)
{
    struct qcbm_error err;
    uint32_t count = 0;

    if (img && qcbm_snapshots_load(img, &count, &err) < 0)
        return cmd_lib_error(&err, "Could not open '%s'", common->path);
    print(img, count, common->output);
    return EXIT_DONE;
}

static int run_snapshot(const struct cmd *cmd, int argc, char **argv)
{
    struct snapshot_args args = { 0 };
    int code = opt_parse(cmd, argc, argv, &args);

    if (code != OPT_GO_ON)
        return code;
    if (!args.list)
        return cmd_usage_error(cmd, "Expecting -l: %s", ONLY_LIST);
    if (!common_take_name_or_uri(&args.common))
        return EXIT_FAILED;
    common_shut_in(&args.common, false, NULL);
    struct cmd_disk disk;
    if (!common_open_disk(&args.common, common_reading(&args.common), &disk))
        return EXIT_FAILED;
    code = list_snapshots(disk.raw ? NULL : disk.img, &args.common);
    cmd_close_disk(&disk);
    return code;
}

const struct cmd cmd_snapshot = { "snapshot",    "-l FILE",    "List the internal snapshots.",
                                  snapshot_opts, run_snapshot, NULL };
