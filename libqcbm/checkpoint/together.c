/* together.c - one change over several images: all of them get it, or none
 * SPDX-License-Identifier: MIT
 *
 * Invariants:
 *   - An image has its link from before its first write until behind its last. Who sees a link writes nothing.
 *   - Before the decision every image reads as it did; behind it, each has its old state or its new one, and the
 *     journal has all that leads from one to the other.
 *   - While the fence of an image is up nobody else wrote to it. It is up from before the decision until the image is
 *     switched.
 * States, and what moves between them:
 *   planned    nothing is written; room is taken from the file system (qcbmi_together_plan(), take_room())
 *   written    the journal is there, whole, and the links
 *   prepared   overlays are whole under their temporary names; each image has all that the new state needs in clusters
 *              that nobody refers to; the fences are up (prepare_all())
 *   decided    one sector of the journal says so (decide())
 *   switched   each image has its new state, each overlay its name; the fences are down (switch_all())
 *   done       the journal says so; old bitmaps are given up, links and journal are removed (finish())
 * A failure before the decision goes back (take_back()), as recover.c does behind a cut. At the decision and behind it
 * there is no way back: what could not be switched is left to a recovery. */
#include "checkpoint/together.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/text.h"
#include "bitmap/bitmap_list.h"
#include "bitmap/session.h"
#include "checkpoint/fence.h"
#include "checkpoint/journal.h"
#include "checkpoint/switches.h"
#include "io/io_file.h"
#include "io/journal_link.h"
#include "write/undo_save.h"

int qcbmi_together_begin(struct qcbmi_together *t, struct qcbmi_disks *disks, enum qcbmi_journal_change change,
                         const char *name, const char *journal, struct qcbm_error *err)
{
    *t = (struct qcbmi_together){ .name = name, .change = change, .journal = journal };
    t->members = qcbmi_alloc_array(disks->n, sizeof(*t->members), err);
    if (!t->members)
        return QCBM_E_NOMEM;
    t->n = disks->n;
    for (size_t i = 0; i < t->n; i++)
        t->members[i].disk = &disks->list[i];
    return 0;
}

void qcbmi_together_free(struct qcbmi_together *t)
{
    for (size_t i = 0; i < t->n; i++) {
        struct qcbmi_member *m = &t->members[i];

        qcbmi_commit_end(&m->commit);
        qcbm_edit_free(m->edit);
        if (m->overlay)
            qcbmi_overlay_image_free(m->overlay);
        free(m->overlay);
        qcbmi_journal_disk_free(&m->part); /* in the journal, once that has been put together */
    }
    free(t->members);
    qcbmi_journal_free(&t->whole);
    free(t->bytes);
    free(t->journal_path);
    qcbmi_io_close(&t->file);
    *t = (struct qcbmi_together){ 0 };
}

int qcbmi_together_set_undo(struct qcbmi_member *m, const char *folder, struct qcbm_error *err)
{
    const char *target = m->disk->target;
    char *beside, *path;
    int ret;

    if (!folder)
        return 0;
    if (strchr(target, '/'))
        return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET, "a disk called '%.100s' cannot have an undo file", target);
    beside = qcbmi_concat(folder, "/", target, err);
    path = beside ? qcbmi_concat(beside, ".undo", "", err) : NULL;
    free(beside);
    ret = path ? qcbm_edit_set_undo(m->edit, path, err) : QCBM_E_NOMEM;
    free(path);
    return ret;
}

/* ---- planned ------------------------------------------------------------------------------------------- */

static int describe_image(struct qcbmi_member *m, struct qcbm_error *err)
{
    struct qcbmi_journal_disk *d = &m->part;
    struct qcbmi_image *img = m->disk->img->image;

    d->dev = img->io.id.dev;
    d->ino = img->io.id.ino;
    d->size = img->io.size;
    d->flags |= qcbmi_fence_is_possible(img) ? QCBMI_JOURNAL_FENCED : 0;
    qcbmi_undo_identity(img, NULL, 0, d->identity);
    qcbmi_digest(img->cluster0, QCBMI_JOURNAL_SECTOR, d->first);
    d->target = qcbmi_memdup_nul(m->disk->target, strlen(m->disk->target), err);
    d->image = qcbmi_full_path(m->disk->path, err);
    return d->target && d->image ? 0 : err ? err->code : QCBM_E_NOMEM;
}

