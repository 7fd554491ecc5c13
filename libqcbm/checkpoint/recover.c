/* recover.c - a change of several images that was cut short: taken back, or completed
 * SPDX-License-Identifier: MIT
 *
 * Invariants:
 *   - Nothing is written before all images are open and locked, and the way of each is known.
 *   - What is written to is linked to this journal; so a journal from elsewhere does nothing.
 *   - Forward: the decision is made durable again before anything relies on it, since it may have been read from a
 *     cache that a failed flush had left. Each step can be repeated.
 *   - A bitmap that begins later than the decision is never left empty: a guest may have written in between. The fence
 *     tells.
 *   - Below an overlay it stays up until the journal is gone, since until then a guest may be started on the old image,
 *     whether the overlay has its name or not. One that fell stays down: a repetition sees the same.
 * States of a disk, once it is decided (enum qcbmi_recover_way, recover_look.c): nothing left to do -> its switch goes
 * on from where it was -> another program wrote, the sectors are not to be relied on. together.c has the states of the
 * whole. */
#include <string.h>

#include "base/sized.h"
#include "checkpoint/fence.h"
#include "checkpoint/journal.h"
#include "checkpoint/recover_look.h"
#include "checkpoint/switches.h"
#include "io/io_file.h"
#include "io/open.h"

#define SECTOR QCBMI_JOURNAL_SECTOR
#define UNDO_MAGIC "QCBMUNDO"

/* ---- back ---------------------------------------------------------------------------------------------- */

/* It was not there when the change was planned. Only what such a file can look like goes: one that is empty, or begins
 * as it. */
static void remove_undo(const char *path)
{
    char begin[8] = UNDO_MAGIC;
    struct qcbmi_io io;
    bool is = qcbmi_open(&io, path, false, NULL) == 0 && !io.traits.is_device;

    if (is && io.size)
        is = io.size >= sizeof(begin) && qcbmi_io_read(&io, 0, begin, sizeof(begin), "undo file", NULL) == 0;
    qcbmi_io_close(&io);
    if (is && memcmp(begin, UNDO_MAGIC, sizeof(begin)) == 0 && qcbmi_file_is_own(path))
        qcbmi_file_remove(path);
}

static int take_back_one(struct qcbmi_recover_disk *rec, struct qcbm_error *err)
{
    bool has_fence = rec->disk && (rec->d->flags & QCBMI_JOURNAL_FENCED);
    int ret = has_fence ? qcbmi_fence_down(qcbmi_recover_image(rec), err) : 0;

    if (ret == 0 && rec->linked && rec->d->undo)
        remove_undo(rec->d->undo);
    if (ret < 0 || !rec->overlay_linked || !rec->d->temporary[0])
        return ret;
    qcbmi_file_remove(rec->d->temporary);
    return qcbmi_file_sync_folder(rec->d->temporary, err);
}

/* ---- forward ------------------------------------------------------------------------------------------- */

static int publish_device(struct qcbmi_recover_disk *rec, struct qcbm_error *err)
{
    int ret = 0;

    for (size_t i = 0; ret == 0 && i < rec->d->n_sectors; i++)
        if (rec->d->sectors[i].of_overlay)
            ret = qcbmi_io_write(&rec->device, rec->d->sectors[i].off, rec->d->sectors[i].after, SECTOR, err);
    return ret < 0 ? ret : qcbmi_io_flush(&rec->device, err);
}

static int publish(struct qcbmi_recover_disk *rec, struct qcbm_error *err)
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

static int go_on(struct qcbmi_recover_disk *rec, struct qcbm_error *err)
{
    int ret = qcbmi_switches_go_on(rec->d, &qcbmi_recover_image(rec)->io, rec->stage, rec->fence, err);

    return ret < 0 ? ret : publish(rec, err);
}

static int fill_overlay(const struct qcbmi_recover *r, struct qcbmi_recover_disk *rec, const char *path,
                        struct qcbm_error *err)
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

/* A file gets its bits before its name, if it has not got that yet. A device must have its first sector to be opened,
 * and its lock is ours. */
static int reach_overlay(const struct qcbmi_recover *r, struct qcbmi_recover_disk *rec, struct qcbm_error *err)
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

static int reach_goals(const struct qcbmi_recover *r, struct qcbmi_recover_disk *rec, struct qcbm_error *err)
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
static int tidy(struct qcbmi_recover_disk *rec, struct qcbm_error *err)
{
    if (!rec->overlay_linked || !rec->d->temporary[0] || !qcbmi_recover_has_both_names(rec))
        return 0;
    qcbmi_file_remove(rec->d->temporary);
    return qcbmi_file_sync_folder(rec->d->overlay, err);
}

