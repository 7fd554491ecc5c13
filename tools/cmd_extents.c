/* cmd_extents.c - qcbm extents: the dirty extents of a bitmap, as nbdinfo --map prints them
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "common_args.h"
#include "extents_out.h"
#include "opt_parse.h"

struct extents_args {
    struct common_args common;
    const char *name, *with;
    uint64_t offset, limit;
};
COMMON_ARGS_FIRST(struct extents_args);

static const struct opt extents_opts[] = {
    OPT_ROW(struct extents_args, NULL, 0, OPT_ARG, common.path, "FILE", "filename"),
    OPT_ROW(struct extents_args, NULL, 0, OPT_ARG, name, "NAME", "bitmap name"),
    OPT_COMMON_FORMAT,
    OPT_COMMON_FORCE_SHARE,
    OPT_ROW(
        struct extents_args, "with", 0, OPT_STRING, with, "zero",
        "also tell where the guest reads zeros: type 2 is\nclean and zero, 3 dirty and zero; reads the backing chain"),
    OPT_ROW(struct extents_args, "offset", 0, OPT_SIZE, offset, "OFFSET",
            "begin at that byte of the disk (default: 0)"),
    OPT_ROW(struct extents_args, "limit", 0, OPT_SIZE, limit, "N", "end after so many extents"),
    OPT_COMMON_PROGRESS,
    OPT_COMMON_OUTPUT,
    OPT_COMMON_NO_LOCK,
    OPT_COMMON_NO_SANDBOX,
    OPT_COMMON_IMAGE_OPTS,
    OPT_END,
};

static int print_extents(struct qcbm_image *img, const struct extents_args *args)
{
    unsigned flags = (args->with ? QCBM_EXTENTS_ZERO : 0) | (args->common.force_share ? QCBM_EXTENTS_FORCE_SHARE : 0);
    struct extents_out to = { stdout,
                              args->common.output == OUTPUT_JSON,
                              flags,
                              .offset = args->offset,
                              .limit = args->limit,
                              .progress.wanted = args->common.progress };
    struct qcbm_error err;

    if (extents_print(&to, img, args->name, &err) == 0)
        return EXIT_DONE;
    if (to.lost)
        return cmd_error("could not write the output: %s", strerror(to.lost));
    return cmd_lib_error(&err, "Could not read bitmap '%s' of '%s'", args->name, args->common.path);
}

static int run_extents(const struct cmd *cmd, int argc, char **argv)
{
    struct extents_args args = { .limit = UINT64_MAX };
    int code = opt_parse(cmd, argc, argv, &args);

    if (code != OPT_GO_ON)
        return code;
    if (args.with && strcmp(args.with, "zero") != 0)
        return cmd_usage_error(cmd, "--with knows 'zero' only, not '%s'", args.with);
    if (args.limit == 0)
        return cmd_usage_error(cmd, "--limit is at least 1");
    if (!common_take_name(&args.common))
        return EXIT_FAILED;
    common_shut_in(&args.common, args.with != NULL, NULL);
    struct qcbm_image *img = common_open(&args.common, common_reading(&args.common));
    if (!img)
        return EXIT_FAILED;
    code = print_extents(img, &args);
    qcbm_close(img);
    return code;
}

const struct cmd cmd_extents = { "extents",    NULL,        "Print the clean and dirty extents of a bitmap.",
                                 extents_opts, run_extents, NULL };
