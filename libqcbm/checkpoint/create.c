/* create.c - a checkpoint: a bitmap on every disk of a machine, or on none
 * SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/sized.h"
#include "bitmap/bitmap_load.h"
#include "checkpoint/together.h"

struct create {
    const char *name;
    struct qcbm_checkpoint_options o;
    struct qcbmi_disks disks;
    struct qcbmi_together t;
    struct qcbm_checkpoint_told *told;
    struct qcbm_checkpoint_result result;
};

/* ---- what refuses it ----------------------------------------------------------------------------------- */

/* A running machine has them so, on whatever host, and a lock need not reach that. */
static int check_in_use(const struct create *c, const struct qcbm_image *img, struct qcbm_error *err)
{
    char text[200];

    if (c->o.flags & QCBM_CHECKPOINT_FORCE)
        return 0;
    if (img->bitmaps->stale)
        return qcbmi_fail(err, QCBM_E_UNSAFE, QCBM_NO_OFFSET,
                          "its bitmaps are stale, as a program that does not know bitmaps wrote to it, and would be "
                          "dropped: mend the checkpoints, or keep the bitmaps, all dirty, by a repair of bitmaps, "
                          "or use force");
    for (uint32_t i = 0; i < img->bitmaps->n; i++) {
        const struct qcbmi_bitmap *b = &img->bitmaps->list[i];

        if (b->d.flags & Q2_BITMAP_IN_USE)
            return qcbmi_fail(err, QCBM_E_INUSE, b->entry_offset,
                              "bitmap '%s' is in use: the machine may be running on another host, or has crashed; "
                              "revive or remove the bitmap, or use force",
                              qcbmi_printable(text, sizeof(text), b->name, b->d.name_len));
    }
    return 0;
}

/* Is the bitmap there as a run that was cut short by a restart would have left it? */
static int is_fresh(struct qcbm_image *img, const struct qcbmi_bitmap *b, bool *fresh, struct qcbm_error *err)
{
    struct qcbmi_dirtymap map = { 0 };
    int ret = qcbmi_bitmap_records(img, b, fresh, err);

    if (ret < 0 || !*fresh)
        return ret;
    ret = qcbmi_bitmap_load(img->image, b, &map, err);
    *fresh = ret == 0 && qcbmi_bitset_count(&map.bits) == 0;
    qcbmi_dirtymap_free(&map);
    return ret;
}

/* *@there: the disk needs no change. */
static int check_name_free(const struct create *c, const struct qcbmi_disk *disk, bool *there, struct qcbm_error *err)
{
    const struct qcbmi_bitmap *b = qcbmi_bitmap_find(disk->img->bitmaps, c->name);
    int ret = 0;

    *there = false;
    if (b && (c->o.flags & QCBM_CHECKPOINT_RESUME) && !disk->overlay)
        ret = is_fresh(disk->img, b, there, err);
    if (ret < 0 || *there || !b)
        return ret;
    return qcbmi_fail(err, QCBM_E_EXISTS, QCBM_NO_OFFSET, "Bitmap already exists: %s%s", c->name,
                      c->o.flags & QCBM_CHECKPOINT_RESUME && !disk->overlay
                          ? ", and it is not an empty one that records and can be relied on"
                          : "");
}

/* ---- what is to be done -------------------------------------------------------------------------------- */

/* What may stand in for the new bitmap, should a guest run before it is there. */
static int note_older(struct qcbmi_member *m, const struct qcbmi_bitmap *b, struct qcbm_error *err)
{
    struct qcbmi_dirtymap map = { 0 };
    int ret = qcbmi_bitmap_load(m->disk->img->image, b, &map, err);

    if (ret == 0)
        ret = qcbmi_journal_add_goal(&m->part, QCBMI_GOAL_OLDER, b->name, b->d.granularity_bits,
                                     qcbmi_bitset_count(&map.bits), err);
    qcbmi_dirtymap_free(&map);
    return ret;
}