static int complete_one(struct qcbmi_recover *r, struct qcbmi_recover_disk *rec, struct qcbm_error *err)
{
    int ret;

    if (!rec->disk)
        return tidy(rec, err);
    if (rec->way == QCBMI_WAY_SWITCH)
        ret = go_on(rec, err);
    else if (rec->way == QCBMI_WAY_GOALS)
        ret = reach_goals(r, rec, err);
    else
        ret = publish(rec, err);
    if (ret == 0 && (rec->d->flags & QCBMI_JOURNAL_FENCED) && !qcbmi_recover_has_overlay(rec))
        ret = qcbmi_fence_down(qcbmi_recover_image(rec), err);
    return ret < 0 || rec->d->marked ? ret : qcbmi_journal_mark(&r->file, &r->j, rec->index, err);
}

/* ---- all of it ----------------------------------------------------------------------------------------- */

static int each_disk(struct qcbmi_recover *r, struct qcbm_error *err)
{
    int ret = 0;

    for (uint32_t i = 0; ret == 0 && i < r->j.n_disks; i++) {
        struct qcbmi_recover_disk *rec = &r->recs[i];

        if (r->j.state == QCBMI_JOURNAL_OPEN)
            ret = qcbmi_recover_blame(rec, take_back_one(rec, err), err);
        else
            ret = qcbmi_recover_blame(rec, complete_one(r, rec, err), err);
    }
    return ret;
}

/* Behind the end of the journal. One that a cut leaves up is a bit that nobody knows, and the next writer clears it. */
static void lower_fences(const struct qcbmi_recover *r)
{
    for (uint32_t i = 0; i < r->j.n_disks; i++) {
        const struct qcbmi_recover_disk *rec = &r->recs[i];

        if (rec->disk && qcbmi_recover_has_overlay(rec) && (rec->d->flags & QCBMI_JOURNAL_FENCED))
            (void)qcbmi_fence_down(qcbmi_recover_image(rec), NULL);
    }
}

static int carry_out(struct qcbmi_recover *r, struct qcbm_error *err)
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

static bool gets_bitmap(const struct qcbmi_recover_disk *rec)
{
    bool any = false;

    for (size_t i = 0; i < rec->d->n_goals; i++)
        any |= rec->d->goals[i].kind == QCBMI_GOAL_THERE;
    return any;
}

static enum qcbm_checkpoint_outcome outcome_of(const struct qcbmi_recover *r, const struct qcbmi_recover_disk *rec)
{
    if (r->j.state == QCBMI_JOURNAL_OPEN)
        return rec->gone ? QCBM_CHECKPOINT_GONE : QCBM_CHECKPOINT_TAKEN_BACK;
    if (rec->way == QCBMI_WAY_GOALS)
        return gets_bitmap(rec) ? QCBM_CHECKPOINT_SUPERSET : QCBM_CHECKPOINT_COMPLETED;
    return rec->way == QCBMI_WAY_NONE || (rec->image_done && rec->overlay_done) ? QCBM_CHECKPOINT_COMPLETE
                                                                                : QCBM_CHECKPOINT_COMPLETED;
}

static void tell(struct qcbmi_recover *r)
{
    r->result.forward = r->j.state != QCBMI_JOURNAL_OPEN;
    r->result.disks = r->j.n_disks;
    r->result.change = (enum qcbm_checkpoint_change)r->j.change;
    for (uint32_t i = 0; i < r->j.n_disks; i++) {
        const struct qcbmi_recover_disk *rec = &r->recs[i];
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

int qcbm_checkpoint_recover(const char *journal, const struct qcbm_checkpoint_options *options,
                            struct qcbm_recover_result *out, size_t size, struct qcbm_error *err)
{
    struct qcbmi_recover r = { .o = QCBM_CHECKPOINT_OPTIONS_INIT };
    int ret = qcbmi_take_options(&r.o, sizeof(r.o), options, err);

    if (ret == 0 && out)
        ret = qcbmi_check_size(size, err);
    if (ret < 0)
        return ret;
    ret = qcbmi_recover_begin(&r, journal, err);
    if (ret == 0 && !(r.o.flags & QCBM_CHECKPOINT_DRY_RUN))
        ret = carry_out(&r, err);
    if (ret == 0)
        tell(&r);
    if (ret == 0 && out)
        qcbmi_give(out, size, &r.result, sizeof(r.result));
    qcbmi_recover_end(&r);
    return ret;
}
