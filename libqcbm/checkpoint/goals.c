/* goals.c - bitmaps brought to what a change was to make of them, where a guest ran before it was complete
 * SPDX-License-Identifier: MIT */
#include "checkpoint/goals.h"

#include <string.h>

#include "base/checked.h"
#include "bitmap/bitmap_edit.h"
#include "bitmap/bitmap_load.h"
#include "bitmap/bitmap_mend.h"
#include "checkpoint/disks.h"

/* ---- who may stand in ---------------------------------------------------------------------------------- */

/* Dirty granules, or UINT64_MAX: it cannot stand in. */
static int count_dirty(struct qcbm_image *from, const struct qcbmi_journal_goal *older, uint64_t *dirty,
                       struct qcbm_error *err)
{
    const struct qcbmi_bitmap *b = qcbmi_bitmap_find(from->bitmaps, older->name);
    struct qcbmi_dirtymap map = { 0 };
    bool records = false;
    int ret = b ? qcbmi_bitmap_records(from, b, &records, err) : 0;

    *dirty = UINT64_MAX;
    if (ret < 0 || !records || b->d.granularity_bits != older->gran_bits)
        return ret;
    ret = qcbmi_bitmap_load(from->image, b, &map, err);
    if (ret == 0 && qcbmi_bitset_count(&map.bits) >= older->dirty)
        *dirty = qcbmi_dirtymap_dirty_bytes(&map);
    qcbmi_dirtymap_free(&map);
    return ret;
}

/* The newest has the fewest bits. */
static int find_stand_in(const struct qcbmi_journal_disk *d, struct qcbm_image *from, const char **name,
                         struct qcbm_error *err)
{
    uint64_t least = UINT64_MAX, dirty;
    int ret = 0;

    *name = NULL;
    for (size_t i = 0; ret == 0 && i < d->n_goals; i++) {
        if (d->goals[i].kind != QCBMI_GOAL_OLDER)
            continue;
        ret = count_dirty(from, &d->goals[i], &dirty, err);
        if (ret < 0 || dirty >= least)
            continue;
        least = dirty;
        *name = d->goals[i].name;
    }
    return ret;
}

/* ---- one goal ------------------------------------------------------------------------------------------ */

/* There, enabled, and readable: else a new one comes in its place. */
static int have(struct qcbm_edit *edit, const struct qcbmi_journal_goal *g, struct qcbm_error *err)
{
    struct qcbmi_edit_bitmap *b = qcbmi_edit_list_find(&edit->list, g->name);
    int ret = 0;

    if (b && qcbmi_edit_find_consistent(edit, g->name, &b, NULL) == 0)
        return qcbm_edit_enable(edit, g->name, err);
    while (ret == 0 && qcbmi_edit_list_find(&edit->list, g->name))
        ret = qcbm_edit_remove(edit, g->name, err);
    return ret < 0 ? ret : qcbm_edit_add(edit, g->name, UINT64_C(1) << g->gran_bits, 0, err);
}

/* @from NULL: the image that is edited itself. */
static int fill(const struct qcbmi_journal_disk *d, struct qcbm_edit *edit, const struct qcbmi_journal_goal *g,
                struct qcbm_image *from, struct qcbmi_superset *out, struct qcbm_error *err)
{
    struct qcbm_image *older = from ? from : edit->handle;
    struct qcbmi_edit_bitmap *b;
    const char *stand_in = NULL;
    int ret = have(edit, g, err);

    /* Of stale bitmaps none recorded all the time, though the edit keeps them. */
    if (ret == 0 && !older->bitmaps->stale && edit->img->g.size == older->image->g.size)
        ret = find_stand_in(d, older, &stand_in, err);
    if (ret == 0 && stand_in)
        ret = qcbm_edit_merge(edit, g->name, from, stand_in, err);
    else if (ret == 0)
        ret = qcbm_edit_set_range(edit, g->name, 0, edit->img->g.size, err);
    if (ret == 0)
        ret = qcbmi_edit_find_consistent(edit, g->name, &b, err);
    if (ret == 0)
        *out = (struct qcbmi_superset){ b->bits_changed ? qcbmi_dirtymap_dirty_bytes(&b->map) : 0, stand_in };
    return ret;
}

/* Frozen below before the guest ran there, it did not record what that wrote: its continuation has everything. */
static int continued(struct qcbm_edit *edit, const struct qcbmi_journal_goal *g, struct qcbm_image *from,
                     struct qcbm_error *err)
{
    const struct qcbmi_bitmap *b = qcbmi_bitmap_find(from->bitmaps, g->name);
    bool records = false;
    int ret = b ? qcbmi_bitmap_records(from, b, &records, err) : 0;

    if (ret < 0 || records || !qcbmi_edit_list_find(&edit->list, g->name))
        return ret;
    ret = have(edit, g, err);
    return ret < 0 ? ret : qcbm_edit_set_range(edit, g->name, 0, edit->img->g.size, err);
}

/* What is not there, or cannot be relied on, need not be disabled. */
static int of_image(struct qcbm_edit *edit, const struct qcbmi_journal_goal *g, struct qcbm_error *err)
{
    struct qcbmi_edit_bitmap *b = qcbmi_edit_list_find(&edit->list, g->name);

    if (!b)
        return 0;
    if (g->kind == QCBMI_GOAL_GONE)
        return qcbm_edit_remove(edit, g->name, err);
    if (g->kind == QCBMI_GOAL_DISABLED && qcbmi_edit_find_consistent(edit, g->name, &b, NULL) == 0)
        return qcbm_edit_disable(edit, g->name, err);
    return 0;
}

/* ---- all of a disk ------------------------------------------------------------------------------------- */

static int reach(const struct qcbmi_journal_disk *d, struct qcbm_edit *edit, struct qcbm_image *from, bool base,
                 struct qcbmi_superset *out, struct qcbm_error *err)
{
    bool of_overlay = from != NULL;
    int ret = 0;

    for (size_t i = 0; ret == 0 && i < d->n_goals; i++) {
        const struct qcbmi_journal_goal *g = &d->goals[i];

        if (g->kind == QCBMI_GOAL_THERE && !base)
            ret = fill(d, edit, g, from, out, err);
        else if (g->kind == QCBMI_GOAL_DISABLED && of_overlay)
            ret = continued(edit, g, from, err);
        else if (g->kind != QCBMI_GOAL_THERE && !of_overlay)
            ret = of_image(edit, g, err);
    }
    return ret < 0 ? ret : qcbm_edit_commit(edit, NULL, 0, err);
}

static int with_edit(const struct qcbmi_journal_disk *d, struct qcbm_image *to, struct qcbm_image *from, bool base,
                     struct qcbmi_superset *out, struct qcbm_error *err)
{
    struct qcbm_edit *edit;
    int ret = qcbmi_edit_begin_keeping(to, &edit, err);

    if (ret < 0)
        return ret;
    ret = reach(d, edit, from == to ? NULL : from, base, out, err);
    qcbm_edit_free(edit);
    return ret;
}

int qcbmi_goals_reach(const struct qcbmi_journal_disk *d, struct qcbm_image *to, struct qcbm_image *from,
                      struct qcbmi_superset *out, struct qcbm_error *err)
{
    *out = (struct qcbmi_superset){ 0 };
    return with_edit(d, to, from, false, out, err);
}

int qcbmi_goals_of_base(const struct qcbmi_journal_disk *d, struct qcbm_image *base, struct qcbm_error *err)
{
    struct qcbmi_superset unused;

    return with_edit(d, base, base, true, &unused, err);
}
