/* repair.c - the repair of an image: its order of work
 * SPDX-License-Identifier: MIT
 *
 * States, and what brings a repair from one to the next:
 *
 *   as it was   the first pass of the check has run; nothing is changed anywhere
 *   planned     each step has looked at the shadow, the image as the steps before it would leave it, and its plan was
 *               carried out there; the whole is the stages of all of them, one after the other
 *   looked at   the second pass of the check has run on the shadow. What is worse than before is refused here; a dry
 *               run ends here
 *   committed   the whole was carried out on the image by one commit, with one undo file
 *
 * What holds throughout:
 * - Nothing is written before all is planned and has been looked at. r->img stays what the file is up to the commit.
 * - Each step leaves an image that is no worse than it found: a cut between two of them leaves one of these, and the
 *   repair can be run again to the same end.
 * - In no state that a cut leaves is a cluster of this repair referred to that counts as free, unless the image is
 *   marked corrupt (repair_order.c): nobody writes to it in between.
 * - Memory: the whole, the step at work and the shadow have QCBMI_REPAIR_MAX_HELD bytes each at most, and the check
 *   what it was given. What would take more is refused, with nothing written.
 * - Nobody is told of a repair before all of it is planned, and nothing was found that stands in the way.
 * - Without force nothing of the guest's, and no snapshot, is given up: such entries stay, and what cannot go on beside
 *   them is refused.
 * - Bits of bitmaps are read from the image as it was, so no step before them can lose any.
 * - Marks that say "damaged" go last, and only where the second pass found nothing. */
#include "repair/repair_parts.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/sized.h"
#include "bitmap/session.h"
#include "check/check.h"
#include "io/io_shadow.h"
#include "write/commit.h"
#include "write/undo_save.h"

#define AT(level) (1u << QCBM_REPAIR_##level)

static const struct qcbmi_repair_step steps[] = {
    { AT(ALL), true, false, qcbmi_repair_guard },
    { AT(ALL), true, false, qcbmi_repair_snapshots },
    { AT(ALL), true, false, qcbmi_repair_l1 },
    { AT(ALL), true, false, qcbmi_repair_l2 },
    { AT(ALL), true, false, qcbmi_repair_two_owners },
    { AT(ALL), true, false, qcbmi_repair_l2_separated },
    { AT(ALL), false, false, qcbmi_repair_refcounts },
    { AT(ALL) | AT(BITMAPS), false, false, qcbmi_repair_bitmaps },
    { AT(ALL) | AT(LEAKS), false, false, qcbmi_repair_leaks },
    { AT(ALL) | AT(LEAKS), false, false, qcbmi_repair_copied },
    { AT(ALL), false, true, qcbmi_repair_header_bits },
};

/* ---- the passes of the check ---- */

static int note_kind(void *opaque, const struct qcbm_check_kind *kind)
{
    struct qcbmi_repair *r = opaque;

    r->met[kind->problem->id] = true;
    return r->o.kind ? r->o.kind(r->o.opaque, kind) : 0;
}

static int note_finding(void *opaque, const struct qcbm_check_finding *f)
{
    struct qcbmi_repair *r = opaque;
    bool copied = f->problem->id == QCBM_PROBLEM_COPIED_L1 || f->problem->id == QCBM_PROBLEM_COPIED_L2;

    if (copied && r->o.level != QCBM_REPAIR_BITMAPS) {
        r->copied_met++;
        return 0;
    }
    return r->o.finding ? r->o.finding(r->o.opaque, f) : 0;
}

static int note_summary(void *opaque, const struct qcbm_check_summary *summary)
{
    struct qcbmi_repair *r = opaque;
    bool copied = summary->problem->id == QCBM_PROBLEM_COPIED_L1 || summary->problem->id == QCBM_PROBLEM_COPIED_L2;

    return r->o.summary && !(copied && r->o.level != QCBM_REPAIR_BITMAPS) ? r->o.summary(r->o.opaque, summary) : 0;
}

static int first_pass(struct qcbmi_repair *r, struct qcbm_error *err)
{
    struct qcbm_check_options o = QCBM_CHECK_OPTIONS_INIT;

    o.memory = r->o.memory;
    o.progress = r->o.progress;
    o.finding = note_finding;
    o.kind = note_kind;
    o.summary = note_summary;
    o.opaque = r;
    return qcbm_check(r->img, &o, &r->before, sizeof(r->before), err);
}

static int second_pass(struct qcbmi_repair *r, struct qcbm_error *err)
{
    struct qcbm_check_options o = QCBM_CHECK_OPTIONS_INIT;

    o.memory = r->o.memory;
    o.progress = r->o.progress;
    o.finding = r->o.left;
    o.kind = r->o.left_kind;
    o.summary = r->o.left_summary;
    o.opaque = r->o.opaque;
    return qcbm_check(r->work, &o, &r->after, sizeof(r->after), err);
}

