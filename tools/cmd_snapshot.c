/* cmd_snapshot.c - qcbm snapshot -l: the internal snapshots of an image
 * SPDX-License-Identifier: MIT
 *
 * Only the listing of qemu-img snapshot: making, applying and deleting snapshots rewrites mapping tables.
 */
#include <stdint.h>

#include "image_name.h"
#include "opt_parse.h"
#include "snapshots_out.h"

struct snapshot_args {
    const char *path, *format;
    const char *object; /* without effect */
    bool image_opts, list, quiet, force_share, no_lock, no_sandbox;
};

#define ONLY_LIST "qcbm only lists snapshots (-l); qemu-img makes, applies and deletes them"

static const struct opt snapshot_opts[] = {
    OPT_COMMON_FILE(snapshot_args),
    { NULL, 'l', OPT_FLAG, offsetof(struct snapshot_args, list), NULL, "list the snapshots" },
    OPT_COMMON_FORMAT_OR_RAW(snapshot_args),
    { "force-share", 'U', OPT_FLAG, offsetof(struct snapshot_args, force_share), NULL,
      "read while a writer is active" },
    { "quiet", 'q', OPT_FLAG, offsetof(struct snapshot_args, quiet), NULL,
      "accepted; the list is printed all the same" },
    OPT_COMMON_NO_LOCK(snapshot_args),
    OPT_COMMON_NO_SANDBOX(snapshot_args),
    { NULL, 'a', OPT_REFUSED, 0, "SNAPSHOT", ONLY_LIST },
    { NULL, 'c', OPT_REFUSED, 0, "SNAPSHOT", ONLY_LIST },
    { NULL, 'd', OPT_REFUSED, 0, "SNAPSHOT", ONLY_LIST },
    OPT_COMMON_IMAGE_OPTS(snapshot_args),
    OPT_END,
};

static int list_snapshots(struct qcbm_image *img, const char *path)
{
    struct qcbm_error err;
    uint32_t count;

    if (qcbm_snapshots_load(img, &count, &err) < 0)
        return cmd_lib_error(&err, "Could not open '%s'", path);
    snapshots_print(img, count);
    return EXIT_DONE;
}

static int run_snapshot(const struct cmd *cmd, int argc, char **argv)
{
    struct snapshot_args args = { 0 };
    enum opt_result parsed = opt_parse(cmd, argc, argv, &args);

    if (parsed != OPT_GO_ON)
        return parsed == OPT_HELP_SHOWN ? EXIT_DONE : EXIT_FAILED;
    if (!args.list)
        return cmd_usage_error(cmd, "Expecting -l: %s", ONLY_LIST);
    if (!image_name_take(&args.path, &args.format, args.image_opts))
        return EXIT_FAILED;
    cmd_shut_in(args.no_sandbox, false, args.path, NULL);
    unsigned flags = (args.force_share ? QCBM_OPEN_FORCE_SHARE : 0) | (args.no_lock ? QCBM_OPEN_NO_LOCK : 0);
    struct cmd_disk disk;
    if (!cmd_open_disk(args.path, args.format, flags, &disk))
        return EXIT_FAILED;
    int code = disk.raw ? EXIT_DONE : list_snapshots(disk.img, args.path); /* a raw image has none */
    cmd_close_disk(&disk);
    return code;
}

const struct cmd cmd_snapshot = { "snapshot",    "-l FILE",    "List the internal snapshots.",
                                  snapshot_opts, run_snapshot, NULL };
