/* recover.c - a change of several images that was cut short: taken back, or completed
 * SPDX-License-Identifier: MIT
 *
 * Invariants:
 *   - Nothing is written before all images are open and locked, and the way of each is known.
 *   - What is written to is linked to this journal; so a journal from elsewhere does nothing.
 *   - Forward: the decision is made durable again before anything relies on it, since it may have been read from a cache
 *     that a failed flush had left. Each step can be repeated.
 *   - A bitmap that begins later than the decision is never left empty: a guest may have written in between. The fence tells.
 *   - Below an overlay it stays up until the journal is gone, since until then a guest may be started on the old image, whether
 *     the overlay has its name or not. One that fell stays down: a repetition sees the same.
 * States of a disk, once it is decided (enum way): nothing left to do -> its switch goes on from where it was -> another
 * program wrote, the sectors are not to be relied on. together.c has the states of the whole. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/sized.h"
#include "bitmap/bitmap_list.h"
#include "checkpoint/disks.h"
#include "checkpoint/fence.h"
#include "checkpoint/goals.h"
#include "checkpoint/journal.h"
#include "checkpoint/switches.h"
#include "io/io_file.h"
#include "io/journal_link.h"
#include "io/open.h"
#include "write/undo_save.h"

#define SECTOR QCBMI_JOURNAL_SECTOR

enum way {
    WAY_NONE,   /* it has its new state; or, back, it is as it was */
    WAY_SWITCH, /* nobody wrote: the rest of the switch */
    WAY_GOALS   /* somebody did, or may have */
};

struct rec {
    const struct qcbmi_journal_disk *d;
    uint32_t index;
    bool linked, overlay_linked;
    struct qcbmi_disk *disk; /* NULL: not needed, or, on the way back, gone */
    struct qcbmi_io device;  /* of an overlay */
    enum way way;
    bool fence, image_done, overlay_done;
    uint32_t stage; /* of the switch, complete */
    struct qcbmi_superset superset;
};

struct recover {
    struct qcbm_checkpoint_options o;
    char *path; /* full */
    struct qcbmi_io file;
    struct qcbmi_journal j;
    struct qcbm_checkpoint_disk *named;
    struct qcbmi_disks disks;
    struct rec *recs;
    struct qcbm_recover_result result;
};

static struct qcbmi_image *image_of(const struct rec *r)
{
    return r->disk->img->image;
}

static int blame(const struct rec *r, int ret, struct qcbm_error *err)
{
    const struct qcbmi_disk disk = { .target = r->d->target, .path = r->d->image };

    return qcbmi_disk_blame(&disk, ret, err);
}

/* ---- opened -------------------------------------------------------------------------------------------- */

static bool has_overlay(const struct rec *rec)
{
    return rec->d->flags & QCBMI_JOURNAL_OVERLAY;
}

/* What is complete needs no image, but that below an overlay: only its fence tells that nobody wrote to it. On the way back nothing was done to one without a link, and one that is gone cannot be as it
 * was; a block device may have lost its link. */
static bool is_needed(const struct recover *r, const struct rec *rec)
{
    struct qcbmi_io io;
    bool device;

    if (r->j.state == QCBMI_JOURNAL_DECIDED && !rec->d->marked)
        return true;
    if (r->j.state != QCBMI_JOURNAL_OPEN)
        return has_overlay(rec) && qcbmi_file_exists(rec->d->overlay);
    device = qcbmi_open(&io, rec->d->image, false, NULL) == 0 && io.traits.is_device;
    qcbmi_io_close(&io);
    return (rec->linked || device) && qcbmi_file_exists(rec->d->image);
}

static int open_images(struct recover *r, struct qcbm_error *err)
{
    unsigned flags = r->o.open_flags & (QCBM_OPEN_NO_LOCK | QCBM_OPEN_FORCE_SHARE);
    size_t n = 0;
    int ret;

    if (!(r->o.flags & QCBM_CHECKPOINT_DRY_RUN))
        flags = (flags & QCBM_OPEN_NO_LOCK) | QCBM_OPEN_WRITE | QCBMI_OPEN_RECOVERS;
    for (uint32_t i = 0; i < r->j.n_disks; i++)
        if (is_needed(r, &r->recs[i]))
            r->named[n++] = (struct qcbm_checkpoint_disk){ r->j.disks[i].target, r->j.disks[i].image, NULL };
    if (n == 0)
        return 0;
    ret = qcbmi_disks_open(&r->disks, r->named, sizeof(r->named[0]), n, flags, err);
    if (ret < 0)
        return ret;
    for (uint32_t i = 0; i < r->j.n_disks; i++)
        for (size_t k = 0; k < n; k++)
            if (r->disks.list[k].path == r->j.disks[i].image)
                r->recs[i].disk = &r->disks.list[k];
    return 0;
}

