/* synth_notes.c - what a caller of synth should know: what its figures may be short of, and what changes beside them
 * SPDX-License-Identifier: MIT */
#include "ops/synth.h"

#include <string.h>

bool qcbmi_synth_is_live(const struct synth *s)
{
    return (s->overlay->open_flags & QCBM_OPEN_FORCE_SHARE) || (s->opt.flags & QCBM_SYNTH_FORCE_SHARE);
}

/* Hints that the figures may be short of what a running program knows. */
int qcbmi_synth_note_sharing(struct synth *s, struct qcbm_error *err)
{
    const struct qcbmi_bitmap_list *list = s->handle->bitmaps;
    char text[256];

    if (qcbmi_synth_is_live(s))
        return qcbmi_synth_note(s->result, err,
                                "read while others may write: what they hold in memory is missing here");
    for (uint32_t i = 0; i < list->n; i++)
        if (list->list[i].d.flags & Q2_BITMAP_IN_USE)
            return qcbmi_synth_note(
                s->result, err,
                "bitmap '%s' is marked in use: the image was not closed cleanly, or another host has it open",
                qcbmi_printable(text, sizeof(text), list->list[i].d.name, list->list[i].d.name_len));
    return 0;
}

/* Of a bitmap that others rely on for what was written. */
int qcbmi_synth_note_disabled(struct qcbm_synth_result *r, const char *name, struct qcbm_error *err)
{
    char text[256];

    return qcbmi_synth_note(r, err, "bitmap '%s' is disabled: what was written since it was disabled is not in it",
                            qcbmi_printable(text, sizeof(text), name, strlen(name)));
}

/* A new bitmap records, whatever the old one did: too many dirty granules are better than too few. */
int qcbmi_synth_note_replaced(struct synth *s, const char *name, struct qcbm_error *err)
{
    const struct qcbmi_edit_bitmap *b = qcbmi_edit_list_find(&s->edit->list, name);
    bool records = !(s->opt.flags & QCBM_SYNTH_DISABLED);

    if (!b || !(s->opt.flags & QCBM_SYNTH_REPLACE) || !records || (b->flags & Q2_BITMAP_AUTO))
        return 0;
    return qcbmi_synth_note(s->result, err, "the bitmap that is replaced was disabled, the new one records");
}
