/* cmd_attach.c - qcbm attach: a metadata image for a raw disk, so that it has bitmaps
 * SPDX-License-Identifier: MIT
 */
#include "cmd_attach.h"
#include "image_name.h"
#include "opt_parse.h"
#include "progress.h"

COMMON_ARGS_FIRST(struct attach_args);

static const struct opt attach_opts[] = {
    OPT_ROW(struct attach_args, NULL, 0, OPT_ARG, common.path, "IMAGE",
            "the metadata image; the raw disk goes with --data"),
    OPT_ROW(struct attach_args, "data", 0, OPT_STRING, data, "FILE",
            "the raw disk, a file or block device, which is only read"),
    OPT_ROW(struct attach_args, "cluster-size", 0, OPT_SIZE, cluster_size, "C",
            "size of a cluster, which is what a guest can discard\n(default: 64k, for a device up to 2M)"),
    OPT_ROW(struct attach_args, "extended-l2", 0, OPT_FLAG, extended_l2, NULL,
            "clusters of 32 subclusters, in which a guest can have zeros;\nit discards whole clusters (of 2M if "
            "nothing else is said)"),
    OPT_ROW(struct attach_args, "data-name", 0, OPT_STRING, data_name, "N",
            "store this name of the raw disk, which must lead to it\n(default: its absolute name)"),
    OPT_ROW(struct attach_args, "bitmap", 0, OPT_STRING, bitmap, "N", "with a first bitmap of this name, clean"),
    OPT_ROW(struct attach_args, "granularity", 'g', OPT_SIZE, granularity, "G", "bytes for which a bit of it stands"),
    OPT_ROW(struct attach_args, "disabled", 0, OPT_FLAG, disabled, NULL, "it does not record"),
    OPT_ROW(struct attach_args, "verify", 0, OPT_FLAG, verify, NULL,
            "does the image show the raw disk as it is? Changes nothing"),
    OPT_ROW(
        struct attach_args, "reset", 0, OPT_FLAG, reset, NULL,
        "have the image show the raw disk as it is, whatever was\ndiscarded; what changes for the guest gets dirty"),
    OPT_COMMON_DRY_RUN,
    OPT_ROW(struct attach_args, "undo", 0, OPT_STRING, common.undo, "FILE",
            "with --reset: save what is overwritten to this new file"),
    OPT_ROW(struct attach_args, "force", 0, OPT_FLAG, common.force, NULL,
            "though the raw disk begins as an image does, or the name\ndoes not lead to it from here"),
    OPT_COMMON_FORCE_SHARE,
    OPT_COMMON_QUIET,
    OPT_COMMON_PROGRESS,
    OPT_COMMON_OUTPUT,
    OPT_COMMON_NO_LOCK,
    OPT_COMMON_NO_SANDBOX,
    OPT_END,
};

static bool has_attach_options(const struct attach_args *args)
{
    return args->cluster_size != UINT64_MAX || args->extended_l2 || args->data_name || args->bitmap ||
           args->granularity != UINT64_MAX || args->disabled || args->common.force;
}

/* What cannot go together. */
static int check_args(const struct cmd *cmd, const struct attach_args *args)
{
    const struct common_args *common = &args->common;
    bool attaches = !args->verify && !args->reset;

    if (args->verify && args->reset)
        return cmd_usage_error(cmd, "--verify and --reset are different jobs");
    if (attaches && !args->data)
        return cmd_usage_error(cmd, "Expecting --data FILE, --verify or --reset");
    if (!attaches && has_attach_options(args))
        return cmd_usage_error(cmd, "--%s goes with --data, --undo and the options that all commands have",
                               args->verify ? "verify" : "reset");
    if (common->undo && !args->reset)
        return cmd_usage_error(cmd, "--undo goes with --reset: otherwise nothing is overwritten");
    if (common->force_share && !args->verify)
        return cmd_usage_error(cmd, "-U goes with --verify: nobody may write to the raw disk meanwhile");
    if (args->verify && common->dry_run)
        return cmd_usage_error(cmd, "--verify changes nothing: --dry-run does not go with it");
    if (!args->bitmap && (args->granularity != UINT64_MAX || args->disabled))
        return cmd_usage_error(cmd, "-g and --disabled go with --bitmap");
    if (args->cluster_size != UINT64_MAX && (args->cluster_size == 0 || args->cluster_size > UINT32_MAX))
        return cmd_error("a cluster has 512 bytes to 2 MiB, a power of two");
    if (args->granularity == 0)
        return cmd_error("Granularity must be power of 2 and at least 512");
    return EXIT_DONE;
}

static struct qcbm_attach_options options_of(const struct attach_args *args, const struct qcbm_progress *progress)
{
    struct qcbm_attach_options o = QCBM_ATTACH_OPTIONS_INIT;

    o.cluster_size = args->cluster_size == UINT64_MAX ? 0 : (uint32_t)args->cluster_size;
    o.flags = (args->common.dry_run ? QCBM_ATTACH_DRY_RUN : 0) | (args->common.force ? QCBM_ATTACH_FORCE : 0) |
              (args->common.no_lock ? QCBM_ATTACH_NO_LOCK : 0) | (args->extended_l2 ? QCBM_ATTACH_EXTENDED_L2 : 0) |
              (args->disabled ? QCBM_ATTACH_BITMAP_DISABLED : 0);
    o.data_name = args->data_name;
    o.bitmap = args->bitmap;
    o.granularity = args->granularity == UINT64_MAX ? 0 : args->granularity;
    o.progress = progress;
    return o;
}

static int attach(const struct attach_args *args)
{
    struct progress shown = { .wanted = args->common.progress && !args->common.quiet };
    const struct qcbm_progress progress = progress_of(&shown);
    struct qcbm_attach_options options = options_of(args, &progress);
    struct qcbm_attach_result result;
    struct qcbm_error err;
    int ret = qcbm_attach(args->data, args->common.path, &options, &result, sizeof result, &err);

    progress_end(&shown, ret == 0);
    if (ret < 0)
        return cmd_lib_error(&err, "Could not attach '%s'", args->data);
    if (!args->common.dry_run)
        cmd_note_done("the new image has been written all the same");
    return attach_print(args, &result);
}

static int run_attach(const struct cmd *cmd, int argc, char **argv)
{
    struct attach_args args = { .cluster_size = UINT64_MAX, .granularity = UINT64_MAX };
    int code = opt_parse(cmd, argc, argv, &args);

    if (code != OPT_GO_ON)
        return code;
    code = check_args(cmd, &args);
    if (code != EXIT_DONE)
        return code;
    if (!common_take_name(&args.common) || image_name_is_server(args.data))
        return EXIT_FAILED;
    if (args.verify)
        return attach_verify(&args);
    return args.reset ? attach_reset(&args) : attach(&args);
}

const struct cmd cmd_attach = { "attach",
                                "(--data FILE | --verify | --reset) IMAGE",
                                "Make a metadata image for a raw disk, so that it has bitmaps, or verify one.",
                                attach_opts,
                                run_attach,
                                "0 done, or all is well, 1 failed, 2 --verify found something that is not" };
