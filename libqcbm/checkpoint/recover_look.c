/* recover_look.c - what a recovery finds: the journal, the images that it is about, and the way that each goes
 * SPDX-License-Identifier: MIT
 *
 * Nothing is written here. An image that is linked to another journal is part of that one's change: its fence and its
 * bitmaps belong to it, so whatever this journal says waits until that one has been recovered. */
#include "checkpoint/recover_look.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "checkpoint/fence.h"
#include "checkpoint/journal.h"
#include "checkpoint/overlay_look.h"
#include "checkpoint/switches.h"
#include "io/io_file.h"
#include "io/journal_link.h"
#include "io/open.h"
#include "write/undo_save.h"

#define SECTOR QCBMI_JOURNAL_SECTOR

int qcbmi_recover_blame(const struct qcbmi_recover_disk *r, int ret, struct qcbm_error *err)
{
    const struct qcbmi_disk disk = { .target = r->d->target, .path = r->d->image };

    return qcbmi_disk_blame(&disk, ret, err);
}

/* ---- opened -------------------------------------------------------------------------------------------- */

/* What is complete needs no image, but that below an overlay: only its fence tells that nobody wrote to it. On the way
 * back nothing was done to one without a link, and one that is gone cannot be as it was; a block device may have lost
 * its link. */
static bool is_needed(const struct qcbmi_recover *r, const struct qcbmi_recover_disk *rec)
{
    struct qcbmi_io io;
    bool device;

    if (r->j.state == QCBMI_JOURNAL_DECIDED && !rec->d->marked)
        return true;
    if (r->j.state != QCBMI_JOURNAL_OPEN)
        return qcbmi_recover_has_overlay(rec) && qcbmi_file_exists(rec->d->overlay);
    device = qcbmi_open(&io, rec->d->image, false, NULL) == 0 && io.traits.is_device;
    qcbmi_io_close(&io);
    return (rec->linked || device) && !rec->gone;
}

/* Is the image gone? Not if its whole folder is: that was moved, or is on a file system that is not mounted. */
static int find_gone(struct qcbmi_recover_disk *rec, struct qcbm_error *err)
{
    const char *path = rec->d->image;
    size_t len = (size_t)(strrchr(path, '/') - path);
    char *folder = qcbmi_memdup_nul(path, len ? len : 1, err);
    bool there = folder && qcbmi_file_exists(folder);

    if (!folder)
        return QCBM_E_NOMEM;
    free(folder);
    rec->gone = !qcbmi_file_exists(path);
    return there ? 0
                 : qcbmi_fail(
                       err, QCBM_E_NOTFOUND, QCBM_NO_OFFSET,
                       "its folder is not there: put back what was moved, or mount the file system, and repeat it");
}

/* Whose links lead elsewhere: the journal was moved, or the disk is part of another change. */
static int check_links(const struct qcbmi_recover *r, struct qcbm_error *err)
{
    int ret = 0;

    for (uint32_t i = 0; ret == 0 && i < r->j.n_disks; i++) {
        struct qcbmi_recover_disk *rec = &r->recs[i];

        ret = qcbmi_journal_link_check_own(rec->d->image, r->path, err);
        if (ret == 0 && rec->d->overlay[0])
            ret = qcbmi_journal_link_check_own(rec->d->overlay, r->path, err);
        if (ret == 0 && r->j.state == QCBMI_JOURNAL_OPEN)
            ret = find_gone(rec, err);
        ret = qcbmi_recover_blame(rec, ret, err);
    }
    return ret;
}

static int open_images(struct qcbmi_recover *r, struct qcbm_error *err)
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
    /* In the order in which they were named. */
    for (size_t i = 0, k = 0; k < n && i < r->j.n_disks; i++)
        if (r->disks.list[k].path == r->recs[i].d->image)
            r->recs[i].disk = &r->disks.list[k++];
    return 0;
}

/* Moved away and replaced, or resized: what the journal says is not about it. */
static int check_identity(const struct qcbmi_recover_disk *rec, struct qcbm_error *err)
{
    uint8_t identity[QCBMI_DIGEST_BYTES];

    qcbmi_undo_identity(qcbmi_recover_image(rec), NULL, 0, identity);
    if (memcmp(identity, rec->d->identity, sizeof(identity)) == 0)
        return 0;
    return qcbmi_fail(err, QCBM_E_UNSAFE, QCBM_NO_OFFSET,
                      "this is not the image that the journal is about, or it was resized since");
}

