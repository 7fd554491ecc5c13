/* repair_changed.c - ranges of the disk that a repair changes, in every bitmap that stays
 * SPDX-License-Identifier: MIT
 *
 * What is given up reads as zeros from then on, so the next backup has to read it, whether or not the bitmap records.
 * Of a cluster that two had one has the bytes of the other, since when nobody knows: both count as changed. */
#include "repair/repair_changed.h"

#include "bitmap/bitmap_mark.h"

int qcbmi_repair_note_changed(struct qcbmi_repair *r, uint64_t start, uint64_t len, struct qcbm_error *err)
{
    const struct q2_geometry *g = &r->img->image->g;
    int ret = 0;

    if (start >= g->size || len == 0 || r->all_changed)
        return 0;
    if (!r->changed.size)
        ret = qcbmi_dirtymap_init(&r->changed, g->size, g->cluster_bits, err);
    if (ret == QCBM_E_LIMIT) { /* so large a disk has no bitmap with granules that are smaller either */
        r->all_changed = true;
        return 0;
    }
    return ret < 0 ? ret : qcbmi_dirtymap_set(&r->changed, start, len < g->size - start ? start + len : g->size, err);
}

int qcbmi_repair_tell_marked(struct qcbmi_repair *r, struct qcbm_error *err)
{
    struct qcbm_repair_row row = { .code = "bitmaps-marked", .offset = QCBM_NO_OFFSET };

    if (r->marked)
        return 0;
    r->marked = true;
    row.done =
        "ranges of the disk that are given up, or that two had, are set dirty in every bitmap that can be relied on";
    return qcbmi_repair_tell(r, &row, err);
}

int qcbmi_repair_mark_changed(struct qcbmi_repair *r, struct qcbm_edit *edit, struct qcbm_error *err)
{
    bool any = false;
    int ret;

    if (!r->changed.size && !r->all_changed)
        return 0;
    ret = qcbmi_edit_mark(edit, r->all_changed ? NULL : &r->changed, false, &any, err);
    return ret == 0 && any ? qcbmi_repair_tell_marked(r, err) : ret;
}
