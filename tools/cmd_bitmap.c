/* cmd_bitmap.c - qcbm bitmap: several operations on one bitmap, in order, in one commit; the syntax is qemu-img's
 * SPDX-License-Identifier: MIT
 */
#include <stdlib.h>

#include "cmd_bitmap_edit.h"
#include "image_name.h"
#include "opt_parse.h"

/* ---- verbs and options --------------------------------------------------------------------------------- */

/* A verb in one row: name, value and help for the user; then the members of struct bitmap_verb. */
#define VERB(name, value, help, ...)                                                                                   \
    {                                                                                                                  \
        name, 0, OPT_ACTION, offsetof(struct bitmap_args, actions), value, help, &(const struct bitmap_verb)           \
        {                                                                                                              \
            __VA_ARGS__                                                                                                \
        }                                                                                                              \
    }
#define EDIT (BITMAP_UNDO | BITMAP_DRY_RUN)    /* what every operation takes */
#define ON_NAME (BITMAP_NAME | BITMAP_WRITING) /* ... and needs */
#define OPTION(name, letter, kind, member, value, help)                                                                \
    OPT_ROW(struct bitmap_args, name, letter, kind, member, value, help)

/* clang-format off */
static const struct opt bitmap_opts[] = {
    OPTION(NULL, 0, OPT_ARG, common.path, "FILE", "filename"),
    OPTION(NULL, 0, OPT_ARG_PERHAPS, name, "NAME", "bitmap name"),
    OPTION(NULL, 0, OPT_ARG_SURPLUS, surplus, NULL, NULL),
    VERB("add", NULL, "create NAME, enabled and clean",
         .edit = bitmap_add, .takes = EDIT | BITMAP_GRANULARITY, .needs = ON_NAME),
    VERB("remove", NULL, "delete NAME, even if it is inconsistent",
         .edit = bitmap_remove, .takes = EDIT, .needs = ON_NAME),
    VERB("clear", NULL, "mark all of NAME clean",
         .edit = bitmap_clear, .takes = EDIT, .needs = ON_NAME),
    VERB("enable", NULL, "let NAME record writes",
         .edit = bitmap_enable, .takes = EDIT, .needs = ON_NAME),
    VERB("disable", NULL, "freeze NAME",
         .edit = bitmap_disable, .takes = EDIT, .needs = ON_NAME),
    VERB("merge", "SRC", "mark dirty in NAME what is dirty in SRC",
         .edit = bitmap_merge, .takes = EDIT | BITMAP_SOURCE | BITMAP_GROWN, .needs = ON_NAME),
    VERB("intersect", "SRC", "leave dirty in NAME only what is dirty in SRC",
         .edit = bitmap_intersect, .takes = EDIT | BITMAP_SOURCE, .needs = ON_NAME, .told = BITMAP_TOLD_FIGURES),
    VERB("subtract", "SRC", "mark clean in NAME what is dirty in SRC",
         .edit = bitmap_subtract, .takes = EDIT | BITMAP_SOURCE, .needs = ON_NAME, .told = BITMAP_TOLD_FIGURES),
    VERB("rename", "NEW", "call NAME so from here on",
         .edit = bitmap_rename, .takes = EDIT, .needs = ON_NAME, .told = BITMAP_TOLD_RENAMED),
    VERB("rotate", "NEW", "freeze NAME, and go on with NEW, clean and enabled",
         .edit = bitmap_rotate, .takes = EDIT, .needs = ON_NAME, .told = BITMAP_TOLD_ROTATED),
    VERB("regranularise", "SIZE", "change the granularity, rounding outward",
         .edit = bitmap_regranularise, .valid = bitmap_size_valid, .takes = EDIT, .needs = ON_NAME,
         .told = BITMAP_TOLD_FIGURES),
    VERB("set", "OFFSET:LENGTH", "mark these bytes dirty, rounding outward",
         .edit = bitmap_set, .valid = bitmap_range_valid, .takes = EDIT, .needs = ON_NAME, .told = BITMAP_TOLD_FIGURES),
    VERB("unset", "OFFSET:LENGTH", "mark these bytes clean, rounding inward",
         .edit = bitmap_unset, .valid = bitmap_range_valid, .takes = EDIT, .needs = ON_NAME,
         .told = BITMAP_TOLD_FIGURES),
    VERB("import", "IN", "create NAME from a file of --export, '-' for stdin",
         .edit = bitmap_import,
         .takes = EDIT | BITMAP_GRANULARITY | BITMAP_FORMAT | BITMAP_BASE64 | BITMAP_GROWN | BITMAP_CHECK |
                  BITMAP_CONTEXT,
         .needs = ON_NAME | BITMAP_INPUT,
         .told = BITMAP_TOLD_FIGURES),
    VERB("export", "OUT", "write NAME to the file OUT, '-' for stdout",
         .alone = bitmap_export, .takes = BITMAP_FORMAT | BITMAP_DRY_RUN, .needs = BITMAP_NAME),
    OPTION("format", 0, OPT_STRING, file_format, BITMAP_FORMATS,
           "of OUT and IN: with digest (default), bits, or extents\n"
           "as 'qcbm extents --output' has them; of IN also the XML\nof thin_delta"),
    OPTION("bit-order", 0, OPT_STRING, bit_order, "lsb|msb",
           "of raw bits: the first bit is the lowest of a byte (default),\nor the highest"),
    OPTION("check", 0, OPT_STRING, check, "MANIFEST",
           "with --import: only if FILE has what this manifest, or fixed\n"
           "index of Proxmox Backup Server, has of all that is dirty, and\nof a sample of the rest; reads the disk"),
    OPTION("context", 0, OPT_STRING, context, "C",
           "with --import: IN is the URI of an NBD server, of whose disk\nthis is taken: qemu:dirty-bitmap:NAME"),
    OPTION("base64", 0, OPT_FLAG, base64, NULL, "the bits of IN are in base64"),
    VERB("copy-to", "IMAGE", "put a copy of NAME into IMAGE, of the same virtual size",
         .alone = bitmap_copy, .takes = EDIT | BITMAP_AS | BITMAP_GROWN, .needs = ON_NAME | BITMAP_OTHER_IMAGE),
    VERB("collect", "SRC", "mark dirty in SRC of FILE what SRC of the images below has dirty,\nwhich are opened",
         .alone = bitmap_collect, .takes = EDIT | BITMAP_AS, .needs = BITMAP_WRITING | BITMAP_LAYERS),
    VERB("commit-into", "BASE", "merge the bitmaps of FILE into those of BASE below it, as\n"
                                "libvirt does; the data is for qemu-img commit",
         .alone = bitmap_commit, .takes = EDIT, .needs = BITMAP_WRITING | BITMAP_OTHER_IMAGE | BITMAP_LAYERS),
    OPTION("as", 0, OPT_STRING, as, "NEW",
           "name of the copy (default: NAME); with --collect of a new\nbitmap, which SRC is left alone for"),
    OPTION("grown", 0, OPT_FLAG, grown, NULL,
           "with --merge, --copy-to, --import: the disk may have been\nsmaller; what lies behind its end is dirty"),
    VERB("prune", "PATTERN", "delete the bitmaps of FILE whose names match, as a shell\nmatches names of files",
         .alone = bitmap_prune, .takes = EDIT | BITMAP_KEEP | BITMAP_CHAIN, .needs = BITMAP_WRITING),
    OPTION("keep", 0, OPT_SIZE, keep, "N", "of these keep the last N by name, numbers as numbers"),
    VERB("revive", NULL, "make NAME, which is in use after a crash, one that can be\n"
                         "relied on: what was stored and all that is allocated",
         .alone = bitmap_revive, .takes = EDIT | BITMAP_TRUST | BITMAP_AGAINST, .needs = ON_NAME),
    VERB("revive-all", NULL, "the same for all bitmaps of FILE that are in use",
         .alone = bitmap_revive, .takes = EDIT | BITMAP_TRUST, .needs = BITMAP_WRITING),
    OPTION("trust", 0, OPT_FLAG, trust, NULL, "of these take what was stored alone: nobody wrote since"),
    OPTION("against", 0, OPT_STRING, against, "MANIFEST",
           "with --revive: what differs from this manifest, or fixed index\n"
           "of Proxmox Backup Server, and nothing else; reads the disk"),
    VERB("list", NULL, "list all bitmaps of FILE with their dirty bytes and\nwhat is wrong with them",
         .alone = bitmap_list, .takes = BITMAP_CHAIN),
    OPTION("chain", 0, OPT_FLAG, chain, NULL, "with --list, --prune: also those of the images below FILE;\nopens them"),
    OPTION("backing-chain", 0, OPT_FLAG, chain, NULL, "the same, as info calls it"),
    OPTION("granularity", 'g', OPT_SIZE, granularity, "SIZE",
           "bytes per bit for --add and --import, a power of 2 from\n"
           "512 to 2G (default: the cluster size, within 4k and 64k)"),
    OPTION("source-file", 'b', OPT_STRING, source, "FILE", "take SRC from this image"),
    OPTION("source-format", 'F', OPT_STRING, source_format, "FMT", "format of that image"),
    OPT_COMMON_FORMAT,
    COMMON_FLAG("force", 0, force,
                "import into a disk that begins differently; let --export\n"
                "replace a file or what is on a block device"),
    OPT_COMMON_DRY_RUN,
    OPT_COMMON_UNDO,
    COMMON_FLAG("force-share", 'U', force_share, "with --list, --export or --dry-run: read while a writer is active"),
    OPT_COMMON_QUIET,
    OPT_COMMON_PROGRESS,
    OPT_COMMON_OUTPUT,
    OPT_COMMON_THREADS,
    OPT_COMMON_BELOW,
    OPT_COMMON_NO_LOCK,
    OPT_COMMON_NO_SANDBOX,
    OPT_COMMON_IMAGE_OPTS,
    OPT_END,
};
/* clang-format on */

