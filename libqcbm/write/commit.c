/* commit.c - the only code that writes: runs a plan, a flush after each stage
 * SPDX-License-Identifier: MIT
 *
 * States of the file, and what brings it from one to the next:
 *
 *   old       as it was read. Nothing is written before check, undo file and space have said yes: begin()
 *   longer    grown to the end of the plan: qcbmi_io_grow()
 *   prepared  all stages before the first that switches are durable: qcbmi_commit_prepare() returned 0
 *   switched  the first switch has begun; a cut leaves the old state or the new one
 *   new       all stages are durable; what only the old state used has been given up: qcbmi_commit_switch() returned 0
 *
 * What holds throughout:
 * - A stage begins when the one before it is durable, and none after a write or flush that failed.
 * - Up to "prepared" nothing that was written is referred to, so the old state is there; clusters may have leaked.
 * - From the switch on no payload is asked for that can fail, and no space is needed that was not reserved.
 * - The undo file is complete and durable whenever the image is not as it was read. It is removed only in "old".
 *
 * An undo goes back from "new", or from where a cut left the change. Each of its stages may be the one that brings the
 * old state back, so its first half ends with the checks; a cut to the old length ends the second. What fails in it is
 * repeated, so its payloads may come from the undo file. */
#include "write/commit.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "io/io_file.h"
#include "write/undo_save.h"
#include "write/undo_seal.h"

#define PIECE (UINT64_C(1) << 20) /* bytes of payload in memory at once, where the plan does not have them there */

static int write_pieces(struct qcbmi_image *img, const struct qcbmi_plan_write *w, uint8_t *buf, struct qcbm_error *err)
{
    int ret = 0;

    for (uint64_t done = 0; ret == 0 && done < w->len; done += PIECE) {
        uint64_t n = u64_min(PIECE, w->len - done);

        ret = qcbmi_source_load(&w->source, done, buf, n, err);
        if (ret == 0)
            ret = qcbmi_io_write(&img->io, w->off + done, buf, n, err);
    }
    return ret;
}

static int write_one(struct qcbmi_image *img, const struct qcbmi_plan_write *w, uint8_t *buf, struct qcbm_error *err)
{
    if (w->source.bytes)
        return qcbmi_io_write(&img->io, w->off, w->source.bytes, w->len, err);
    return write_pieces(img, w, buf, err);
}

/* Bytes for the largest piece of payload that the plan has to generate. */
static uint8_t *alloc_piece(const struct qcbmi_plan *plan, struct qcbm_error *err)
{
    uint64_t largest = 0;

    for (size_t i = 0; i < plan->n; i++)
        for (size_t j = 0; j < plan->stages[i].n; j++)
            if (!plan->stages[i].writes[j].source.bytes)
                largest = u64_max(largest, plan->stages[i].writes[j].len);
    return qcbmi_alloc_array(u64_min(largest, PIECE), 1, err);
}

static uint64_t stage_bytes(const struct qcbmi_plan_stage *stage)
{
    uint64_t bytes = 0;

    for (size_t i = 0; i < stage->n; i++)
        bytes += stage->writes[i].len;
    return bytes;
}

static void tell_stage(const struct qcbmi_image *img, const struct qcbmi_plan_stage *stage)
{
    qcbmi_io_tell(&img->io, QCBM_TRACE_STAGE, stage->name, 0, stage_bytes(stage), 0);
}

/* Told in any case; asked for an end by the caller in vain where there is no way but forward. */
static int tell_written(struct qcbmi_commit *c, uint64_t bytes, struct qcbm_error *err)
{
    int ret = qcbmi_progress_add(&c->progress, bytes, c->may_stop ? err : NULL);

    return c->may_stop ? ret : 0;
}

static int run_stage(struct qcbmi_commit *c, const struct qcbmi_plan_stage *stage, struct qcbm_error *err)
{
    struct qcbmi_image *img = c->img;
    int ret = 0;

    for (size_t i = 0; ret == 0 && i < stage->n; i++) {
        const struct qcbmi_plan_write *w = &stage->writes[i];

        img->io.doing = w->what;
        ret = write_one(img, w, c->buf, err);
        if (ret < 0)
            return qcbmi_prefix(err, ret, "writing %s at 0x%" PRIx64 ": ", w->what, w->off);
        ret = tell_written(c, w->len, err);
    }
    return ret < 0 ? ret : qcbmi_io_flush(&img->io, err);
}

