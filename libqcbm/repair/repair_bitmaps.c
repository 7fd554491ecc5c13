/* repair_bitmaps.c - the step that repairs bitmaps: what is damaged, then what is in use
 * SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <string.h>

#include "bitmap/bitmap_mend.h"
#include "repair/repair_changed.h"

static int tell(void *opaque, const struct qcbm_repair_row *row)
{
    struct qcbmi_repair *r = opaque;

    r->lost_bitmaps |= strcmp(row->code, "bitmap-directory") == 0 && row->lost;
    return qcbmi_repair_tell(r, row, NULL);
}

static int tell_revived(void *opaque, const struct qcbm_revived *b)
{
    struct qcbm_repair_row row = { .code = "bitmap-revived", .offset = QCBM_NO_OFFSET, .bitmap = b->name };
    char name[128], done[1536], kept[128];

    (void)qcbmi_printable(name, sizeof(name), b->name, strlen(b->name));
    snprintf(done, sizeof(done), "bitmap '%s', which was in use, has %s dirty, %" PRIu64 " bytes: %s", name,
             b->claim == QCBM_REVIVED_UNION ? "what was stored and all that the image has allocated"
                                            : "all of the disk",
             b->dirty_bytes, b->why);
    snprintf(kept, sizeof(kept), "the %" PRIu64 " bytes that were dirty when it was stored", b->stored_bytes);
    row.done = done;
    row.kept = kept;
    return qcbmi_repair_tell(opaque, &row, NULL);
}

static int tell_raw(struct qcbmi_repair *r, const struct qcbmi_edit_bitmap *b, struct qcbm_error *err)
{
    struct qcbm_repair_row row = { .code = "bitmap-left", .offset = QCBM_NO_OFFSET, .bitmap = b->name };
    char name[128], done[512];

    (void)qcbmi_printable(name, sizeof(name), b->name, b->name_len);
    snprintf(done, sizeof(done),
             "bitmap '%s' stays in use: with a raw data file all is allocated, which says nothing of changes. Sources "
             "are a copy that was exported (bitmap --import), an older bitmap of the same disk in another layer "
             "(--merge), that nobody wrote (--revive --trust); else remove and add it, and take a full backup",
             name);
    row.done = done;
    return qcbmi_repair_tell(r, &row, err);
}

/* They stay as they are, and QEMU opens the image with them. */
static int leave_raw(struct qcbmi_repair *r, const struct qcbmi_edit_list *list, struct qcbm_error *err)
{
    int ret = 0;

    for (size_t i = 0; ret == 0 && i < list->n; i++)
        if (list->at[i] && (list->at[i]->flags & Q2_BITMAP_IN_USE))
            ret = tell_raw(r, list->at[i], err);
    return ret;
}

/* Where entries are left that lead nowhere, what is allocated does not have all that was written. */
static int revive(struct qcbmi_repair *r, struct qcbm_edit *edit, struct qcbm_error *err)
{
    if (edit->img->g.raw_data_file)
        return leave_raw(r, &edit->list, err);
    return r->left ? 0 : qcbm_edit_revive(edit, NULL, 0, tell_revived, r, err);
}

static int repair(struct qcbmi_repair *r, struct qcbm_error *err)
{
    struct qcbm_edit *edit = NULL;
    int ret =
        qcbmi_mend_begin(r->work, r->img->image, r->were_shared.n_bits ? &r->were_shared : NULL, tell, r, &edit, err);

    if (ret == 0)
        ret = revive(r, edit, err);
    if (ret == 0)
        ret = qcbmi_repair_mark_changed(r, edit, err);
    if (ret == 0)
        ret = qcbm_edit_plan(edit, NULL, 0, NULL, NULL, err);
    if (ret == 0 && edit->plan.n)
        ret = qcbmi_repair_commit(r, &edit->plan, err);
    qcbm_edit_free(edit);
    return ret;
}

static int tell_left(struct qcbmi_repair *r, struct qcbm_error *err)
{
    struct qcbm_repair_row row = { .code = "bitmaps-left", .offset = QCBM_NO_OFFSET };

    row.done =
        "bitmaps are left as they are, those in use, too: entries of mapping tables lead nowhere, so what a guest "
        "wrote is not known; with --force these entries are given up, and the bitmaps repaired";
    return r->work->bitmaps->n || r->work->bitmaps->broken ? qcbmi_repair_tell(r, &row, err) : 0;
}

int qcbmi_repair_bitmaps(struct qcbmi_repair *r, struct qcbm_error *err)
{
    size_t told = r->n_items;
    int ret;

    if (r->work->image->g.version < 3) /* it can have none */
        return 0;
    ret = repair(r, err);
    if (r->left == 0 || (ret != QCBM_E_UNSAFE && ret != QCBM_E_CORRUPT))
        return ret;
    qcbmi_repair_forget(r, told); /* nothing of it is planned */
    return tell_left(r, err);
}