/* ---- the command --------------------------------------------------------------------------------------- */

static int run_alone(const struct bitmap_args *args, struct opt_action *action)
{
    const struct bitmap_verb *verb = bitmap_verb_of(action);
    bool other_image = verb->needs & BITMAP_OTHER_IMAGE;

    if (other_image && !image_name_take(&action->value, NULL, false))
        return EXIT_FAILED;
    if (args->against)
        (void)qcbm_digest_load(QCBM_DIGEST_SHA256, NULL);       /* cannot be loaded later */
    if (args->common.dry_run && (verb->needs & BITMAP_WRITING)) /* it only reads then; those that always do see to it */
        common_shut_in(&args->common, (verb->needs & BITMAP_LAYERS) || args->chain || args->against,
                       other_image ? action->value : NULL);
    return verb->alone(args, action->value);
}

static int run_parsed(const struct cmd *cmd, struct bitmap_args *args)
{
    struct opt_action *alone = bitmap_alone(args);

    if (bitmap_check_usage(cmd, args) != EXIT_DONE || !common_take_name_or_uri(&args->common) ||
        !image_name_take(&args->source, &args->source_format, false))
        return EXIT_FAILED;
    return alone ? run_alone(args, alone) : bitmap_edit(args);
}

static int run_bitmap(const struct cmd *cmd, int argc, char **argv)
{
    struct bitmap_args args = { 0 };
    int code = opt_parse(cmd, argc, argv, &args);

    if (code == OPT_GO_ON)
        code = run_parsed(cmd, &args);
    free(args.actions.list);
    return code;
}

const struct cmd cmd_bitmap = {
    "bitmap",
    "FILE NAME  |  --list|--prune=PATTERN|--collect=SRC|--commit-into=BASE|--revive-all [OPTION]... FILE",
    "Change a bitmap: all operations named, in their order, or none of them.",
    bitmap_opts,
    run_bitmap,
    NULL
};
