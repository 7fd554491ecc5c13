/* cmd_bitmap_chain.c - qcbm bitmap --list: one image, or with --chain which layer of a backing chain has which bitmaps
 * SPDX-License-Identifier: MIT
 *
 * A layer that cannot be read is told and hides no other, but for those below it, whose names only it knows.
 */
#include <inttypes.h>
#include <string.h>

#include "cmd_bitmap.h"
#include "cmd_bitmap_list.h"
#include "qemu_text.h"

static void print_head(const struct qcbm_chain_layer *layer, uint32_t depth)
{
    if (depth > 0)
        putchar('\n');
    printf("layer %" PRIu32 ": ", depth);
    print_escaped(stdout, layer->filename, strlen(layer->filename));
    printf(", %s, %s\n", layer->format, size_text(layer->virtual_size & ~UINT64_C(511)).text);
}

/* What has no bitmaps: a raw file, or a layer that could not be read, for the reason @error. */
static void write_bare(struct json_writer *w, const struct qcbm_chain_layer *layer, const char *error)
{
    json_begin_object(w, NULL);
    if (layer) {
        json_string(w, "image", layer->filename);
        json_string(w, "format", layer->format);
        json_u64(w, "virtual-size", layer->virtual_size);
    }
    json_begin_array(w, "bitmaps");
    json_end_array(w);
    if (error)
        json_string(w, "error", error);
    json_end_object(w);
}

static int list_layer(const struct qcbm_chain_layer *layer, uint32_t depth, struct progress *progress,
                      struct json_writer *w)
{
    struct qcbm_image_info info;

    if (!w)
        print_head(layer, depth);
    if (layer->image) {
        qcbm_image_get_info(layer->image, &info, sizeof info);
        if (!w && info.bitmap_count + info.stale_bitmap_count == 0)
            printf("no bitmaps\n");
        return bitmap_list_image(layer->image, layer->filename, progress, w);
    }
    if (w)
        write_bare(w, layer, NULL);
    else
        printf("a raw file has no bitmaps\n");
    return EXIT_DONE;
}

static int list_layers(struct qcbm_chain *chain, const char *path, struct progress *progress, struct json_writer *w)
{
    int code = EXIT_DONE;

    for (uint32_t i = 0; i < qcbm_chain_count(chain); i++) {
        struct qcbm_chain_layer layer;
        struct qcbm_error err;

        if (qcbm_chain_get(chain, i, &layer, sizeof layer, &err) == 0) {
            if (!*layer.filename) /* the first, behind a server */
                layer.filename = path;
            code |= list_layer(&layer, i, progress, w);
            continue;
        }
        fflush(stdout);
        code = cmd_lib_error(&err, "Could not read layer %" PRIu32 " of '%s'", i, path);
        if (w)
            write_bare(w, NULL, err.message);
    }
    return code;
}

static int list_chain(struct qcbm_image *img, const char *path, struct progress *progress, struct json_writer *w)
{
    struct qcbm_chain *chain;
    struct qcbm_error err;
    int ret = qcbm_chain_open_partial(img, &chain, &err);
    int code;

    if (ret < 0)
        return cmd_lib_error(&err, "Could not open the backing chain of '%s'", path);
    if (w)
        json_begin_array(w, NULL);
    code = list_layers(chain, path, progress, w);
    if (w && ret > 0)
        write_bare(w, NULL, err.message);
    if (w) {
        json_end_array(w);
        json_finish(w);
    }
    qcbm_chain_close(chain);
    fflush(stdout); /* the layers that could be read are wanted although the command fails */
    return ret > 0 ? cmd_lib_error(&err, "The backing chain of '%s' ends early", path) : code;
}

int bitmap_list(const struct bitmap_args *args, const char *none)
{
    const struct common_args *common = &args->common;
    struct json_writer json = JSON_WRITER_INIT(stdout), *w = common->output == OUTPUT_JSON ? &json : NULL;
    struct progress progress = { .wanted = common->progress && !common->quiet };
    struct qcbm_image *img;
    int code;

    (void)none;
    common_shut_in(common, args->chain, NULL);
    img = common_open(common, common_reading(common));
    if (!img)
        return EXIT_FAILED;
    code = (args->chain ? list_chain : bitmap_list_image)(img, common->path, &progress, w);
    if (w && !args->chain)
        json_finish(w);
    qcbm_close(img);
    return code;
}
