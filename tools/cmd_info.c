/* cmd_info.c - qcbm info: what qemu-img info prints for one qcow2 image
 * SPDX-License-Identifier: MIT
 *
 * Opens nothing that the image names, unless --backing-chain asks for it.
 */
#include <stdio.h>

#include "cmd_info.h"
#include "common_args.h"
#include "opt_parse.h"

struct info_args {
    struct common_args common;
    bool backing_chain, usage;
};
COMMON_ARGS_FIRST(struct info_args);

static const struct opt info_opts[] = {
    OPT_COMMON_FILE,
    OPT_COMMON_FORMAT_OR_RAW,
    OPT_COMMON_FORCE_SHARE,
    OPT_COMMON_OUTPUT,
    OPT_COMMON_BELOW,
    OPT_COMMON_NO_LOCK,
    OPT_COMMON_NO_SANDBOX,
    OPT_ROW(struct info_args, "backing-chain", 0, OPT_FLAG, backing_chain, NULL,
            "also show the images below it; opens them"),
    OPT_ROW(struct info_args, "usage", 0, OPT_FLAG, usage, NULL,
            "also show how much of the file is in use; reads all tables"),
    COMMON_FLAG("progress", 'p', progress, "with --usage: show progress on stderr"),
    OPT_COMMON_IMAGE_OPTS,
    OPT_END,
};

/* One image: @w is NULL for text. */
static int show_image(struct qcbm_image *img, const char *path, const struct info_args *args, struct json_writer *w)
{
    struct progress progress = { .wanted = args->common.progress };
    struct info info = { .path = path, .img = img };
    int code = info_collect(&info, args->usage ? &progress : NULL);

    if (code == EXIT_DONE && w)
        info_write(w, &info);
    else if (code == EXIT_DONE)
        info_print(&info);
    return code;
}

static int show_layers(struct qcbm_chain *chain, const char *path, const struct info_args *args, struct json_writer *w)
{
    int code = EXIT_DONE;

    for (uint32_t i = 0; code == EXIT_DONE && i < qcbm_chain_count(chain); i++) {
        struct qcbm_chain_layer layer;
        struct qcbm_error err;

        if (qcbm_chain_get(chain, i, &layer, sizeof layer, &err) < 0)
            return cmd_lib_error(&err, "Could not read '%s'", path);
        if (i > 0 && !w)
            putchar('\n');
        if (layer.image)
            code = show_image(layer.image, layer.filename, args, w);
        else
            info_show_raw(&layer, w);
    }
    return code;
}

static int show_chain(struct qcbm_image *img, const char *path, const struct info_args *args, struct json_writer *w)
{
    struct qcbm_chain *chain;
    struct qcbm_error err;

    if (qcbm_chain_open(img, &chain, &err) < 0)
        return cmd_lib_error(&err, "Could not open the backing chain of '%s'", path);
    if (w)
        json_begin_array(w, NULL);
    int code = show_layers(chain, path, args, w);
    if (w)
        json_end_array(w);
    qcbm_chain_close(chain);
    return code;
}

/* A raw image has nothing below it. */
static int show_raw_image(struct qcbm_chain *raw, const struct info_args *args, struct json_writer *w)
{
    bool array = w && args->backing_chain;
    int code;

    if (args->usage)
        return cmd_error("--usage is for qcow2 images: '%s' is raw", args->common.path);
    if (array)
        json_begin_array(w, NULL);
    code = show_layers(raw, args->common.path, args, w);
    if (array)
        json_end_array(w);
    return code;
}

static int show(const struct cmd_disk *disk, const struct info_args *args, struct json_writer *w)
{
    if (disk->raw)
        return show_raw_image(disk->raw, args, w);
    return (args->backing_chain ? show_chain : show_image)(disk->img, args->common.path, args, w);
}

static int run_info(const struct cmd *cmd, int argc, char **argv)
{
    struct json_writer json = JSON_WRITER_INIT(stdout);
    struct info_args args = { 0 };
    int code = opt_parse(cmd, argc, argv, &args);
    struct json_writer *w = args.common.output == OUTPUT_JSON ? &json : NULL;
    struct cmd_disk disk;

    if (code != OPT_GO_ON)
        return code;
    if (!common_take_name_or_uri(&args.common))
        return EXIT_FAILED;
    common_shut_in(&args.common, args.backing_chain, NULL);
    if (!common_open_disk(&args.common, QCBM_OPEN_INFO | common_reading(&args.common), &disk))
        return EXIT_FAILED;
    code = show(&disk, &args, w);
    if (code == EXIT_DONE && w)
        json_finish(w);
    cmd_close_disk(&disk);
    return code;
}

const struct cmd cmd_info = { "info", NULL, "Show what qemu-img info shows for an image.", info_opts, run_info, NULL };