/* On a device the first sector is the switch. */
static int describe_overlay(struct qcbmi_member *m, struct qcbm_error *err)
{
    struct qcbmi_journal_sector s = { .stage = 1, .of_overlay = true };
    struct qcbmi_journal_disk *d = &m->part;
    struct qcbmi_overlay_image *o = m->overlay;
    int ret;

    d->overlay = qcbmi_memdup_nul(o ? o->full : "", o ? strlen(o->full) : 0, err);
    d->temporary = qcbmi_memdup_nul(o ? o->temporary : "", o ? strlen(o->temporary) : 0, err);
    if (!d->overlay || !d->temporary)
        return QCBM_E_NOMEM;
    if (!o)
        return 0;
    d->flags |= QCBMI_JOURNAL_OVERLAY | (o->is_device ? QCBMI_JOURNAL_DEVICE : 0);
    d->overlay_len = o->len;
    qcbmi_digest(o->bytes, o->len, d->overlay_digest);
    if (!o->is_device)
        return 0;
    ret = qcbmi_io_read(&o->device, 0, s.before, sizeof(s.before), "first sector", err);
    memcpy(s.after, o->bytes, sizeof(s.after));
    return ret < 0 ? ret : qcbmi_journal_add_sector(d, &s, err);
}

/* One that is there is somebody's; one that is made is void if the change is taken back, and is found by the journal
 * then. */
static int describe_undo(struct qcbmi_member *m, struct qcbm_error *err)
{
    const char *path = m->edit->undo_path;
    char text[200];

    if (!path || !(m->disk->img->image->open_flags & QCBM_OPEN_WRITE))
        return 0;
    m->part.undo = qcbmi_full_in_folder(path, err);
    if (!m->part.undo)
        return err ? err->code : QCBM_E_IO;
    if (qcbmi_file_exists(m->part.undo))
        return qcbmi_fail(err, QCBM_E_EXISTS, QCBM_NO_OFFSET, "the undo file '%s' is there already",
                          qcbmi_printable(text, sizeof(text), path, strlen(path)));
    return 0;
}

static int plan_one(struct qcbmi_member *m, struct qcbm_error *err)
{
    struct qcbm_plan_summary summary = { 0 };
    int ret = m->edit ? qcbm_edit_plan(m->edit, &summary, sizeof(summary), NULL, NULL, err) : 0;

    if (ret < 0)
        return ret;
    m->commits = summary.writes > 0;
    m->takes_part = m->commits || m->overlay;
    if (!m->takes_part)
        return 0;
    if (m->commits) {
        m->part.flags |= QCBMI_JOURNAL_SWITCHED;
        ret = describe_undo(m, err);
    }
    if (ret == 0 && m->commits)
        ret = qcbmi_switches_collect(&m->part, &m->edit->plan, m->disk->img, err);
    if (ret == 0)
        ret = describe_image(m, err);
    return ret < 0 ? ret : describe_overlay(m, err);
}

/* Beside the first image that is a file. */
static char *default_journal(const struct qcbmi_together *t, struct qcbm_error *err)
{
    for (size_t i = 0; i < t->n; i++) {
        const struct qcbmi_member *m = &t->members[i];
        const char *image = m->part.image;
        char *folder, *path;

        if (!m->takes_part || m->disk->img->image->io.traits.is_device)
            continue;
        folder = qcbmi_memdup_nul(image, (size_t)(strrchr(image, '/') - image) + 1, err);
        path = folder ? qcbmi_concat(folder, t->name, ".qcbm-checkpoint", err) : NULL;
        free(folder);
        return path;
    }
    qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET,
               "all images are block devices: say where the journal is to be, on a file system that stays");
    return NULL;
}

static int find_journal(struct qcbmi_together *t, struct qcbm_error *err)
{
    t->journal_path = t->journal ? qcbmi_full_path(t->journal, err) : default_journal(t, err);
    if (!t->journal_path)
        return err ? err->code : QCBM_E_NOMEM;
    if (qcbmi_file_exists(t->journal_path))
        return qcbmi_fail(
            err, QCBM_E_EXISTS, QCBM_NO_OFFSET,
            "the journal '%.200s' is there already: 'qcbm checkpoint recover --dry-run %.200s' tells what it is about",
            t->journal_path, t->journal_path);
    return 0;
}

