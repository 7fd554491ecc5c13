/* bitmap_mark.h - ranges of the disk that somebody other than a guest changes, in the bitmaps of an edit
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_BITMAP_MARK_H
#define QCBMI_BITMAP_MARK_H

#include "bitmap/bitmap_edit.h"
#include "format/q2_bitmap_dir.h"

/* Does a bitmap with these flags record what a guest writes? One that is in use is of no use already. */
static inline bool qcbmi_bitmap_records(uint32_t flags)
{
    return (flags & Q2_BITMAP_AUTO) && !(flags & Q2_BITMAP_IN_USE);
}

/* Set what is set in @changed (NULL: all) in each bitmap that can be relied on, or of these only in those that record
 * (@recording): what QEMU does when a guest writes. *@any: one of them has changed. */
int qcbmi_edit_mark(struct qcbm_edit *edit, const struct qcbmi_dirtymap *changed, bool recording, bool *any,
                    struct qcbm_error *err);

#endif