/* A device does not get longer, and has room behind what is in use. Nothing lies there if the refcounts can be relied
 * on for what no reference is left of. */
static void find_room(struct qcbmi_repair *r)
{
    static const enum qcbm_problem_id doubts[] = {
        QCBM_PROBLEM_REFTABLE_RESERVED, QCBM_PROBLEM_REFBLOCK_UNALIGNED,  QCBM_PROBLEM_REFBLOCK_OUTSIDE,
        QCBM_PROBLEM_REFBLOCK_REFCOUNT, QCBM_PROBLEM_REFCOUNT_UNREADABLE, QCBM_PROBLEM_REFCOUNT_ZERO,
    };

    for (size_t i = 0; i < sizeof(doubts) / sizeof(doubts[0]); i++)
        if (r->met[doubts[i]])
            return;
    if (r->img->image->io.traits.is_device)
        r->room = r->before.image_end_offset;
}

static bool is_clean(const struct qcbm_check_result *r)
{
    return r->corruptions + r->leaks + r->check_errors + r->damages == 0;
}

static int refuse_worse(const struct qcbmi_repair *r, struct qcbm_error *err)
{
    if (r->after.corruptions <= r->before.corruptions && r->after.check_errors <= r->before.check_errors)
        return 0;
    return qcbmi_fail(err, QCBM_E_UNSAFE, QCBM_NO_OFFSET,
                      "repaired, the image would have %" PRIu64 " errors instead of %" PRIu64 "; nothing was written",
                      r->after.corruptions + r->after.check_errors, r->before.corruptions + r->before.check_errors);
}

/* What was left leads to places behind the end of the file as it was: there nothing may come to lie. */
static int refuse_reached(const struct qcbmi_repair *r, struct qcbm_error *err)
{
    uint64_t was = r->img->image->io.size, now = r->work->image->io.size;

    if (now <= was || now <= r->left_from)
        return 0;
    return qcbmi_fail(
        err, QCBM_E_UNSAFE, r->left_from,
        "entries of mapping tables lead to places behind the end of the file, which would be longer: nothing was "
        "written; with --force such entries are given up, and read as zeros");
}

/* ---- the order of work ---- */

/* Each of the steps that are for them costs a pass over all tables. */
static bool has_bad_maps(const struct qcbmi_repair *r)
{
    for (unsigned id = 0; id < QCBMI_PROBLEM_COUNT; id++)
        if (r->met[id] && !qcbmi_check_is_beside_maps(id))
            return true;
    return false;
}

static int run_steps(struct qcbmi_repair *r, bool when_clean, struct qcbm_error *err)
{
    bool maps = has_bad_maps(r);
    int ret = 0;

    for (size_t i = 0; ret == 0 && i < sizeof(steps) / sizeof(steps[0]); i++)
        if (steps[i].when_clean == when_clean && (steps[i].levels & 1u << r->o.level) && (maps || !steps[i].of_maps))
            ret = steps[i].run(r, err);
    return ret;
}

static int plan_all(struct qcbmi_repair *r, struct qcbm_error *err)
{
    int ret = run_steps(r, false, err);

    if (ret < 0)
        return ret;
    if (r->whole.n == 0) /* the marks alone are left */
        return is_clean(&r->before) ? run_steps(r, true, err) : 0;
    ret = second_pass(r, err);
    if (ret == 0)
        ret = refuse_worse(r, err);
    if (ret == 0)
        ret = refuse_reached(r, err);
    if (ret == 0 && is_clean(&r->after))
        ret = run_steps(r, true, err);
    return ret < 0 ? ret : qcbmi_repair_order(r, err);
}

static uint64_t fewer(uint64_t before, uint64_t after)
{
    return before > after ? before - after : 0;
}

static int tell_plan(struct qcbmi_repair *r, struct qcbm_error *err)
{
    struct qcbm_plan_summary s;

    qcbmi_plan_summary(&r->whole, r->img->image, &s);
    r->r.corruptions_fixed =
        fewer(r->before.corruptions - r->copied_met, fewer(r->after.corruptions, r->copied_told - r->copied_fixed));
    r->r.corruptions_fixed += r->copied_fixed;
    r->r.leaks_fixed = fewer(r->before.leaks, r->after.leaks);
    r->r.writes = s.writes;
    r->r.flushes = s.flushes;
    r->r.bytes_written = s.bytes_written;
    r->r.clusters_allocated = s.clusters_allocated;
    r->r.clusters_freed = s.clusters_freed;
    r->r.file_growth = s.file_growth;
    return r->o.step ? qcbmi_plan_each(&r->whole, r->o.step, r->o.opaque, err) : 0;
}