/* The parts move into the journal. */
static int put_together(struct qcbmi_together *t, struct qcbm_error *err)
{
    uint32_t n = 0;

    for (size_t i = 0; i < t->n; i++)
        n += t->members[i].takes_part;
    t->whole.change = t->change;
    t->whole.name = qcbmi_memdup_nul(t->name, strlen(t->name), err);
    t->whole.disks = qcbmi_alloc_array(n, sizeof(*t->whole.disks), err);
    if (!t->whole.name || !t->whole.disks)
        return QCBM_E_NOMEM;
    for (size_t i = 0; i < t->n; i++) {
        struct qcbmi_member *m = &t->members[i];

        if (!m->takes_part)
            continue;
        m->index = t->whole.n_disks;
        t->whole.disks[t->whole.n_disks++] = m->part;
        m->part = (struct qcbmi_journal_disk){ 0 };
    }
    return qcbmi_journal_store(&t->whole, &t->bytes, err);
}

static int refuse_twin_overlays(const struct qcbmi_together *t, struct qcbm_error *err)
{
    for (size_t i = 0; i < t->n; i++)
        for (size_t k = 0; k < i; k++)
            if (t->members[i].overlay && t->members[k].overlay &&
                strcmp(t->members[i].overlay->full, t->members[k].overlay->full) == 0)
                return qcbmi_disk_blame(t->members[i].disk,
                                        qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET, "another disk has that overlay"),
                                        err);
    return 0;
}

int qcbmi_together_plan(struct qcbmi_together *t, struct qcbm_error *err)
{
    bool any = false;
    int ret = refuse_twin_overlays(t, err);

    for (size_t i = 0; ret == 0 && i < t->n; i++) {
        ret = qcbmi_disk_blame(t->members[i].disk, plan_one(&t->members[i], err), err);
        any |= t->members[i].takes_part;
    }
    if (ret == 0 && any)
        ret = find_journal(t, err);
    return ret < 0 || !any ? ret : put_together(t, err);
}

/* ---- written, prepared --------------------------------------------------------------------------------- */

static struct qcbmi_image *image_of(const struct qcbmi_member *m)
{
    return m->disk->img->image;
}

static int take_room(struct qcbmi_together *t, struct qcbm_error *err)
{
    int ret = 0;

    for (size_t i = 0; ret == 0 && i < t->n; i++) {
        struct qcbmi_member *m = &t->members[i];

        if (m->commits)
            ret = qcbmi_disk_blame(m->disk, qcbmi_plan_reserve(&m->edit->plan, image_of(m), err), err);
    }
    return ret;
}

static int prepare_one(struct qcbmi_member *m, struct qcbm_error *err)
{
    int ret = m->overlay ? qcbmi_overlay_image_write(m->overlay, m->disk->path, err) : 0;

    if (ret == 0 && m->commits) {
        ret = qcbmi_edit_make_ready(m->edit, err);
        if (ret == 0)
            ret = qcbmi_commit_prepare(&m->commit, &m->edit->plan, image_of(m), err);
    }
    if (ret < 0 || !qcbmi_fence_is_possible(image_of(m)))
        return ret;
    m->fenced = true;
    return qcbmi_fence_up(image_of(m), err);
}

static int prepare_all(struct qcbmi_together *t, struct qcbm_error *err)
{
    int ret = 0;

    for (size_t i = 0; ret == 0 && i < t->n; i++)
        if (t->members[i].takes_part)
            ret = qcbmi_disk_blame(t->members[i].disk, prepare_one(&t->members[i], err), err);
    return ret;
}

/* ---- back ---------------------------------------------------------------------------------------------- */

static int take_back_one(struct qcbmi_member *m)
{
    int ret = m->fenced ? qcbmi_fence_down(image_of(m), NULL) : 0;

    if (m->overlay && m->overlay->created) {
        qcbmi_file_remove(m->overlay->temporary);
        if (ret == 0)
            ret = qcbmi_file_sync_folder(m->overlay->temporary, NULL);
    }
    if (m->commit.undo_made)
        qcbmi_file_remove(m->edit->undo_path);
    return ret;
}