/* With an overlay and not frozen, the image stays as it is: there is no edit. */
static int note_goals(struct create *c, struct qcbmi_member *m, unsigned gran_bits, struct qcbm_error *err)
{
    struct qcbm_image *img = m->disk->img;
    bool freeze = m->overlay && (c->o.flags & QCBM_CHECKPOINT_FREEZE);
    int ret = qcbmi_journal_add_goal(&m->part, QCBMI_GOAL_THERE, c->name, gran_bits, 0, err);

    for (uint32_t i = 0; ret == 0 && i < img->bitmaps->n; i++) {
        const struct qcbmi_bitmap *b = &img->bitmaps->list[i];
        bool records;

        ret = qcbmi_bitmap_records(img, b, &records, err);
        if (ret == 0 && records)
            ret = note_older(m, b, err);
        if (ret < 0 || !records || !freeze)
            continue;
        ret = qcbmi_journal_add_goal(&m->part, QCBMI_GOAL_DISABLED, b->name, b->d.granularity_bits, 0, err);
        if (ret == 0)
            ret = qcbm_edit_disable(m->edit, b->name, err);
        c->told[m - c->t.members].disabled++;
    }
    return ret;
}

static int make_overlay(const struct create *c, struct qcbmi_member *m, struct qcbm_error *err)
{
    const struct qcbmi_overlay_image_options o = { .base_path = m->disk->path,
                                                   .path = m->disk->overlay,
                                                   .name = c->name,
                                                   .granularity = c->o.granularity,
                                                   .force = c->o.flags & QCBM_CHECKPOINT_FORCE,
                                                   .device = &m->disk->device };
    struct qcbm_checkpoint_told *told = &c->told[m - c->t.members];
    int ret;

    m->overlay = qcbmi_alloc_array(1, sizeof(*m->overlay), err);
    if (!m->overlay)
        return QCBM_E_NOMEM;
    ret = qcbmi_overlay_image_make(m->overlay, m->disk->img, &o, err);
    told->continued = m->overlay->n_continued;
    told->overlay_size = m->overlay->len;
    return ret < 0 ? qcbmi_prefix(err, ret, "overlay '%.150s': ", m->disk->overlay) : 0;
}

static int stage(struct create *c, struct qcbmi_member *m, struct qcbm_error *err)
{
    bool freeze = m->disk->overlay && (c->o.flags & QCBM_CHECKPOINT_FREEZE);
    unsigned gran_bits = 0;
    int ret = 0;

    if (!m->disk->overlay || freeze) {
        ret = qcbm_edit_begin(m->disk->img, &m->edit, err);
        if (ret == 0)
            ret = qcbmi_together_set_undo(m, c->o.undo_folder, err);
    }
    if (ret == 0)
        ret = qcbmi_edit_granularity(&(struct qcbm_edit){ .img = m->disk->img->image }, c->o.granularity, &gran_bits,
                                     err);
    if (ret == 0)
        ret = m->disk->overlay ? make_overlay(c, m, err) : qcbm_edit_add(m->edit, c->name, c->o.granularity, 0, err);
    if (ret == 0)
        ret = note_goals(c, m, gran_bits, err);
    c->told[m - c->t.members].granularity = UINT64_C(1) << gran_bits;
    return ret;
}

static int stage_one(struct create *c, size_t i, struct qcbm_error *err)
{
    struct qcbmi_member *m = &c->t.members[i];
    bool there = false;
    int ret = check_in_use(c, m->disk->img, err);

    if (ret == 0)
        ret = check_name_free(c, m->disk, &there, err);
    c->told[i] = (struct qcbm_checkpoint_told){
        .name = c->name, .target = m->disk->target, .image = m->disk->path, .overlay = m->disk->overlay
    };
    c->told[i].outcome = there ? QCBM_CHECKPOINT_THERE : QCBM_CHECKPOINT_CREATED;
    if (ret < 0)
        return ret;
    c->result.there += there;
    c->result.created += !there;
    if (there)
        c->told[i].granularity = UINT64_C(1) << qcbmi_bitmap_find(m->disk->img->bitmaps, c->name)->d.granularity_bits;
    return there ? 0 : stage(c, m, err);
}

