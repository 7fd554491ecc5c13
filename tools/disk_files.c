/* disk_files.c - the files that a disk is made of, which nothing that is written takes the place of
 * SPDX-License-Identifier: MIT
 */
#include "disk_files.h"

#include "cmd.h"

/* @named: by an image, or NULL. */
static bool is_named(const char *named, const char *out)
{
    const char *local = named ? qcbm_local_name(named) : NULL;

    return local && qcbm_same_file(local, out);
}

static int keep_named(const char *out, struct qcbm_image *img)
{
    struct qcbm_image_info info;

    qcbm_image_get_info(img, &info, sizeof info);
    if (is_named(info.full_data_file, out))
        return cmd_error("'%s' is a data file of the disk: it is not replaced", out);
    if (is_named(info.full_backing, out))
        return cmd_error("'%s' is a backing file of the disk: it is not replaced", out);
    return EXIT_DONE;
}

static int keep_layers(const char *out, struct qcbm_chain *chain)
{
    struct qcbm_chain_layer layer;
    int code = EXIT_DONE;

    for (uint32_t i = 0; code == EXIT_DONE && i < qcbm_chain_count(chain); i++) {
        if (qcbm_chain_get(chain, i, &layer, sizeof layer, NULL) < 0)
            continue;
        if (layer.filename && qcbm_same_file(layer.filename, out))
            code = cmd_error("'%s' is an image of the disk itself: it is not replaced", out);
        else if (layer.image)
            code = keep_named(out, layer.image);
    }
    return code;
}

int disk_files_keep(const char *out, struct qcbm_image *img, struct qcbm_chain *chain)
{
    struct qcbm_chain *own = NULL;
    int code = img ? keep_named(out, img) : EXIT_DONE;

    if (code == EXIT_DONE && !chain && img && qcbm_chain_open(img, &own, NULL) == 0)
        chain = own;
    if (code == EXIT_DONE && chain)
        code = keep_layers(out, chain);
    qcbm_chain_close(own);
    return code;
}