static int open_device(const struct qcbmi_recover *r, struct qcbmi_recover_disk *rec, struct qcbm_error *err)
{
    bool dry = r->o.flags & QCBM_CHECKPOINT_DRY_RUN;
    int ret = qcbmi_open(&rec->device, rec->d->overlay, !dry, err);

    if (ret == 0 && !dry)
        ret = qcbmi_lock(&rec->device, QCBM_OPEN_WRITE | (r->o.open_flags & QCBM_OPEN_NO_LOCK), err);
    return ret;
}

/* ---- the way of each ----------------------------------------------------------------------------------- */

static int look_at_device(struct qcbmi_recover_disk *rec, struct qcbm_error *err)
{
    uint8_t now[SECTOR];
    int ret = qcbmi_io_read(&rec->device, 0, now, sizeof(now), "first sector", err);
    bool is_it = true;

    for (size_t i = 0; ret == 0 && i < rec->d->n_sectors; i++)
        if (rec->d->sectors[i].of_overlay)
            rec->overlay_done = memcmp(now, rec->d->sectors[i].before, SECTOR) != 0;
    if (ret == 0 && rec->overlay_done)
        ret = qcbmi_overlay_look(rec->d, qcbmi_recover_image(rec), rec->d->overlay, &is_it, &rec->overlay_lacks, err);
    if (ret == 0 && !is_it)
        ret = qcbmi_fail(err, QCBM_E_UNSAFE, 0, "the block device '%.200s' has something else on it", rec->d->overlay);
    return ret;
}

bool qcbmi_recover_has_both_names(const struct qcbmi_recover_disk *rec)
{
    struct qcbmi_file_id a, b;

    return qcbmi_identify(rec->d->overlay, &a, NULL) == 0 && qcbmi_identify(rec->d->temporary, &b, NULL) == 0 &&
           qcbmi_same_file(&a, &b);
}

static int look_at_file(struct qcbmi_recover_disk *rec, struct qcbm_error *err)
{
    bool temporary = qcbmi_file_exists(rec->d->temporary), is_it = true;
    const char *name;
    int ret;

    rec->overlay_done = qcbmi_file_exists(rec->d->overlay);
    if (!rec->overlay_done && !temporary)
        return qcbmi_fail(err, QCBM_E_NOTFOUND, QCBM_NO_OFFSET, "the overlay '%.200s' is gone", rec->d->overlay);
    name = rec->overlay_done ? rec->d->overlay : rec->d->temporary;
    ret = qcbmi_overlay_look(rec->d, qcbmi_recover_image(rec), name, &is_it, &rec->overlay_lacks, err);
    if (ret == 0 && rec->overlay_done && temporary && !qcbmi_recover_has_both_names(rec))
        is_it = false;
    if (ret == 0 && !is_it)
        ret = qcbmi_fail(err, QCBM_E_EXISTS, QCBM_NO_OFFSET,
                         "another file is called '%.200s' by now: move it away, put the overlay back, and repeat it",
                         name);
    return ret;
}

/* Once all is done whatever is there may be changed by anybody, and is none of ours: a disk whose overlay is another
 * file by now has nothing left to be done. */
static int look_at_overlay(const struct qcbmi_recover *r, struct qcbmi_recover_disk *rec, struct qcbm_error *err)
{
    bool done = r->j.state == QCBMI_JOURNAL_DONE;
    int ret = 0;

    rec->overlay_done = true;
    if (!qcbmi_recover_has_overlay(rec))
        return 0;
    if (rec->d->flags & QCBMI_JOURNAL_DEVICE)
        ret = open_device(r, rec, err);
    if (ret < 0)
        return ret;
    ret = rec->d->flags & QCBMI_JOURNAL_DEVICE ? look_at_device(rec, err) : look_at_file(rec, err);
    if (done && (ret == QCBM_E_EXISTS || ret == QCBM_E_UNSAFE || ret == QCBM_E_NOTFOUND)) {
        rec->disk = NULL;
        return 0;
    }
    rec->overlay_lacks &= !done;
    return ret;
}

