/* synth_lost.c - synth where a mapping table may be lost: refuse, or say so
 * SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "bitmap/bitmap_list.h"
#include "ops/lost_tables.h"
#include "ops/synth.h"

/* The clusters of bitmaps count; those of a layer below are not known yet. */
static int look_for_lost(struct synth *s, const struct qcbmi_layer *l, struct qcbmi_lost_tables *out,
                         struct qcbm_error *err)
{
    struct qcbm_image handle = { .image = l->img };
    int ret;

    if (l->img == s->overlay || l->img == s->edit->img)
        return qcbmi_lost_tables_look(l->img == s->overlay ? s->handle : s->edit->handle, out, err);
    ret = qcbmi_bitmap_list_load(&handle, err);
    if (ret == 0)
        ret = qcbmi_lost_tables_look(&handle, out, err);
    qcbmi_handle_clear(&handle);
    return ret;
}

/* What a lost table maps is missing here. With evidence that is refused; a suspicion, which a crash can raise as well, is
 * a note. */
static int treat_lost(struct synth *s, const struct qcbmi_layer *l, struct qcbm_error *err)
{
    struct qcbmi_lost_tables lost;
    char name[256], where[280] = "";
    int ret = look_for_lost(s, l, &lost, err);

    if (l->img != s->overlay)
        snprintf(where, sizeof(where),
                 "layer '%s': ", qcbmi_printable(name, sizeof(name), l->filename, strlen(l->filename)));
    if (ret == 0 && lost.tables && !(s->opt.flags & (QCBM_SYNTH_FORCE | QCBM_SYNTH_ALLOW_DAMAGE)))
        return qcbmi_fail(
            err, QCBM_E_UNSAFE, QCBM_NO_OFFSET,
            "%sa mapping table is lost, and what it maps would be missing: %s; 'qcbm check --explain' tells "
            "more",
            where, lost.evidence);
    if (ret == 0 && lost.tables)
        ret =
            qcbmi_synth_note(s->result, err, "%s%" PRIu64 " mapping tables are lost, what they map is missing here: %s",
                             where, lost.tables, lost.evidence);
    if (ret == 0 && lost.suspicion[0])
        ret = qcbmi_synth_note(s->result, err, "%sif a mapping table is lost, what it maps is missing here: %s", where,
                               lost.suspicion);
    if (ret == 0 && lost.unknown[0])
        ret = qcbmi_synth_note(s->result, err, "%swhether a mapping table is lost cannot be told: %s", where,
                               lost.unknown);
    return ret;
}

int qcbmi_synth_treat_lost(struct synth *s, struct qcbm_error *err)
{
    int ret = 0;

    for (size_t i = 0; ret == 0 && i < s->n_scanned; i++)
        if (!s->chain.layers[i].img->g.raw_data_file) /* all of that is dirty */
            ret = treat_lost(s, &s->chain.layers[i], err);
    return ret;
}