/* Moved away and replaced, or resized: what the journal says is not about it. */
static int check_identity(const struct rec *rec, struct qcbm_error *err)
{
    uint8_t identity[QCBMI_DIGEST_BYTES];

    qcbmi_undo_identity(image_of(rec), NULL, 0, identity);
    if (memcmp(identity, rec->d->identity, sizeof(identity)) == 0)
        return 0;
    return qcbmi_fail(err, QCBM_E_UNSAFE, QCBM_NO_OFFSET,
                      "this is not the image that the journal is about, or it was resized since");
}

static int open_device(const struct recover *r, struct rec *rec, struct qcbm_error *err)
{
    bool dry = r->o.flags & QCBM_CHECKPOINT_DRY_RUN;
    int ret = qcbmi_open(&rec->device, rec->d->overlay, !dry, err);

    if (ret == 0 && !dry)
        ret = qcbmi_lock(&rec->device, QCBM_OPEN_WRITE | (r->o.open_flags & QCBM_OPEN_NO_LOCK), err);
    return ret;
}

/* ---- the way of each ----------------------------------------------------------------------------------- */

static int look_at_device(struct rec *rec, struct qcbm_error *err)
{
    uint8_t now[SECTOR];
    int ret = qcbmi_io_read(&rec->device, 0, now, sizeof(now), "first sector", err);

    for (size_t i = 0; ret == 0 && i < rec->d->n_sectors; i++) {
        const struct qcbmi_journal_sector *s = &rec->d->sectors[i];

        if (!s->of_overlay)
            continue;
        rec->overlay_done = memcmp(now, s->before, SECTOR) != 0;
        if (rec->overlay_done && memcmp(now, s->after, SECTOR) != 0 && memcmp(now, "QFI\xfb", 4) != 0)
            ret = qcbmi_fail(err, QCBM_E_UNSAFE, 0, "the block device '%.200s' has something else on it",
                             rec->d->overlay);
    }
    return ret;
}

/* Both names lead to one file: cut between the new one and the end of the old one. */
static bool has_both_names(const struct rec *rec)
{
    struct qcbmi_file_id a, b;

    return qcbmi_identify(rec->d->overlay, &a, NULL) == 0 && qcbmi_identify(rec->d->temporary, &b, NULL) == 0 &&
           qcbmi_same_file(&a, &b);
}

static int look_at_file(struct rec *rec, struct qcbm_error *err)
{
    bool temporary = qcbmi_file_exists(rec->d->temporary);

    rec->overlay_done = qcbmi_file_exists(rec->d->overlay);
    if (!rec->overlay_done && !temporary)
        return qcbmi_fail(err, QCBM_E_NOTFOUND, QCBM_NO_OFFSET, "the overlay '%.200s' is gone", rec->d->overlay);
    if (!rec->overlay_done || !temporary)
        return 0;
    if (has_both_names(rec))
        return 0;
    return qcbmi_fail(err, QCBM_E_EXISTS, QCBM_NO_OFFSET, "another file is called '%.200s' by now", rec->d->overlay);
}

static int look_at_overlay(const struct recover *r, struct rec *rec, struct qcbm_error *err)
{
    int ret;

    rec->overlay_done = true;
    if (!(rec->d->flags & QCBMI_JOURNAL_OVERLAY))
        return 0;
    if (!(rec->d->flags & QCBMI_JOURNAL_DEVICE))
        return look_at_file(rec, err);
    ret = open_device(r, rec, err);
    return ret < 0 ? ret : look_at_device(rec, err);
}