/* Somebody without locks may have changed the file since it was read. */
static int check_unchanged(struct qcbmi_image *img, struct qcbm_error *err)
{
    uint64_t len = u64_min(img->io.size, img->g.cluster_size);
    uint8_t *now = qcbmi_alloc_array(len, 1, err);
    int ret = now ? qcbmi_io_read(&img->io, 0, now, len, "first cluster", err) : QCBM_E_NOMEM;

    if (ret == 0 && memcmp(now, img->cluster0, (size_t)len) != 0)
        ret = qcbmi_fail(err, QCBM_E_UNSAFE, 0,
                         "the first cluster changed since it was read: somebody else writes to the "
                         "image; nothing was written");
    free(now);
    return ret;
}

static int fail_space(const struct qcbmi_plan *plan, const struct qcbmi_image *img, uint64_t available,
                      struct qcbm_error *err)
{
    if (img->io.traits.is_device)
        return qcbmi_fail(err, QCBM_E_NOSPACE, QCBM_NO_OFFSET,
                          "not enough space: the block device has %" PRIu64 " bytes and would have to hold %" PRIu64
                          "; make it larger, or copy it as it is to a larger one or into a file; nothing was written",
                          img->io.size, plan->end);
    return qcbmi_fail(err, QCBM_E_NOSPACE, QCBM_NO_OFFSET,
                      "not enough space: needs %" PRIu64 " bytes, %" PRIu64 " available; nothing was written",
                      plan->end - img->io.size, available);
}

int qcbmi_plan_check_space(const struct qcbmi_plan *plan, struct qcbmi_image *img, struct qcbm_error *err)
{
    uint64_t available = UINT64_MAX, allocated;
    int ret;

    if (plan->end <= img->io.size)
        return 0;
    ret = qcbmi_io_space(&img->io, &available, &allocated, err);
    if (ret < 0)
        return ret;
    return available < plan->end - img->io.size ? fail_space(plan, img, available, err) : 0;
}

int qcbmi_plan_reserve(const struct qcbmi_plan *plan, struct qcbmi_image *img, struct qcbm_error *err)
{
    int ret = qcbmi_plan_check_space(plan, img, err);

    if (ret < 0)
        return ret;
    for (size_t i = 0; ret == 0 && i < plan->n; i++)
        for (size_t j = 0; ret == 0 && j < plan->stages[i].n; j++)
            ret = qcbmi_io_reserve(&img->io, plan->stages[i].writes[j].off, plan->stages[i].writes[j].len, err);
    return ret < 0 ? qcbmi_prefix(err, ret, "nothing was written: ") : 0;
}

/* What may refuse the commit while the file is as it was read. */
static int begin(struct qcbmi_commit *c, struct qcbm_error *err)
{
    const struct qcbmi_plan *plan = c->plan;
    int ret = check_unchanged(c->img, err);

    if (ret == 0 && plan->undoes)
        ret = qcbmi_io_check_cut(&c->img->io, plan->end, err);
    if (ret < 0 || !plan->undo_path)
        return ret;
    ret = qcbmi_undo_save(plan, c->img, err);
    c->undo_made = ret == 0;
    return ret < 0 ? qcbmi_prefix(err, ret, "nothing was written: ") : 0;
}

/* Room in memory and on the device. */
static int make_room(struct qcbmi_commit *c, struct qcbm_error *err)
{
    const struct qcbmi_plan *plan = c->plan;
    int ret = qcbmi_plan_reserve(plan, c->img, err);

    if (ret < 0)
        return ret;
    c->buf = alloc_piece(plan, err);
    if (!c->buf)
        return QCBM_E_NOMEM;
    if (plan->undoes || plan->end <= c->img->io.size)
        return 0;
    ret = qcbmi_io_grow(&c->img->io, plan->end, err); /* cut here: a longer file, nothing refers to its end */
    return ret < 0 ? qcbmi_prefix(err, ret, "the old state is in place, only longer at most: ") : 0;
}

