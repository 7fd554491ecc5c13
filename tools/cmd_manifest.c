/* cmd_manifest.c - qcbm manifest: digests of what a disk holds, made, brought up to date, compared
 * SPDX-License-Identifier: MIT
 */
#include "cmd_manifest.h"
#include "opt_parse.h"

static const struct opt manifest_opts[] = {
    OPT_ROW(struct manifest_args, NULL, 0, OPT_ARG_PERHAPS, common.path, "IMAGE", "one image file name"),
    OPT_ROW(struct manifest_args, NULL, 0, OPT_ARG_SURPLUS, surplus, NULL, NULL),
    OPT_ROW(struct manifest_args, "out", 'o', OPT_STRING, out, "OUT", "write the manifest there (default: stdout)"),
    OPT_ROW(struct manifest_args, "granularity", 'g', OPT_SIZE, granularity, "SIZE",
            "bytes per digest, a power of 2 from 512 to 4M\n(default: 64k)"),
    OPT_ROW(struct manifest_args, "digest", 0, OPT_STRING, digest, "xxh3|sha256",
            "kind of digest (default: xxh3, which is no protection\nagainst guests that know the manifest)"),
    OPT_ROW(struct manifest_args, "text", 0, OPT_STRING, text, "TEXT", "what the manifest is to say of itself"),
    OPT_ROW(struct manifest_args, "image-id", 0, OPT_STRING, image_id, "UUID", "and the id that it is to have"),
    OPT_ROW(struct manifest_args, "update", 0, OPT_STRING, update, "MANIFEST",
            "bring the manifest of IMAGE up to date: read what the\nbitmap has dirty, and replace it"),
    OPT_ROW(struct manifest_args, "bitmap", 'b', OPT_STRING, bitmap, "BITMAP",
            "the bitmap of IMAGE with all that was written since"),
    OPT_ROW(struct manifest_args, "verify", 0, OPT_STRING, verify, "MANIFEST",
            "compare IMAGE with it, or with a fixed index (.fidx) of\nProxmox Backup Server"),
    OPT_ROW(struct manifest_args, "info", 0, OPT_STRING, info, "MANIFEST", "show what it says of itself"),
    OPT_COMMON_FORMAT_OR_RAW,
    COMMON_FLAG("force", 0, force, "OUT may exist, and is replaced"),
    OPT_COMMON_FORCE_SHARE,
    OPT_COMMON_QUIET,
    OPT_COMMON_PROGRESS,
    OPT_COMMON_OUTPUT,
    COMMON_ROW("threads", 0, OPT_SIZE, threads, "N", "read with N threads (default: 16)"),
    OPT_COMMON_BELOW,
    OPT_COMMON_NO_LOCK,
    OPT_COMMON_NO_SANDBOX,
    OPT_COMMON_IMAGE_OPTS,
    OPT_END,
};

static int check_usage(const struct cmd *cmd, const struct manifest_args *a)
{
    bool making = !a->verify && !a->info;

    if ((a->update != NULL) + (a->verify != NULL) + (a->info != NULL) > 1)
        return cmd_usage_error(cmd, "--update, --verify and --info exclude each other");
    if (a->info ? a->common.path != NULL : !a->common.path || a->surplus)
        return cmd_usage_error(cmd, a->info ? "--info takes no image" : "Expecting one image file name");
    if (a->info && a->common.below)
        return cmd_usage_error(cmd, "--info takes no image, so no --below");
    if ((a->bitmap != NULL) != (a->update != NULL))
        return cmd_usage_error(cmd, "--update and --bitmap go together");
    if (a->out && (a->update || !making))
        return cmd_usage_error(cmd, "-o is for a new manifest");
    if (!making && (a->granularity || a->digest || a->text || a->image_id || a->common.force))
        return cmd_usage_error(cmd, "-g, --digest, --text, --image-id and --force are for making a manifest");
    if (a->digest && manifest_digest_of(a->digest) == 0)
        return cmd_usage_error(cmd, "--digest takes xxh3 or sha256");
    return EXIT_DONE;
}

static int run_manifest(const struct cmd *cmd, int argc, char **argv)
{
    struct manifest_args args = { .out = NULL };
    int code = opt_parse(cmd, argc, argv, &args);

    if (code != OPT_GO_ON)
        return code;
    if (check_usage(cmd, &args) != EXIT_DONE)
        return EXIT_FAILED;
    if (args.info)
        return manifest_info(&args);
    if (!common_take_name_or_uri(&args.common))
        return EXIT_FAILED;
    return args.verify ? manifest_verify(&args) : manifest_make(&args);
}

const struct cmd cmd_manifest = {
    "manifest",
    "IMAGE  |  --update=MANIFEST --bitmap=BITMAP IMAGE  |  --verify=MANIFEST IMAGE  |  --info=MANIFEST",
    "Make digests of what a disk holds, and compare a disk with them.",
    manifest_opts,
    run_manifest,
    "0 done, or equal, 1 failed, or the manifest is no good, 2 not equal (--verify)",
};