static int look_at_image(struct rec *rec, bool *known, struct qcbm_error *err)
{
    int ret = 0;

    *known = true;
    rec->image_done = true;
    if (rec->d->flags & QCBMI_JOURNAL_FENCED)
        ret = qcbmi_fence_look(image_of(rec), &rec->fence, err);
    if (ret < 0 || !(rec->d->flags & QCBMI_JOURNAL_SWITCHED))
        return ret;
    ret = qcbmi_switches_look(rec->d, &image_of(rec)->io, &rec->stage, known, err);
    rec->image_done = *known && rec->stage == qcbmi_switches_last(rec->d);
    return ret;
}

/* An overlay that is there tells nothing about the image below: a guest may have been started on that all the same. */
static enum way way_of(const struct rec *rec, bool known)
{
    if (rec->fence && known)
        return WAY_SWITCH;
    return rec->image_done && !has_overlay(rec) ? WAY_NONE : WAY_GOALS;
}

static int find_way(const struct recover *r, struct rec *rec, struct qcbm_error *err)
{
    bool known = false;
    int ret;

    if (!rec->disk)
        return 0;
    if (r->j.state != QCBMI_JOURNAL_DONE && !rec->linked && !image_of(rec)->io.traits.is_device)
        return qcbmi_fail(err, QCBM_E_UNSAFE, QCBM_NO_OFFSET,
                          "the image is not linked to this journal: one of them was moved, put it back");
    ret = check_identity(rec, err);
    if (ret == 0)
        ret = look_at_image(rec, &known, err);
    if (ret == 0)
        ret = look_at_overlay(r, rec, err);
    rec->way = ret == 0 ? way_of(rec, known) : WAY_NONE;
    return ret;
}

static int find_ways(struct recover *r, struct qcbm_error *err)
{
    int ret = 0;

    for (uint32_t i = 0; ret == 0 && i < r->j.n_disks; i++) {
        struct rec *rec = &r->recs[i];

        if (r->j.state != QCBMI_JOURNAL_OPEN)
            ret = blame(rec, find_way(r, rec, err), err);
        else if (rec->disk)
            ret = blame(rec, check_identity(rec, err), err);
    }
    return ret;
}

/* ---- back ---------------------------------------------------------------------------------------------- */

static int take_back_one(struct rec *rec, struct qcbm_error *err)
{
    bool has_fence = rec->disk && (rec->d->flags & QCBMI_JOURNAL_FENCED);
    int ret = has_fence ? qcbmi_fence_down(image_of(rec), err) : 0;

    if (ret < 0 || !rec->overlay_linked || !rec->d->temporary[0])
        return ret;
    qcbmi_file_remove(rec->d->temporary);
    return qcbmi_file_sync_folder(rec->d->temporary, err);
}

/* ---- forward ------------------------------------------------------------------------------------------- */

static int publish_device(struct rec *rec, struct qcbm_error *err)
{
    int ret = 0;

    for (size_t i = 0; ret == 0 && i < rec->d->n_sectors; i++)
        if (rec->d->sectors[i].of_overlay)
            ret = qcbmi_io_write(&rec->device, rec->d->sectors[i].off, rec->d->sectors[i].after, SECTOR, err);
    return ret < 0 ? ret : qcbmi_io_flush(&rec->device, err);
}

static int publish(struct rec *rec, struct qcbm_error *err)
{
    if (rec->d->flags & QCBMI_JOURNAL_DEVICE)
        return rec->overlay_done ? 0 : publish_device(rec, err);
    if (!rec->overlay_done)
        return qcbmi_file_publish(rec->d->temporary, rec->d->overlay, err);
    if (!rec->d->temporary[0])
        return 0;
    qcbmi_file_remove(rec->d->temporary);
    return qcbmi_file_sync_folder(rec->d->overlay, err);
}

static int go_on(struct rec *rec, struct qcbm_error *err)
{
    int ret = qcbmi_switches_go_on(rec->d, &image_of(rec)->io, rec->stage, rec->fence, err);

    return ret < 0 ? ret : publish(rec, err);
}

