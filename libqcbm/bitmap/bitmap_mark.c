/* bitmap_mark.c - ranges of the disk that somebody other than a guest changes, in the bitmaps of an edit
 * SPDX-License-Identifier: MIT */
#include "bitmap/bitmap_mark.h"

static int add_to(const struct qcbm_edit *edit, struct qcbmi_edit_bitmap *b, const struct qcbmi_dirtymap *changed,
                  bool *added, struct qcbm_error *err)
{
    struct qcbmi_dirtymap map = { 0 };
    uint64_t before = 0;
    int ret = qcbmi_edit_copy_bits(edit, b, &map, err);

    if (ret == 0)
        before = qcbmi_dirtymap_dirty_bytes(&map);
    if (ret == 0 && !changed)
        ret = qcbmi_dirtymap_set(&map, 0, map.size, err);
    else if (ret == 0)
        ret = qcbmi_dirtymap_merge(&map, changed, err);
    *added = ret == 0 && qcbmi_dirtymap_dirty_bytes(&map) != before;
    if (*added)
        qcbmi_edit_take_map(b, &map);
    qcbmi_dirtymap_free(&map);
    return ret;
}

int qcbmi_edit_mark(struct qcbm_edit *edit, const struct qcbmi_dirtymap *changed, bool recording, bool *any,
                    struct qcbm_error *err)
{
    int ret = 0;

    for (size_t i = 0; ret == 0 && i < edit->list.n; i++) {
        struct qcbmi_edit_bitmap *b = edit->list.at[i];
        bool added = false;

        if (!b || b->flags & Q2_BITMAP_IN_USE || (recording && !qcbmi_bitmap_records(b->flags)))
            continue;
        ret = add_to(edit, b, changed, &added, err);
        *any |= added;
    }
    return ret;
}
