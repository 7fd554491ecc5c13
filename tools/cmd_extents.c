/* cmd_extents.c - qcbm extents: what is dirty of a bitmap, or allocated in layers, in the form that who asks can read
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "common_args.h"
#include "every_args.h"
#include "extents_write.h"
#include "image_name.h"
#include "opt_parse.h"

struct extents_args {
    struct common_args common;
    const char *name, *since, *from_snapshot, *to_snapshot, *with, *form;
    bool layer;
    uint64_t offset, limit;
};
COMMON_ARGS_FIRST(struct extents_args);

static const struct opt extents_opts[] = {
    OPT_ROW(struct extents_args, NULL, 0, OPT_ARG, common.path, "FILE", "filename"),
    OPT_ROW(struct extents_args, NULL, 0, OPT_ARG_PERHAPS, name, "NAME", "bitmap name"),
    OPT_ROW(struct extents_args, "layer", 0, OPT_FLAG, layer, NULL,
            "instead of a bitmap: what FILE itself holds; opens\nnothing else"),
    OPT_ROW(struct extents_args, "since", 0, OPT_STRING, since, "BASE",
            "instead of a bitmap: what FILE and the layers above BASE,\nan image of its backing chain, hold"),
    OPT_ROW(struct extents_args, "from-snapshot", 0, OPT_STRING, from_snapshot, "S",
            "instead of a bitmap: what changed since this internal\nsnapshot of FILE, named by id:ID, name:NAME, or "
            "one of both"),
    OPT_ROW(struct extents_args, "to-snapshot", 0, OPT_STRING, to_snapshot, "S",
            "... up to this one, and not up to now"),
    OPT_COMMON_FORMAT,
    OPT_COMMON_FORCE_SHARE,
    OPT_ROW(
        struct extents_args, "with", 0, OPT_STRING, with, "zero",
        "also tell where the guest reads zeros: type 2 is\nclean and zero, 3 dirty and zero; reads the backing chain"),
    OPT_ROW(struct extents_args, "offset", 0, OPT_SIZE, offset, "OFFSET",
            "begin at that byte of the disk (default: 0)"),
    OPT_ROW(struct extents_args, "limit", 0, OPT_SIZE, limit, "N", "end after so many extents"),
    OPT_COMMON_PROGRESS,
    OPT_ROW(struct extents_args, "output", 0, OPT_STRING, form, EXTENTS_WRITTEN, "how to print (default: human)"),
    OPT_COMMON_BELOW,
    OPT_COMMON_NO_LOCK,
    OPT_COMMON_NO_SANDBOX,
    OPT_COMMON_IMAGE_OPTS,
    OPT_END,
};

static int open_extents(struct qcbm_image *img, const struct extents_args *args, unsigned flags,
                        struct qcbm_extents **out, struct qcbm_error *err)
{
    struct qcbm_extents_options options = QCBM_EXTENTS_OPTIONS_INIT;

    options.flags = flags;
    options.offset = args->offset;
    if (args->name)
        return qcbm_extents_open(img, args->name, &options, out, err);
    if (args->from_snapshot)
        return qcbm_extents_open_snapshots(img, args->from_snapshot, args->to_snapshot, &options, out, err);
    return qcbm_extents_open_layers(img, args->since, &options, out, err);
}

/* A bitmap in human form or JSON is printed as it is walked. */
static int print_of(struct qcbm_image *img, const struct extents_args *args, enum extents_form form,
                    struct extents_out *to, struct qcbm_error *err)
{
    bool plain = form == EXTENTS_HUMAN || form == EXTENTS_JSON;
    struct qcbm_extents *extents;
    int ret;

    if (args->name && plain)
        return extents_print(to, img, args->name, err);
    ret = open_extents(img, args, to->flags, &extents, err);
    if (ret < 0)
        return ret;
    ret = plain ? extents_print_of(to, img, extents, err) : extents_write(to, form, args->layer, img, extents, err);
    qcbm_extents_close(extents);
    return ret;
}