static int fill_overlay(const struct recover *r, struct rec *rec, const char *path, struct qcbm_error *err)
{
    unsigned flags = QCBM_OPEN_WRITE | QCBMI_OPEN_RECOVERS | (r->o.open_flags & QCBM_OPEN_NO_LOCK);
    struct qcbm_image *overlay;
    struct qcbmi_io io;
    int ret = qcbmi_open(&io, path, true, err);

    if (ret == 0)
        ret = qcbmi_handle_open(&io, path, flags, &overlay, err);
    if (ret < 0)
        return ret;
    ret = qcbmi_goals_reach(rec->d, overlay, rec->disk->img, &rec->superset, err);
    qcbmi_handle_close(overlay);
    return ret;
}

/* A file gets its bits before its name, if it has not got that yet. A device must have its first sector to be opened, and its lock is ours. */
static int reach_overlay(const struct recover *r, struct rec *rec, struct qcbm_error *err)
{
    int ret;

    if (!(rec->d->flags & QCBMI_JOURNAL_DEVICE)) {
        ret = fill_overlay(r, rec, rec->overlay_done ? rec->d->overlay : rec->d->temporary, err);
        return ret < 0 ? ret : publish(rec, err);
    }
    ret = publish(rec, err);
    qcbmi_io_close(&rec->device);
    return ret < 0 ? ret : fill_overlay(r, rec, rec->d->overlay, err);
}

static int reach_goals(const struct recover *r, struct rec *rec, struct qcbm_error *err)
{
    int ret;

    if (!(rec->d->flags & QCBMI_JOURNAL_OVERLAY))
        return qcbmi_goals_reach(rec->d, rec->disk->img, rec->disk->img, &rec->superset, err);
    ret = reach_overlay(r, rec, err);
    if (ret == 0 && !rec->image_done)
        ret = qcbmi_goals_of_base(rec->d, rec->disk->img, err);
    return ret;
}

/* Of one that has its new state: the end of an old name need not have been durable. */
static int tidy(struct rec *rec, struct qcbm_error *err)
{
    if (!rec->overlay_linked || !rec->d->temporary[0] || !has_both_names(rec))
        return 0;
    qcbmi_file_remove(rec->d->temporary);
    return qcbmi_file_sync_folder(rec->d->overlay, err);
}

static int complete_one(struct recover *r, struct rec *rec, struct qcbm_error *err)
{
    int ret;

    if (!rec->disk)
        return tidy(rec, err);
    if (rec->way == WAY_SWITCH)
        ret = go_on(rec, err);
    else if (rec->way == WAY_GOALS)
        ret = reach_goals(r, rec, err);
    else
        ret = publish(rec, err);
    if (ret == 0 && (rec->d->flags & QCBMI_JOURNAL_FENCED) && !has_overlay(rec))
        ret = qcbmi_fence_down(image_of(rec), err);
    return ret < 0 || rec->d->marked ? ret : qcbmi_journal_mark(&r->file, &r->j, rec->index, err);
}

/* ---- all of it ----------------------------------------------------------------------------------------- */

static int each_disk(struct recover *r, struct qcbm_error *err)
{
    int ret = 0;

    for (uint32_t i = 0; ret == 0 && i < r->j.n_disks; i++) {
        struct rec *rec = &r->recs[i];

        if (r->j.state == QCBMI_JOURNAL_OPEN)
            ret = blame(rec, take_back_one(rec, err), err);
        else
            ret = blame(rec, complete_one(r, rec, err), err);
    }
    return ret;
}

/* Behind the end of the journal. One that a cut leaves up is a bit that nobody knows, and the next writer clears it. */
static void lower_fences(const struct recover *r)
{
    for (uint32_t i = 0; i < r->j.n_disks; i++) {
        const struct rec *rec = &r->recs[i];

        if (rec->disk && has_overlay(rec) && (rec->d->flags & QCBMI_JOURNAL_FENCED))
            (void)qcbmi_fence_down(image_of(rec), NULL);
    }
}

static int carry_out(struct recover *r, struct qcbm_error *err)
{
    bool decided = r->j.state == QCBMI_JOURNAL_DECIDED;
    int ret = decided ? qcbmi_journal_decide(&r->file, &r->j, QCBMI_JOURNAL_DECIDED, err) : 0;

    if (ret == 0)
        ret = each_disk(r, err);
    if (ret == 0 && decided)
        ret = qcbmi_journal_decide(&r->file, &r->j, QCBMI_JOURNAL_DONE, err);
    if (ret == 0)
        ret = qcbmi_journal_unlink_all(&r->j, r->path, err);
    if (ret == 0)
        ret = qcbmi_journal_remove(r->path, err);
    if (ret == 0)
        lower_fences(r);
    return ret < 0 ? qcbmi_prefix(err, ret, "recovered in part, repeat it: ") : 0;
}

