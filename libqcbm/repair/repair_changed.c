/* repair_changed.c - ranges of the disk that a repair changes, in every bitmap that stays
 * SPDX-License-Identifier: MIT
 *
 * What is given up reads as zeros from then on, so the next backup has to read it, whether or not the bitmap records. Of a
 * cluster that two had one has the bytes of the other, since when nobody knows: both count as changed. */
#include "repair/repair_changed.h"

#include "bitmap/bitmap_edit.h"

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

static int add_to(const struct qcbmi_repair *r, const struct qcbm_edit *edit, struct qcbmi_edit_bitmap *b, bool *added,
                  struct qcbm_error *err)
{
    struct qcbmi_dirtymap map = { 0 };
    uint64_t before = 0;
    int ret = qcbmi_edit_copy_bits(edit, b, &map, err);

    if (ret == 0)
        before = qcbmi_dirtymap_dirty_bytes(&map);
    if (ret == 0 && r->all_changed)
        ret = qcbmi_dirtymap_set(&map, 0, map.size, err);
    else if (ret == 0)
        ret = qcbmi_dirtymap_merge(&map, &r->changed, err);
    *added = ret == 0 && qcbmi_dirtymap_dirty_bytes(&map) != before;
    if (*added)
        qcbmi_edit_take_map(b, &map);
    qcbmi_dirtymap_free(&map);
    return ret;
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
    int ret = 0;

    if (!r->changed.size && !r->all_changed)
        return 0;
    for (size_t i = 0; ret == 0 && i < edit->list.n; i++) {
        struct qcbmi_edit_bitmap *b = edit->list.at[i];
        bool added = false;

        if (!b || b->flags & Q2_BITMAP_IN_USE) /* nobody can rely on it */
            continue;
        ret = add_to(r, edit, b, &added, err);
        any |= added;
    }
    return ret == 0 && any ? qcbmi_repair_tell_marked(r, err) : ret;
}
