/* overlay_look.c - is a file the overlay that a journal is about, and has it what it was made for?
 * SPDX-License-Identifier: MIT */
#include "checkpoint/overlay_look.h"

#include "bitmap/bitmap_list.h"
#include "checkpoint/disks.h"
#include "io/open.h"

/* By identity: the name that it has for the image below may be another one than the journal's. */
static bool lies_on(const struct qcbmi_image *img, const struct qcbmi_image *base)
{
    const char *below = img->full_backing ? qcbmi_name_local(img->full_backing) : NULL;
    struct qcbmi_file_id id;

    return below && qcbmi_identify(below, &id, NULL) == 0 && qcbmi_same_file(&id, &base->io.id);
}

static int look_at_bitmaps(const struct qcbmi_journal_disk *d, struct qcbm_image *overlay, bool *lacks,
                           struct qcbm_error *err)
{
    int ret = 0;

    for (size_t i = 0; ret == 0 && i < d->n_goals; i++) {
        const struct qcbmi_bitmap *b = qcbmi_bitmap_find(overlay->bitmaps, d->goals[i].name);
        bool records = false;

        if (d->goals[i].kind != QCBMI_GOAL_THERE)
            continue;
        ret = b ? qcbmi_bitmap_records(overlay, b, &records, err) : 0;
        *lacks |= !records;
    }
    return ret;
}

int qcbmi_overlay_look(const struct qcbmi_journal_disk *d, const struct qcbmi_image *base, const char *path,
                       bool *is_it, bool *lacks, struct qcbm_error *err)
{
    struct qcbm_image *overlay = NULL;
    struct qcbm_error why;
    struct qcbmi_io io;
    int ret = qcbmi_open(&io, path, false, &why);

    *is_it = *lacks = false;
    if (ret == 0)
        ret = qcbmi_handle_open(&io, path, QCBMI_OPEN_LOOKS, &overlay, &why);
    if (ret == QCBM_E_IO || ret == QCBM_E_NOMEM) {
        if (err)
            *err = why;
        return ret;
    }
    if (ret < 0) /* no image at all */
        return 0;
    *is_it = lies_on(overlay->image, base) && overlay->image->io.size >= d->overlay_len;
    ret = *is_it ? look_at_bitmaps(d, overlay, lacks, err) : 0;
    qcbmi_handle_close(overlay);
    return ret;
}