/* The journal goes last: what could not be taken back is left to a recovery. Returns @failed. */
static int take_back(struct qcbmi_together *t, int failed, struct qcbm_error *err)
{
    int ret = 0;

    for (size_t i = 0; i < t->n; i++) {
        int one = t->members[i].takes_part ? take_back_one(&t->members[i]) : 0;

        ret = ret < 0 ? ret : one;
    }
    if (ret == 0)
        ret = qcbmi_journal_unlink_all(&t->whole, t->journal_path, NULL);
    if (ret == 0)
        ret = qcbmi_journal_remove(t->journal_path, NULL);
    if (ret < 0)
        return qcbmi_prefix(err, failed, "no disk has a new state; to tidy up, run 'qcbm checkpoint recover %.150s': ",
                            t->journal_path);
    return qcbmi_prefix(err, failed, "all disks are as they were: ");
}

/* ---- decided, switched, done --------------------------------------------------------------------------- */

static int left_to_recovery(const struct qcbmi_together *t, int ret, const char *what, struct qcbm_error *err)
{
    return qcbmi_prefix(err, ret, "%s; run 'qcbm checkpoint recover %.150s': ", what, t->journal_path);
}

static int switch_one(struct qcbmi_together *t, struct qcbmi_member *m, struct qcbm_error *err)
{
    int ret = m->commits ? qcbmi_commit_publish(&m->commit, err) : 0;

    if (ret == 0 && m->overlay)
        ret = qcbmi_overlay_image_publish(m->overlay, err);
    if (ret == 0 && m->fenced && !m->overlay)
        ret = qcbmi_fence_down(image_of(m), err);
    if (ret == 0)
        (void)qcbmi_journal_mark(&t->file, &t->whole, m->index, NULL);
    return ret;
}

/* One that cannot be switched does not keep the others from it. */
static int switch_all(struct qcbmi_together *t, struct qcbm_error *err)
{
    int ret = 0;

    for (size_t i = 0; i < t->n; i++) {
        struct qcbmi_member *m = &t->members[i];
        int one = m->takes_part ? switch_one(t, m, ret == 0 ? err : NULL) : 0;

        if (one < 0 && ret == 0)
            ret = qcbmi_disk_blame(m->disk, one, err);
    }
    return ret < 0 ? left_to_recovery(t, ret, "it is decided, and not all disks have their new state yet", err) : 0;
}

/* Below overlays they go last: as long as there is a journal, a recovery looks whether a guest was started on the old
 * image. One that a cut leaves up is a bit that nobody knows, and the next writer clears it. */
static void lower_fences(const struct qcbmi_together *t)
{
    for (size_t i = 0; i < t->n; i++)
        if (t->members[i].overlay && t->members[i].fenced)
            (void)qcbmi_fence_down(image_of(&t->members[i]), NULL);
}

static int finish(struct qcbmi_together *t, struct qcbm_error *err)
{
    int ret = qcbmi_journal_decide(&t->file, &t->whole, QCBMI_JOURNAL_DONE, err);

    for (size_t i = 0; ret == 0 && i < t->n; i++)
        if (t->members[i].commits)
            (void)qcbmi_commit_finish(&t->members[i].commit, NULL); /* what it does not give up leaks */
    if (ret == 0)
        ret = qcbmi_journal_unlink_all(&t->whole, t->journal_path, err);
    if (ret == 0)
        ret = qcbmi_journal_remove(t->journal_path, err);
    if (ret == 0)
        lower_fences(t);
    return ret < 0 ? left_to_recovery(t, ret, "all disks have their new state, but the journal is still open", err) : 0;
}

int qcbmi_together_commit(struct qcbmi_together *t, struct qcbm_error *err)
{
    int ret;

    if (!t->journal_path)
        return 0;
    ret = take_room(t, err);
    if (ret == 0)
        ret = qcbmi_journal_create(&t->file, t->journal_path, &t->whole, t->bytes,
                                   QCBM_OPEN_WRITE | (image_of(&t->members[0])->open_flags & QCBM_OPEN_NO_LOCK), err);
    if (ret < 0) /* it may be of somebody else: it is not to be removed */
        return qcbmi_prefix(err, ret, "all disks are as they were: ");
    ret = qcbmi_journal_link_all(&t->whole, t->journal_path, err);
    if (ret == 0)
        ret = prepare_all(t, err);
    if (ret < 0)
        return take_back(t, ret, err);
    ret = qcbmi_journal_decide(&t->file, &t->whole, QCBMI_JOURNAL_DECIDED, err);
    if (ret < 0)
        return left_to_recovery(t, ret, "whether it was decided is not sure", err);
    ret = switch_all(t, err);
    return ret < 0 ? ret : finish(t, err);
}
