/* cmd_snapshot.c - qcbm snapshot -l: the internal snapshots of an image
 * SPDX-License-Identifier: MIT
 *
 * Only the listing of qemu-img snapshot: making, applying and deleting snapshots rewrites mapping tables.
 */
#include <stdint.h>

#include "opt_parse.h"
#include "snapshots_out.h"

struct snapshot_args {
    const char *path, *format;
    bool list, quiet, force_share, no_lock, no_sandbox;
};

#define ONLY_LIST "qcbm only lists snapshots (-l); qemu-img makes, applies and deletes them"

static const struct opt snapshot_opts[] = {
    OPT_COMMON_FILE(snapshot_args),
    { NULL, 'l', OPT_FLAG, offsetof(struct snapshot_args, list), NULL, "list the snapshots" },
    OPT_COMMON_FORMAT(snapshot_args),
    { "force-share", 'U', OPT_FLAG, offsetof(struct snapshot_args, force_share), NULL,
      "read while a writer is active" },
    { "quiet", 'q', OPT_FLAG, offsetof(struct snapshot_args, quiet), NULL,
      "accepted; the list is printed all the same" },
    OPT_COMMON_NO_LOCK(snapshot_args),
    OPT_COMMON_NO_SANDBOX(snapshot_args),
    { NULL, 'a', OPT_REFUSED, 0, "SNAPSHOT", ONLY_LIST },
    { NULL, 'c', OPT_REFUSED, 0, "SNAPSHOT", ONLY_LIST },
    { NULL, 'd', OPT_REFUSED, 0, "SNAPSHOT", ONLY_LIST },
    OPT_COMMON_REFUSED,
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
    cmd_shut_in(args.no_sandbox, false, args.path, NULL);
    struct qcbm_image *img =
        cmd_open(args.path, args.format,
                 (args.force_share ? QCBM_OPEN_FORCE_SHARE : 0) | (args.no_lock ? QCBM_OPEN_NO_LOCK : 0));
    if (!img)
        return EXIT_FAILED;
    int code = list_snapshots(img, args.path);
    qcbm_close(img);
    return code;
}

const struct cmd cmd_snapshot = { "snapshot",    "-l FILE",    "List the internal snapshots.",
                                  snapshot_opts, run_snapshot, NULL };
