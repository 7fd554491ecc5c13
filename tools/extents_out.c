/* extents_out.c - the extents of a bitmap, as nbdinfo --map prints them
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <inttypes.h>

#include "extents_out.h"

const char *const extent_descriptions[N_EXTENT_TYPES] = { "clean", "dirty", "clean,zero", "dirty,zero" };

struct printer {
    FILE *out;
    bool json;
    bool begun;
    int lost; /* errno of a failed write */
};

static int print_extent(void *opaque, const struct qcbm_extent *extent)
{
    struct printer *p = opaque;
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
    return printed < 0;
}

int extents_print(FILE *out, bool json, struct qcbm_image *img, const char *name, unsigned flags, int *lost,
                  struct qcbm_error *err)
{
    struct printer p = { out, json, false, 0 };
    int ret = qcbm_bitmap_extents(img, name, flags, print_extent, &p, err);

    if (ret == 0 && json && fprintf(out, "%s]\n", p.begun ? "\n" : "[\n") < 0) {
        p.lost = errno;
        ret = QCBM_E_ABORTED;
    }
    *lost = p.lost;
    return ret;
}