static enum qcbm_checkpoint_outcome outcome_of(const struct recover *r, const struct rec *rec)
{
    if (r->j.state == QCBMI_JOURNAL_OPEN)
        return QCBM_CHECKPOINT_TAKEN_BACK;
    if (rec->way == WAY_GOALS)
        return QCBM_CHECKPOINT_SUPERSET;
    return rec->way == WAY_NONE || (rec->image_done && rec->overlay_done) ? QCBM_CHECKPOINT_COMPLETE
                                                                          : QCBM_CHECKPOINT_COMPLETED;
}

static void tell(struct recover *r)
{
    r->result.forward = r->j.state != QCBMI_JOURNAL_OPEN;
    r->result.disks = r->j.n_disks;
    for (uint32_t i = 0; i < r->j.n_disks; i++) {
        const struct rec *rec = &r->recs[i];
        struct qcbm_checkpoint_told told = { .name = r->j.name, .target = rec->d->target, .image = rec->d->image };

        told.overlay = rec->d->overlay[0] ? rec->d->overlay : NULL;
        told.outcome = outcome_of(r, rec);
        told.dirty_bytes = rec->superset.dirty_bytes;
        told.stand_in = rec->superset.stand_in;
        for (size_t k = 0; k < rec->d->n_goals; k++)
            if (rec->d->goals[k].kind == QCBMI_GOAL_THERE)
                told.granularity = UINT64_C(1) << rec->d->goals[k].gran_bits;
        r->result.supersets += told.outcome == QCBM_CHECKPOINT_SUPERSET;
        if (r->o.disk)
            (void)r->o.disk(r->o.opaque, &told);
    }
}

static int begin(struct recover *r, const char *journal, struct qcbm_error *err)
{
    int ret;

    r->path = qcbmi_full_path(journal, err);
    if (!r->path)
        return err ? err->code : QCBM_E_NOMEM;
    ret = qcbmi_journal_open(&r->file, r->path, &r->j, err);
    if (ret < 0)
        return ret;
    r->recs = qcbmi_alloc_array(r->j.n_disks, sizeof(*r->recs), err);
    r->named = qcbmi_alloc_array(r->j.n_disks, sizeof(*r->named), err);
    if (!r->recs || !r->named)
        return QCBM_E_NOMEM;
    for (uint32_t i = 0; i < r->j.n_disks; i++) {
        struct rec *rec = &r->recs[i];

        rec->d = &r->j.disks[i];
        rec->index = i;
        rec->linked = qcbmi_journal_link_is(rec->d->image, r->path);
        rec->overlay_linked = rec->d->overlay[0] && qcbmi_journal_link_is(rec->d->overlay, r->path);
    }
    return open_images(r, err);
}

static void end(struct recover *r)
{
    qcbmi_disks_close(&r->disks);
    for (uint32_t i = 0; r->recs && i < r->j.n_disks; i++)
        qcbmi_io_close(&r->recs[i].device);
    free(r->recs);
    free(r->named);
    qcbmi_journal_free(&r->j);
    qcbmi_io_close(&r->file);
    free(r->path);
}

int qcbm_checkpoint_recover(const char *journal, const struct qcbm_checkpoint_options *options,
                            struct qcbm_recover_result *out, size_t size, struct qcbm_error *err)
{
    struct recover r = { .o = QCBM_CHECKPOINT_OPTIONS_INIT };
    int ret = qcbmi_take_options(&r.o, sizeof(r.o), options, err);

    if (ret == 0 && out)
        ret = qcbmi_check_size(size, err);
    if (ret < 0)
        return ret;
    ret = begin(&r, journal, err);
    if (ret == 0)
        ret = find_ways(&r, err);
    if (ret == 0 && !(r.o.flags & QCBM_CHECKPOINT_DRY_RUN))
        ret = carry_out(&r, err);
    if (ret == 0)
        tell(&r);
    if (ret == 0 && out)
        qcbmi_give(out, size, &r.result, sizeof(r.result));
    end(&r);
    return ret;
}
