/* repair_bitmaps.c - the step that repairs bitmaps
 * SPDX-License-Identifier: MIT */
#include "bitmap/bitmap_mend.h"
#include "repair/repair.h"

static int tell(void *opaque, const struct qcbm_repair_row *row)
{
    return qcbmi_repair_tell(opaque, row, NULL);
}

int qcbmi_repair_bitmaps(struct qcbmi_repair *r, struct qcbm_error *err)
{
    const struct qcbmi_bitmap_list *list = r->work->bitmaps;
    struct qcbm_edit *edit = NULL;
    int ret;

    if (r->work->image->g.version < 3 || list->stale)
        return 0;
    ret = qcbmi_mend_begin(r->work, r->img->image, tell, r, &edit, err);
    if (ret == 0)
        ret = qcbm_edit_plan(edit, NULL, 0, NULL, NULL, err);
    if (ret == 0 && edit->plan.n)
        ret = qcbmi_repair_commit(r, &edit->plan, err);
    qcbm_edit_free(edit);
    return ret;
}
