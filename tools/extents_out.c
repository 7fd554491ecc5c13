/* extents_out.c - the extents of a bitmap, as nbdinfo --map prints them
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <inttypes.h>

#include "extents_out.h"

const char *const extent_descriptions[N_EXTENT_TYPES] = { "clean", "dirty", "clean,zero", "dirty,zero" };

static int print_extent(void *opaque, const struct qcbm_extent *extent)
{
    struct extents_out *p = opaque;
    unsigned type = (extent->dirty ? 1u : 0) | (extent->zero ? 2u : 0);
    const char *description = extent_descriptions[type];
    int printed;

    if (p->json)
        printed = fprintf(
            p->out, "%s{ \"offset\": %" PRIu64 ", \"length\": %" PRIu64 ", \"type\": %u, \"description\": \"%s\"}",
            p->begun ? ",\n" : "[\n", extent->offset, extent->length, type, description);
    else
        printed = fprintf(p->out, "%10" PRIu64 "  %10" PRIu64 "  %3u  %s\n", extent->offset, extent->length, type,
                          description);
    p->begun = true;
    if (printed < 0)
        p->lost = errno;
    progress_show(&p->progress, extent->offset + extent->length, p->size);
    return printed < 0 || ++p->printed == p->limit;
}

int extents_print(struct extents_out *to, struct qcbm_image *img, const char *name, struct qcbm_error *err)
{
    struct qcbm_extents_options options = QCBM_EXTENTS_OPTIONS_INIT;
    struct qcbm_image_info info;
    int ret;

    qcbm_image_get_info(img, &info, sizeof info);
    to->size = info.virtual_size;
    options.flags = to->flags;
    options.offset = to->offset;
    ret = qcbm_bitmap_extents_of(img, name, &options, print_extent, to, err);
    if (ret == QCBM_E_ABORTED && !to->lost)
        ret = 0; /* as many as were asked for */
    progress_end(&to->progress, ret == 0);
    if (ret == 0 && to->json && fprintf(to->out, "%s]\n", to->begun ? "\n" : "[\n") < 0) {
        to->lost = errno;
        ret = QCBM_E_ABORTED;
    }
    return ret;
}