/* ---- told ---------------------------------------------------------------------------------------------- */

struct steps {
    const struct create *c;
    const struct qcbm_checkpoint_told *told;
};

static int tell_step(void *opaque, const struct qcbm_plan_step *step)
{
    const struct steps *s = opaque;

    return s->c->o.step(s->c->o.opaque, s->told, step);
}

static int tell(const struct create *c, struct qcbm_error *err)
{
    bool dry = c->o.flags & QCBM_CHECKPOINT_DRY_RUN;
    int ret = 0;

    for (size_t i = 0; ret == 0 && i < c->t.n; i++) {
        struct steps s = { c, &c->told[i] };

        if (c->o.disk && c->o.disk(c->o.opaque, &c->told[i]) && dry)
            return qcbmi_fail_stopped(err);
        if (dry && c->o.step && c->t.members[i].commits)
            ret = qcbmi_plan_each(&c->t.members[i].edit->plan, tell_step, &s, err);
    }
    return ret;
}

/* ---- all of it ----------------------------------------------------------------------------------------- */

static int check_options(const struct create *c, struct qcbm_error *err)
{
    bool any = false;

    for (size_t i = 0; i < c->disks.n; i++)
        any |= c->disks.list[i].overlay != NULL;
    if ((c->o.flags & QCBM_CHECKPOINT_FREEZE) && !any)
        return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET, "only an image that gets an overlay can be frozen");
    return 0;
}

static int run(struct create *c, struct qcbm_error *err)
{
    int ret = check_options(c, err);

    if (ret == 0)
        ret = qcbmi_together_begin(&c->t, &c->disks, QCBMI_JOURNAL_CREATES, c->name, c->o.journal, err);
    if (ret == 0 && !(c->told = qcbmi_alloc_array(c->disks.n, sizeof(*c->told), err)))
        ret = QCBM_E_NOMEM;
    for (size_t i = 0; ret == 0 && i < c->t.n; i++)
        ret = qcbmi_disk_blame(c->t.members[i].disk, stage_one(c, i, err), err);
    if (ret == 0)
        ret = qcbmi_together_plan(&c->t, err);
    for (size_t i = 0; ret == 0 && i < c->t.n; i++)
        if (c->t.members[i].commits)
            qcbmi_plan_summary(&c->t.members[i].edit->plan, c->t.members[i].disk->img->image, &c->told[i].plan);
    if (ret == 0 && !(c->o.flags & QCBM_CHECKPOINT_DRY_RUN))
        ret = qcbmi_together_commit(&c->t, err);
    return ret < 0 ? ret : tell(c, err);
}

int qcbm_checkpoint_create(const char *name, const struct qcbm_checkpoint_disk *disks, size_t disk_size, size_t n,
                           const struct qcbm_checkpoint_options *options, struct qcbm_checkpoint_result *out,
                           size_t size, struct qcbm_error *err)
{
    struct create c = { .name = name, .o = QCBM_CHECKPOINT_OPTIONS_INIT, .result.disks = (uint32_t)n };
    int ret = qcbmi_take_options(&c.o, sizeof(c.o), options, err);
    unsigned flags;

    if (ret == 0 && out)
        ret = qcbmi_check_size(size, err);
    if (ret == 0)
        ret = qcbmi_checkpoint_check_name(name, err);
    flags = c.o.open_flags & (QCBM_OPEN_NO_LOCK | QCBM_OPEN_FORCE_SHARE);
    if (!(c.o.flags & QCBM_CHECKPOINT_DRY_RUN))
        flags = (flags & QCBM_OPEN_NO_LOCK) | QCBM_OPEN_WRITE;
    if (ret == 0)
        ret = qcbmi_disks_open_below(&c.disks, disks, disk_size, n, flags, err);
    if (ret < 0)
        return ret;
    ret = run(&c, err);
    if (ret == 0 && out)
        qcbmi_give(out, size, &c.result, sizeof(c.result));
    qcbmi_together_free(&c.t);
    qcbmi_disks_close(&c.disks);
    free(c.told);
    return ret;
}
