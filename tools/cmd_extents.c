/* cmd_extents.c - qcbm extents: the dirty extents of a bitmap, as nbdinfo --map prints them
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "extents_out.h"
#include "image_name.h"
#include "opt_parse.h"

struct extents_args {
    const char *path, *name, *format, *with;
    enum opt_output output;
    const char *object; /* without effect */
    bool image_opts, force_share, no_lock, no_sandbox, progress;
};

static const struct opt extents_opts[] = {
    { NULL, 0, OPT_ARG, offsetof(struct extents_args, path), "FILE", "filename" },
    { NULL, 0, OPT_ARG, offsetof(struct extents_args, name), "NAME", "bitmap name" },
    OPT_COMMON_FORMAT(extents_args),
    { "force-share", 'U', OPT_FLAG, offsetof(struct extents_args, force_share), NULL, "read while a writer is active" },
    { "with", 0, OPT_STRING, offsetof(struct extents_args, with), "zero",
      "also tell where the guest reads zeros: type 2 is\nclean and zero, 3 dirty and zero; reads the backing chain" },
    OPT_COMMON_PROGRESS(extents_args),
    OPT_COMMON_OUTPUT(extents_args),
    OPT_COMMON_NO_LOCK(extents_args),
    OPT_COMMON_NO_SANDBOX(extents_args),
    OPT_COMMON_IMAGE_OPTS(extents_args),
    OPT_END,
};

static int print_extents(struct qcbm_image *img, const char *path, const char *name, const struct extents_args *args)
{
    unsigned flags = (args->with ? QCBM_EXTENTS_ZERO : 0) | (args->force_share ? QCBM_EXTENTS_FORCE_SHARE : 0);
    struct extents_out to = { stdout, args->output == OUTPUT_JSON, flags, .progress.wanted = args->progress };
    struct qcbm_error err;

    if (extents_print(&to, img, name, &err) == 0)
        return EXIT_DONE;
    if (to.lost)
        return cmd_error("could not write the output: %s", strerror(to.lost));
    return cmd_lib_error(&err, "Could not read bitmap '%s' of '%s'", name, path);
}

static int run_extents(const struct cmd *cmd, int argc, char **argv)
{
    struct extents_args args = { 0 };
    enum opt_result parsed = opt_parse(cmd, argc, argv, &args);

    if (parsed != OPT_GO_ON)
        return parsed == OPT_HELP_SHOWN ? EXIT_DONE : EXIT_FAILED;
    if (args.with && strcmp(args.with, "zero") != 0)
        return cmd_usage_error(cmd, "--with knows 'zero' only, not '%s'", args.with);
    if (!image_name_take(&args.path, &args.format, args.image_opts))
        return EXIT_FAILED;
    cmd_shut_in(args.no_sandbox, args.with != NULL, args.path, NULL);
    struct qcbm_image *img =
        cmd_open(args.path, args.format,
                 (args.force_share ? QCBM_OPEN_FORCE_SHARE : 0) | (args.no_lock ? QCBM_OPEN_NO_LOCK : 0));
    if (!img)
        return EXIT_FAILED;
    int code = print_extents(img, args.path, args.name, &args);
    qcbm_close(img);
    return code;
}

const struct cmd cmd_extents = { "extents",    NULL,        "Print the clean and dirty extents of a bitmap.",
                                 extents_opts, run_extents, NULL };
