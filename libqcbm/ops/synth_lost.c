/* synth_lost.c - synth where a mapping table may be lost: refuse, or say so
 * SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "bitmap/leak_count.h"
#include "bitmap/leak_none.h"
#include "ops/synth.h"

#define MEMORY (UINT64_C(64) << 20) /* for counting references; with more to count the tables are read again */

struct lost {
    uint64_t tables;      /* leaked clusters that are mapping tables: evidence */
    char evidence[256];   /* the first of them; "" if there is none */
    char suspicion[1024]; /* leaks that may be what a lost table maps, and the guest ranges; "" if there is none */
    char few[256];        /* leaks that raise no suspicion, since a crash leaves as many; "" if there is none */
    char unknown[512];    /* why nothing can be told; "" if it can */
};

static void put_into_words(const struct qcbmi_lost_clues *clues, const struct qcbmi_lost *found, struct lost *out)
{
    out->tables = found->n_evidence;
    for (size_t i = 0; i < found->n && !out->evidence[0]; i++)
        if (qcbmi_lost_is_evidence(&found->list[i]))
            qcbmi_lost_table_text(clues->img, &found->list[i], out->evidence, sizeof(out->evidence));
    if (found->suspicion)
        qcbmi_lost_suspicion_text(clues->img, clues->leaks, found, out->suspicion, sizeof(out->suspicion));
    else if (!found->n_evidence && found->room && clues->leaks->n_leaked)
        qcbmi_lost_few_text(clues->img, clues->leaks, out->few, sizeof(out->few));
}

/* What others write meanwhile tells nothing: an image that is shared is not looked at. */
static int look(const struct qcbm_image *handle, struct qcbmi_l2_named *named, struct lost *out, struct qcbm_error *err)
{
    struct qcbmi_holes holes;
    struct qcbmi_leaks leaks = { 0 };
    struct qcbmi_lost_clues clues = { handle->image, handle->bitmaps, &holes, &leaks, false };
    struct qcbmi_lost found = { 0 };
    struct qcbm_error why;
    bool none;
    int ret;

    if (handle->image->open_flags & QCBM_OPEN_FORCE_SHARE)
        return 0;
    qcbmi_holes_init(&holes, &handle->image->io);
    ret = qcbmi_leaks_none(&clues, named, &none, &why);
    if (ret == 0 && !none)
        ret = qcbmi_leaks_count(&clues, MEMORY, NULL, &why);
    if (ret == 0)
        ret = qcbmi_lost_search(&clues, &found, &why);
    if (ret == 0)
        put_into_words(&clues, &found, out);
    qcbmi_lost_free(&found);
    qcbmi_leaks_free(&leaks);
    qcbmi_holes_free(&holes);
    if (ret == QCBM_E_CORRUPT || ret == QCBM_E_LIMIT)
        snprintf(out->unknown, sizeof(out->unknown), "%s", why.message);
    else if (ret < 0 && err)
        *err = why;
    return out->unknown[0] ? 0 : ret;
}

/* The clusters of bitmaps count; those of a layer below are not known yet. */
static int look_at_layer(struct synth *s, const struct qcbmi_layer *l, struct lost *out, struct qcbm_error *err)
{
    struct qcbmi_l2_named *named = &s->named[l - s->chain.layers];
    struct qcbm_image handle = { .image = l->img };
    int ret;

    if (l->img == s->overlay || (s->edit && l->img == s->target))
        return look(l->img == s->overlay ? s->handle : s->edit->handle, named, out, err);
    ret = qcbmi_bitmap_list_load(&handle, err);
    if (ret == 0)
        ret = look(&handle, named, out, err);
    qcbmi_handle_clear(&handle);
    return ret;
}

/* What a lost table maps is missing here. With evidence that is refused; a suspicion, which a crash can raise as well,
 * is a note, and so is any other leak. */
static int treat_lost(struct synth *s, const struct qcbmi_layer *l, struct qcbm_error *err)
{
    struct lost lost = { 0 };
    char name[256], where[280] = "";
    int ret = look_at_layer(s, l, &lost, err);

    if (l->img != s->overlay)
        snprintf(where, sizeof(where),
                 "layer '%s': ", qcbmi_printable(name, sizeof(name), l->filename, strlen(l->filename)));
    if (ret == 0 && lost.tables && !(s->opt.flags & (QCBM_SYNTH_FORCE | QCBM_SYNTH_ALLOW_DAMAGE)))
        return qcbmi_image_refuse(l->img,
                                  qcbmi_fail(err, QCBM_E_UNSAFE, QCBM_NO_OFFSET,
                                             "%sa mapping table is lost, and what it maps would be missing: %s", where,
                                             lost.evidence),
                                  err);
    if (ret == 0 && lost.tables)
        ret = qcbmi_synth_note(s->result, err, "%s%" PRIu64 " mapping table%s lost, what %s is missing here: %s", where,
                               lost.tables, lost.tables == 1 ? " is" : "s are",
                               lost.tables == 1 ? "it maps" : "they map", lost.evidence);
    if (ret == 0 && lost.suspicion[0])
        ret = qcbmi_synth_note(s->result, err, "%sif a mapping table is lost, what it maps is missing here: %s", where,
                               lost.suspicion);
    if (ret == 0 && lost.few[0])
        ret = qcbmi_synth_note(s->result, err, "%s%s", where, lost.few);
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