static int print_extents(struct qcbm_image *img, const struct extents_args *args, enum extents_form form)
{
    bool own_zeros = args->layer && form == EXTENTS_OVIRT; /* has a member for them, and they cost nothing */
    unsigned flags =
        (args->with || own_zeros ? QCBM_EXTENTS_ZERO : 0) | (args->common.force_share ? QCBM_EXTENTS_FORCE_SHARE : 0);
    struct extents_out to = { stdout,
                              form == EXTENTS_JSON,
                              flags,
                              .offset = args->offset,
                              .limit = args->limit,
                              .progress.wanted = args->common.progress };
    struct qcbm_error err;

    if (print_of(img, args, form, &to, &err) == 0)
        return EXIT_DONE;
    if (to.lost)
        return cmd_error("could not write the output: %s", strerror(to.lost));
    if (args->name)
        return cmd_lib_error(&err, "Could not read bitmap '%s' of '%s'", args->name, args->common.path);
    if (err.code == QCBM_E_NOTFOUND)
        err.code = QCBM_E_ARG; /* what there is is told, or a file is missing: which bitmaps there are is of no help */
    if (args->from_snapshot)
        return cmd_lib_error(&err, "Could not compare the states of '%s'", args->common.path);
    return cmd_lib_error(&err, "Could not read the allocation of '%s'", args->common.path);
}

static int check_usage(const struct cmd *cmd, const struct extents_args *args, enum extents_form form)
{
    if ((args->name != NULL) + (args->since != NULL) + (args->from_snapshot != NULL) + args->layer != 1)
        return cmd_usage_error(cmd, "Expecting one of a bitmap name, --layer, --since, and --from-snapshot");
    if (args->to_snapshot && !args->from_snapshot)
        return cmd_usage_error(cmd, "--to-snapshot goes with --from-snapshot");
    if (args->with && strcmp(args->with, "zero") != 0)
        return cmd_usage_error(cmd, "--with knows 'zero' only, not '%s'", args->with);
    if (args->limit == 0)
        return cmd_usage_error(cmd, "--limit is at least 1");
    if (every_args.record && form != EXTENTS_JSON)
        return cmd_usage_error(cmd, "--record has the extents in it, as JSON: without --output=%s", args->form);
    if (form >= EXTENTS_THIN_DELTA)
        return cmd_usage_error(cmd, "--output knows %s, not '%s'", EXTENTS_WRITTEN, args->form);
    if (!extents_form_has_pages(form) && (args->offset || args->limit != UINT64_MAX))
        return cmd_usage_error(cmd, "--output=%s is of the whole disk: without --offset and --limit", args->form);
    return EXIT_DONE;
}

static int run_extents(const struct cmd *cmd, int argc, char **argv)
{
    struct extents_args args = { .limit = UINT64_MAX };
    enum extents_form form;
    int code = opt_parse(cmd, argc, argv, &args);

    if (code != OPT_GO_ON)
        return code;
    if (!args.form)
        args.form = every_args.record ? "json" : "human";
    form = extents_form_of(args.form);
    if (check_usage(cmd, &args, form) != EXIT_DONE || !common_take_name_or_uri(&args.common) ||
        !image_name_take_or_uri(&args.since, NULL, false))
        return EXIT_FAILED;
    common_shut_in(&args.common, args.since || (args.with && !args.layer), NULL);
    struct qcbm_image *img = common_open(&args.common, common_reading(&args.common));
    if (!img)
        return EXIT_FAILED;
    code = print_extents(img, &args, form);
    qcbm_close(img);
    return code;
}

const struct cmd cmd_extents = { "extents",
                                 "FILE NAME  |  --layer|--since=BASE|--from-snapshot=S [OPTION]... FILE",
                                 "Print the extents of a bitmap, of what layers hold, or of what snapshots differ in.",
                                 extents_opts,
                                 run_extents,
                                 NULL };
