/* extents_reader.c - the place that a reader has come to
 * SPDX-License-Identifier: MIT */
#include <inttypes.h>

#include "extents_reader.h"
#include "qemu_text.h"

int extents_reader_give(struct extents_reader *r, const struct qcbm_extent *e)
{
    uint64_t size = r->from->size;
    int ret;

    if (!r->sparse && e->offset != r->end)
        return text_in_fail(&r->text, "the extent at %" PRIu64 " does not begin where the last one ends, at %" PRIu64,
                            e->offset, r->end);
    if (e->offset < r->end)
        return text_in_fail(&r->text, "the extent at %" PRIu64 " begins before the last one ends, at %" PRIu64,
                            e->offset, r->end);
    if (e->length == 0 || e->offset > size || e->length > size - e->offset)
        return text_in_fail(&r->text, "the extent at %" PRIu64 " has %s, the disk has %" PRIu64, e->offset,
                            count_text(e->length, "byte").text, size);
    ret = r->fn(r->opaque, e, r->text.err);
    r->end = e->offset + e->length;
    return ret;
}