static int commit(struct qcbmi_repair *r, struct qcbm_error *err)
{
    if (r->o.flags & QCBM_REPAIR_DRY_RUN)
        return qcbmi_plan_check_space(&r->whole, r->img->image, err);
    r->whole.undo_path = r->o.undo;
    if (r->r.writes)
        return qcbmi_commit_and_reload(&r->whole, r->img, err);
    return r->o.undo ? qcbmi_undo_save(&r->whole, r->img->image, err) : 0;
}

static int open_work(struct qcbmi_repair *r, struct qcbm_error *err)
{
    struct qcbmi_image *img = r->img->image;
    struct qcbmi_shadow *shadow = NULL;
    struct qcbmi_io io;
    int ret;

    r->work = qcbmi_alloc_array(1, sizeof(*r->work), err);
    ret = r->work ? qcbmi_shadow_new(&img->io, QCBMI_REPAIR_MAX_HELD, &shadow, err) : QCBM_E_NOMEM;
    if (ret == 0)
        ret = qcbmi_io_init(&io, qcbmi_shadow_ops(), shadow, true, err);
    if (ret == 0)
        io.traits.is_device = img->io.traits.is_device;
    if (ret == 0)
        ret = qcbmi_image_open(&io, img->path,
                               QCBM_OPEN_WRITE | QCBM_OPEN_NO_LOCK | (img->open_flags & QCBMI_OPEN_APPLIES),
                               &r->work->image, err);
    return ret < 0 ? ret : qcbmi_bitmap_list_load(r->work, err);
}

static void close_work(struct qcbmi_repair *r)
{
    if (!r->work)
        return;
    qcbmi_handle_clear(r->work);
    qcbmi_image_free(r->work->image);
    free(r->work);
}

static int run(struct qcbmi_repair *r, struct qcbm_error *err)
{
    int ret = qcbmi_image_check_sound(r->img->image, err);

    if (ret == 0)
        ret = first_pass(r, err);
    r->after = r->before;
    if (ret == 0)
        find_room(r);
    if (ret == 0)
        ret = open_work(r, err);
    if (ret == 0)
        ret = plan_all(r, err);
    if (ret == 0)
        ret = tell_plan(r, err);
    if (ret == 0)
        ret = qcbmi_repair_tell_all(r, err);
    return ret < 0 ? ret : commit(r, err);
}

static int read_options(struct qcbmi_repair *r, const struct qcbm_repair_options *from, size_t size,
                        struct qcbm_error *err)
{
    unsigned flags = r->img->image->open_flags;
    int ret = qcbmi_check_size(size, err);

    if (ret == 0)
        ret = qcbmi_take_options(&r->o, sizeof(r->o), from, err);
    if (ret == 0 && (r->o.level < QCBM_REPAIR_LEAKS || r->o.level > QCBM_REPAIR_BITMAPS))
        ret = qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET, "%d is no level of repair", (int)r->o.level);
    if (ret == 0 && !(r->o.flags & QCBM_REPAIR_DRY_RUN) && !(flags & QCBM_OPEN_WRITE))
        ret = qcbmi_fail(err, QCBM_E_READONLY, QCBM_NO_OFFSET, "the image was opened for reading");
    return ret;
}

static void give_check(const struct qcbmi_repair *r)
{
    if (r->o.before && r->o.check_result_size)
        qcbmi_give(r->o.before, r->o.check_result_size, &r->before, sizeof(r->before));
    if (r->o.after && r->o.check_result_size)
        qcbmi_give(r->o.after, r->o.check_result_size, &r->after, sizeof(r->after));
}

int qcbm_repair(struct qcbm_image *img, const struct qcbm_repair_options *options, struct qcbm_repair_result *out,
                size_t size, struct qcbm_error *err)
{
    struct qcbmi_repair *r = qcbmi_alloc_array(1, sizeof(*r), err);
    int ret = r ? 0 : QCBM_E_NOMEM;

    if (ret < 0)
        return ret;
    r->img = img;
    r->left_from = UINT64_MAX;
    r->o = (struct qcbm_repair_options)QCBM_REPAIR_OPTIONS_INIT;
    ret = read_options(r, options, size, err);
    if (ret == 0) {
        ret = run(r, err);
        give_check(r);
        qcbmi_give(out, size, &r->r, sizeof(r->r));
    }
    close_work(r);
    qcbmi_plan_free(&r->whole);
    qcbmi_dirtymap_free(&r->changed);
    qcbmi_bitset_free(&r->were_shared);
    qcbmi_repair_forget(r, 0);
    free(r);
    return ret;
}