static int look_at_image(struct qcbmi_recover_disk *rec, bool *known, struct qcbm_error *err)
{
    int ret = 0;

    *known = true;
    rec->image_done = true;
    if (rec->d->flags & QCBMI_JOURNAL_FENCED)
        ret = qcbmi_fence_look(qcbmi_recover_image(rec), &rec->fence, err);
    if (ret < 0 || !(rec->d->flags & QCBMI_JOURNAL_SWITCHED))
        return ret;
    ret = qcbmi_switches_look(rec->d, &qcbmi_recover_image(rec)->io, &rec->stage, known, err);
    rec->image_done = *known && rec->stage == qcbmi_switches_last(rec->d);
    return ret;
}

/* An overlay that is there tells nothing about the image below: a guest may have been started on that all the same. */
static enum qcbmi_recover_way way_of(const struct qcbmi_recover_disk *rec, bool known)
{
    if (rec->overlay_lacks)
        return QCBMI_WAY_GOALS;
    if (rec->fence && known)
        return QCBMI_WAY_SWITCH;
    return rec->image_done && !qcbmi_recover_has_overlay(rec) ? QCBMI_WAY_NONE : QCBMI_WAY_GOALS;
}

static int find_way(const struct qcbmi_recover *r, struct qcbmi_recover_disk *rec, struct qcbm_error *err)
{
    bool known = false;
    int ret;

    if (!rec->disk)
        return 0;
    if (r->j.state != QCBMI_JOURNAL_DONE && !rec->linked && !qcbmi_recover_image(rec)->io.traits.is_device)
        return qcbmi_fail(err, QCBM_E_UNSAFE, QCBM_NO_OFFSET,
                          "the image is not linked to this journal: one of them was moved, put it back");
    ret = check_identity(rec, err);
    if (ret == 0)
        ret = look_at_image(rec, &known, err);
    if (ret == 0)
        ret = look_at_overlay(r, rec, err);
    rec->way = ret == 0 ? way_of(rec, known) : QCBMI_WAY_NONE;
    return ret;
}

static int find_ways(struct qcbmi_recover *r, struct qcbm_error *err)
{
    int ret = 0;

    for (uint32_t i = 0; ret == 0 && i < r->j.n_disks; i++) {
        struct qcbmi_recover_disk *rec = &r->recs[i];

        if (r->j.state != QCBMI_JOURNAL_OPEN)
            ret = qcbmi_recover_blame(rec, find_way(r, rec, err), err);
        else if (rec->disk)
            ret = qcbmi_recover_blame(rec, check_identity(rec, err), err);
    }
    return ret;
}

int qcbmi_recover_begin(struct qcbmi_recover *r, const char *journal, struct qcbm_error *err)
{
    unsigned lock =
        (r->o.flags & QCBM_CHECKPOINT_DRY_RUN ? 0 : QCBM_OPEN_WRITE) | (r->o.open_flags & QCBM_OPEN_NO_LOCK);
    int ret;

    r->path = qcbmi_full_path(journal, err);
    if (!r->path)
        return err ? err->code : QCBM_E_NOMEM;
    ret = qcbmi_journal_open(&r->file, r->path, &r->j, lock, err);
    if (ret < 0)
        return ret;
    r->recs = qcbmi_alloc_array(r->j.n_disks, sizeof(*r->recs), err);
    r->named = qcbmi_alloc_array(r->j.n_disks, sizeof(*r->named), err);
    if (!r->recs || !r->named)
        return QCBM_E_NOMEM;
    for (uint32_t i = 0; i < r->j.n_disks; i++) {
        struct qcbmi_recover_disk *rec = &r->recs[i];

        rec->d = &r->j.disks[i];
        rec->index = i;
        rec->linked = qcbmi_journal_link_is(rec->d->image, r->path);
        rec->overlay_linked = rec->d->overlay[0] && qcbmi_journal_link_is(rec->d->overlay, r->path);
    }
    ret = check_links(r, err);
    if (ret == 0)
        ret = open_images(r, err);
    return ret < 0 ? ret : find_ways(r, err);
}

void qcbmi_recover_end(struct qcbmi_recover *r)
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