/* The last step of an undo: nothing refers to what lies behind the old end. */
static int cut(const struct qcbmi_plan *plan, struct qcbmi_image *img, struct qcbm_error *err)
{
    int ret;

    if (!plan->undoes || plan->end >= img->io.size)
        return 0;
    ret = qcbmi_io_cut(&img->io, plan->end, err);
    return ret < 0 ? ret : qcbmi_io_flush(&img->io, err);
}

/* The stages from c->next on, up to @end. */
static int run_stages(struct qcbmi_commit *c, size_t end, struct qcbm_error *err)
{
    int ret = 0;

    for (; ret == 0 && c->next < end; c->next++) {
        const struct qcbmi_plan_stage *stage = &c->plan->stages[c->next];

        if (stage->n == 0)
            continue;
        tell_stage(c->img, stage);
        ret = run_stage(c, stage, err);
    }
    return ret;
}

static size_t first_switch(const struct qcbmi_plan *plan)
{
    size_t i = 0;

    while (!plan->undoes && i < plan->n && !(plan->stages[i].switches && plan->stages[i].n))
        i++;
    return i;
}

int qcbmi_commit_prepare(struct qcbmi_commit *c, const struct qcbmi_plan *plan, struct qcbmi_image *img,
                         struct qcbm_error *err)
{
    int ret;

    *c = (struct qcbmi_commit){ .plan = plan, .img = img, .may_stop = true, .progress.to = plan->progress };
    for (size_t i = 0; i < plan->n; i++)
        c->progress.total += stage_bytes(&plan->stages[i]);
    if (!(img->open_flags & QCBM_OPEN_WRITE))
        return qcbmi_fail(err, QCBM_E_READONLY, QCBM_NO_OFFSET, "the image was opened for reading");
    ret = begin(c, err);
    if (ret < 0)
        return ret;
    ret = make_room(c, err);
    if (ret < 0) {
        if (plan->undo_path)
            qcbmi_file_remove(plan->undo_path);
        c->undo_made = false;
        return ret;
    }
    ret = run_stages(c, first_switch(plan), err);
    return ret < 0 ? qcbmi_prefix(err, ret, "the old state is in place, clusters may have leaked: ") : 0;
}

static size_t first_reclaim(const struct qcbmi_plan *plan)
{
    size_t i = 0;

    while (i < plan->n && !plan->stages[i].reclaims)
        i++;
    return i;
}

static int explain(const struct qcbmi_commit *c, int ret, struct qcbm_error *err)
{
    if (ret < 0)
        qcbmi_prefix(err, ret,
                     c->plan->undoes ? "undone in part, repeat it: "
                                     : "the new state may be in place, look before you repeat: ");
    return ret;
}

int qcbmi_commit_publish(struct qcbmi_commit *c, struct qcbm_error *err)
{
    c->may_stop = c->plan->undoes; /* which can be repeated from any point */
    return explain(c, run_stages(c, first_reclaim(c->plan), err), err);
}

int qcbmi_commit_finish(struct qcbmi_commit *c, struct qcbm_error *err)
{
    int ret = run_stages(c, c->plan->n, err);

    if (ret == 0)
        ret = cut(c->plan, c->img, err);
    if (ret == 0 && c->plan->undo_path)
        qcbmi_undo_seal(c->plan->undo_path, c->img);
    return explain(c, ret, err);
}

int qcbmi_commit_switch(struct qcbmi_commit *c, struct qcbm_error *err)
{
    int ret = qcbmi_commit_publish(c, err);

    return ret < 0 ? ret : qcbmi_commit_finish(c, err);
}

void qcbmi_commit_end(struct qcbmi_commit *c)
{
    free(c->buf);
    c->buf = NULL;
}

int qcbmi_plan_commit(const struct qcbmi_plan *plan, struct qcbmi_image *img, struct qcbm_error *err)
{
    struct qcbmi_commit c;
    int ret = qcbmi_commit_prepare(&c, plan, img, err);

    if (ret == 0)
        ret = qcbmi_commit_switch(&c, err);
    qcbmi_commit_end(&c);
    return ret;
}
