/* cmd_delta.c - qcbm delta: what changed on a disk, as a file of its own
 * SPDX-License-Identifier: MIT
 */
#include "delta_args.h"
#include "opt_parse.h"

#define STRING(name, member, value, help) OPT_ROW(struct delta_args, name, 0, OPT_STRING, member, value, help)
#define FLAG(name, member, help) OPT_ROW(struct delta_args, name, 0, OPT_FLAG, member, NULL, help)

static const struct opt delta_opts[] = {
    OPT_ROW(struct delta_args, NULL, 0, OPT_ARGS, names, "FILE",
            "image and new file, or --info D, or --merge D1 D2... OUT"),
    STRING("bitmap", bitmap, "NAME", "what counts is what this dirty bitmap says"),
    FLAG("chain", chain, "the bitmaps of this name in all layers of the chain"),
    STRING("since", since, "BASE", "what the layers above this image of the chain have\nallocated"),
    STRING("since-snapshot", since_snapshot, "S",
           "what changed since this internal snapshot, named by\nid:ID, name:NAME, or one of both"),
    STRING("snapshot", snapshot, "S", "up to this one, not up to now"),
    FLAG("layer", layer, "what IMAGE itself has allocated"),
    OPT_ROW(
        struct delta_args, "granularity", 'g', OPT_SIZE, granularity, "SIZE",
        "what counts in units of this, a power of 2 from 512 to 2G\n(default: the cluster size, within 4k and 64k)"),
    OPT_ROW(struct delta_args, "refine", 0, OPT_STRING_PERHAPS, refine, "zero|content",
            "leave out what reads the same as before: zeros by\nmetadata alone, or by reading (default: content)"),
    STRING("refine-against", refine_against, "REFERENCE",
           "what the disk held before: an image, or snapshot:S\n(default: the backing chain)"),
    COMMON_FLAG("force", 0, force, "go on with a lost table, or a raw external data file"),
    OPT_ROW(struct delta_args, "form", 'O', OPT_STRING, form, "qcow2|raw+map|rbd-diff|vnb",
            "what the delta looks like (default: qcow2)"),
    OPT_ROW(struct delta_args, "compress", 'c', OPT_STRING, compression, "zlib|zstd",
            "compress clusters of the form qcow2"),
    OPT_ROW(struct delta_args, "cluster-size", 0, OPT_SIZE, cluster_size, "SIZE",
            "of the form qcow2, 4k to 2M (default: the granularity, at\nmost 64k)"),
    STRING("id", id, "ID", "32 hex digits, or a UUID, for the state that the delta\nleads to (default: at random)"),
    STRING("parent-id", parent_id, "ID", "of the state that it begins at"),
    STRING("note", note, "TEXT", "free text that goes along"),
    FLAG("info", info, "tell what the delta D is"),
    FLAG("merge", merge, "make one of the deltas D..., the oldest first; the last\nname is the new file"),
    FLAG("force-parent", force_parent, "with --merge: do not ask whether they follow one another"),
    FLAG("verify", verify, "with --info: read all of it, and compare with its digest"),
    OPT_COMMON_DRY_RUN,
    OPT_COMMON_FORMAT,
    OPT_COMMON_FORCE_SHARE,
    OPT_COMMON_PROGRESS,
    OPT_COMMON_QUIET,
    OPT_COMMON_OUTPUT,
    OPT_COMMON_THREADS,
    OPT_COMMON_BELOW,
    OPT_COMMON_NO_LOCK,
    OPT_COMMON_NO_SANDBOX,
    OPT_COMMON_IMAGE_OPTS,
    OPT_END,
};

static int run_delta(const struct cmd *cmd, int argc, char **argv)
{
    struct delta_args args = { 0 };
    int code = opt_parse(cmd, argc, argv, &args);

    if (code != OPT_GO_ON)
        return code;
    if (args.verify && !args.info)
        return cmd_usage_error(cmd, "--verify goes with --info");
    if (args.force_parent && !args.merge)
        return cmd_usage_error(cmd, "--force-parent goes with --merge");
    if (args.info && args.merge)
        return cmd_usage_error(cmd, "--info and --merge: one of them");
    if ((args.info || args.merge) && args.common.below)
        return cmd_usage_error(cmd, "--below is about an image of which a delta is made");
    if (args.merge)
        return delta_merge(cmd, &args);
    return args.info ? delta_info(cmd, &args) : delta_make(cmd, &args);
}

const struct cmd cmd_delta = { "delta",
                               "IMAGE OUT  |  --info D  |  --merge D1 D2... OUT",
                               "Write what changed on a disk to a file of its own.",
                               delta_opts,
                               run_delta,
                               NULL };
