/* reclaim.c - all bitmaps but those of checkpoints that stay, removed from all layers of all disks, or from none
 * SPDX-License-Identifier: MIT
 *
 * A checkpoint is nothing but its bitmaps, and no other one needs them: so what goes is a set, in any order. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/progress.h"
#include "base/sized.h"
#include "checkpoint/machine.h"
#include "checkpoint/machine_commit.h"

struct reclaim {
    struct qcbmi_machine machine;
    struct qcbm_checkpoint_reclaim_options opt;
    bool *seen;                /* of those that stay: some layer has it */
    struct qcbmi_progress way; /* in layers */
};

static size_t find_kept(const struct reclaim *r, const char *name)
{
    size_t i = 0;

    while (i < r->opt.n_keep && strcmp(r->opt.keep[i], name) != 0)
        i++;
    return i;
}

static bool has_name(const struct qcbmi_bitmap *b)
{
    return strlen(b->name) == b->d.name_len; /* one with a NUL in it is nobody's, and cannot be asked for */
}

static bool will_change(void *opaque, const struct qcbmi_disk_chain *c, size_t at)
{
    const struct reclaim *r = opaque;
    const struct qcbmi_bitmap_list *list = c->layers[at].img ? c->layers[at].img->bitmaps : NULL;
    bool any = false;

    for (uint32_t i = 0; list && i < list->n; i++) {
        size_t kept = find_kept(r, list->list[i].name);

        any |= kept == r->opt.n_keep && has_name(&list->list[i]);
        if (kept < r->opt.n_keep)
            r->seen[kept] = true;
    }
    return any;
}

/* A name that is nowhere is more likely mistyped than known to be gone, and what was meant would be removed. */
static int check_kept(const struct reclaim *r, struct qcbm_error *err)
{
    char text[160];

    for (size_t i = 0; i < r->opt.n_keep; i++)
        if (!r->seen[i] && !(r->opt.how & QCBM_RECLAIM_FORCE))
            return qcbmi_fail(err, QCBM_E_NOTFOUND, QCBM_NO_OFFSET,
                              "'%s' is to be kept, and no disk has a bitmap of that name; with --force all others are "
                              "removed nevertheless",
                              qcbmi_printable(text, sizeof text, r->opt.keep[i], strlen(r->opt.keep[i])));
    return 0;
}

static int remove_one(struct reclaim *r, struct qcbmi_machine_disk *d, size_t at, const struct qcbmi_bitmap *b,
                      struct qcbm_error *err)
{
    struct qcbm_reclaimed told = {
        .disk = d->target, .layer = d->c.layers[at].filename, .name = b->name, .depth = (uint32_t)at
    };
    struct qcbm_edit *edit;
    int ret = qcbmi_machine_edit(&r->machine, d, at, &edit, err);

    if (ret == 0)
        ret = qcbm_edit_remove(edit, b->name, err);
    if (ret < 0)
        return qcbmi_machine_blame(d, at, ret, err);
    return r->opt.removed && r->opt.removed(r->opt.opaque, &told) ? qcbmi_fail_stopped(err) : 0;
}

static int reclaim_layer(struct reclaim *r, struct qcbmi_machine_disk *d, size_t at, struct qcbm_error *err)
{
    const struct qcbmi_bitmap_list *list = d->c.layers[at].img ? d->c.layers[at].img->bitmaps : NULL;
    int ret = 0;

    if (!list || qcbmi_machine_edit_of(&r->machine, d, at)) /* another disk has this layer, too */
        return 0;
    for (uint32_t i = 0; ret == 0 && i < list->n; i++)
        if (has_name(&list->list[i]) && find_kept(r, list->list[i].name) == r->opt.n_keep)
            ret = remove_one(r, d, at, &list->list[i], err);
    return ret;
}

/* QEMU opens no image that has a bitmap of another name, so no guest can run before that is gone. */
static bool has_possible_name(const struct qcbmi_bitmap *b)
{
    return b->d.name_len > 0 && b->d.name_len <= Q2_MAX_BITMAP_NAME;
}

/* The journal takes none that a bitmap could not have; that of one that goes matters to nobody. */
static uint32_t granularity_of(const struct qcbmi_bitmap *b)
{
    unsigned bits = b->d.granularity_bits;

    return bits < Q2_MIN_GRANULARITY_BITS || bits > Q2_MAX_GRANULARITY_BITS ? Q2_MAX_GRANULARITY_BITS : bits;
}

static int note_goals(void *opaque, const struct qcbmi_machine_image *image, struct qcbmi_journal_disk *part,
                      struct qcbm_error *err)
{
    const struct qcbmi_bitmap_list *list = image->img->bitmaps;
    const struct reclaim *r = opaque;
    int ret = 0;

    for (uint32_t i = 0; ret == 0 && i < list->n; i++)
        if (has_name(&list->list[i]) && has_possible_name(&list->list[i]) &&
            find_kept(r, list->list[i].name) == r->opt.n_keep)
            ret = qcbmi_journal_add_goal(part, QCBMI_GOAL_GONE, list->list[i].name, granularity_of(&list->list[i]), 0,
                                         err);
    return ret;
}

static int run(struct reclaim *r, struct qcbm_error *err)
{
    const struct qcbmi_machine_commit how = { QCBMI_JOURNAL_REMOVES, "reclaim",  r->opt.journal,
                                              r->opt.undo,           note_goals, r };
    int ret = check_kept(r, err);

    r->way = (struct qcbmi_progress){ .to = r->opt.progress, .total = qcbmi_machine_layers(&r->machine) };
    for (size_t i = 0; ret == 0 && i < r->machine.n_disks; i++)
        for (size_t k = 0; ret == 0 && k < r->machine.disks[i].c.n; k++) {
            ret = reclaim_layer(r, &r->machine.disks[i], k, err);
            if (ret == 0)
                ret = qcbmi_progress_add(&r->way, 1, err);
        }
    return ret < 0 ? ret : qcbmi_machine_commit(&r->machine, &how, r->opt.flags, err);
}

int qcbm_checkpoint_reclaim(const struct qcbm_checkpoint_disk *disks, size_t elem_size, size_t n,
                            const struct qcbm_checkpoint_reclaim_options *options, struct qcbm_error *err)
{
    struct reclaim r = { .opt = QCBM_CHECKPOINT_RECLAIM_OPTIONS_INIT };
    int ret = qcbmi_take_options(&r.opt, sizeof r.opt, options, err);

    if (ret < 0)
        return ret;
    if (r.opt.n_keep == 0)
        return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET, "no checkpoint that is to be kept");
    r.seen = qcbmi_alloc_array(r.opt.n_keep, sizeof(r.seen[0]), err);
    if (!r.seen)
        return QCBM_E_NOMEM;
    ret = qcbmi_machine_open(&r.machine, disks, elem_size, n, r.opt.flags, will_change, &r, err);
    if (ret == 0)
        ret = run(&r, err);
    qcbmi_machine_close(&r.machine);
    free(r.seen);
    return ret;
}
