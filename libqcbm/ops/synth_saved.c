/* synth_saved.c - the bits that a bitmap in use had when it was saved, kept in the one that takes its place
 * SPDX-License-Identifier: MIT */
#include "bitmap/bitmap_load.h"
#include "ops/synth.h"

/* What cannot be read may be all there is about other layers: that is given up only if it is asked for. */
static int give_up_saved_bits(struct synth *s, const struct qcbm_error *why, struct qcbm_error *err)
{
    if (!(s->opt.flags & (QCBM_SYNTH_FORCE | QCBM_SYNTH_ALLOW_DAMAGE)))
        return qcbmi_fail(err, QCBM_E_UNSAFE, why->offset,
                          "the bitmap is in use, and what was saved of it cannot be read: %.300s", why->message);
    return qcbmi_synth_note(s->result, err,
                            "the bitmap was in use, and what was saved of it cannot be read (%s): what it had of other "
                            "layers is missing",
                            why->message);
}

/* What a bitmap in use recorded since it was saved is allocated in its image; but the bits that were saved may be about
 * layers below it, which a bitmap of today does not look at. So they stay, and nothing is missing in the new one. */
static int keep_saved_bits(struct synth *s, const struct qcbmi_edit_bitmap *old, struct qcbmi_dirtymap *to,
                           struct qcbm_error *err)
{
    struct qcbmi_dirtymap saved = { 0 };
    struct qcbm_error why = { .code = 0 };
    int ret = qcbmi_bitmap_check_bits(s->edit->handle, old->stored, true, &why);

    if (ret == 0)
        ret = qcbmi_bitmap_load(s->edit->img, old->stored, &saved, &why);
    if (ret == 0)
        ret = qcbmi_dirtymap_merge(to, &saved, &why);
    if (ret == 0) {
        s->result->sum.kept_bits = true;
        ret = qcbmi_synth_note(s->result, err,
                               "the bitmap was in use: what was dirty when it was last saved is dirty, too");
    } else if (ret == QCBM_E_CORRUPT || ret == QCBM_E_UNSAFE) {
        ret = give_up_saved_bits(s, &why, err);
    } else if (err) {
        *err = why;
    }
    qcbmi_dirtymap_free(&saved);
    return ret;
}

int qcbmi_synth_keep_saved(struct synth *s, const char *name, struct qcbmi_dirtymap *to, struct qcbm_error *err)
{
    const struct qcbmi_edit_bitmap *b = qcbmi_edit_list_find(&s->edit->list, name);
    int ret = 0;

    for (; ret == 0 && b && (s->opt.flags & QCBM_SYNTH_REPLACE); b = b->next)
        if (b->stored && !b->bits_changed && (b->stored->d.flags & Q2_BITMAP_IN_USE))
            ret = keep_saved_bits(s, b, to, err);
    return ret;
}
