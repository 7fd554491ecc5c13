/* commit.c - the only code that writes: runs a plan, a flush after each stage
 * SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "io/io_file.h"
#include "write/plan.h"
#include "write/undo_save.h"
#include "write/undo_seal.h"

#define PIECE (UINT64_C(1) << 20) /* bytes of bitmap payload in memory at once */

static int write_bits(struct qcbmi_image *img, const struct qcbmi_plan_write *w, uint8_t *buf, struct qcbm_error *err)
{
    int ret = 0;

    for (uint64_t done = 0; ret == 0 && done < w->len; done += PIECE) {
        uint64_t n = u64_min(PIECE, w->len - done);

        qcbmi_plan_write_load(w, done, buf, n);
        ret = qcbmi_io_write(&img->io, w->off + done, buf, n, err);
    }
    return ret;
}

/* Bytes for the largest piece of payload that the plan has to generate. */
static uint8_t *alloc_piece(const struct qcbmi_plan *plan, struct qcbm_error *err)
{
    uint64_t largest = 0;

    for (size_t i = 0; i < plan->n; i++)
        for (size_t j = 0; j < plan->stages[i].n; j++)
            if (plan->stages[i].writes[j].bits)
                largest = u64_max(largest, plan->stages[i].writes[j].len);
    return qcbmi_alloc_array(u64_min(largest, PIECE), 1, err);
}

static void tell_stage(const struct qcbmi_image *img, const struct qcbmi_plan_stage *stage)
{
    uint64_t bytes = 0;

    for (size_t i = 0; i < stage->n; i++)
        bytes += stage->writes[i].len;
    qcbmi_io_tell(&img->io, QCBM_TRACE_STAGE, stage->name, 0, bytes, 0);
}

static int run_stage(struct qcbmi_image *img, const struct qcbmi_plan_stage *stage, uint8_t *buf,
                     struct qcbm_error *err)
{
    int ret = 0;

    for (size_t i = 0; ret == 0 && i < stage->n; i++) {
        const struct qcbmi_plan_write *w = &stage->writes[i];

        img->io.doing = w->what;
        ret = w->bits ? write_bits(img, w, buf, err) : qcbmi_io_write(&img->io, w->off, w->bytes, w->len, err);
        if (ret < 0)
            return qcbmi_prefix(err, ret, "writing %s at 0x%" PRIx64 ": ", w->what, w->off);
    }
    return qcbmi_io_flush(&img->io, err);
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

int qcbmi_plan_check_space(const struct qcbmi_plan *plan, struct qcbmi_image *img, struct qcbm_error *err)
{
    uint64_t available = UINT64_MAX, allocated, growth;
    int ret;

    if (plan->end <= img->io.size)
        return 0;
    growth = plan->end - img->io.size;
    ret = qcbmi_io_space(&img->io, &available, &allocated, err);
    if (ret < 0)
        return ret;
    if (available < growth)
        return qcbmi_fail(err, QCBM_E_NOSPACE, QCBM_NO_OFFSET,
                          "not enough space: needs %" PRIu64 " bytes, %" PRIu64 " available; nothing was written",
                          growth, available);
    return 0;
}

/* Take the blocks that the writes need from the file system now, while nothing has changed. */
static int reserve(const struct qcbmi_plan *plan, struct qcbmi_image *img, struct qcbm_error *err)
{
    int ret = qcbmi_plan_check_space(plan, img, err);

    if (ret < 0)
        return ret;
    for (size_t i = 0; ret == 0 && i < plan->n; i++)
        for (size_t j = 0; ret == 0 && j < plan->stages[i].n; j++)
            ret = qcbmi_io_reserve(&img->io, plan->stages[i].writes[j].off, plan->stages[i].writes[j].len, err);
    return ret < 0 ? qcbmi_prefix(err, ret, "nothing was written: ") : 0;
}

/* All that can be refused and all that comes before the first change. */
static int begin(const struct qcbmi_plan *plan, struct qcbmi_image *img, uint8_t **buf, struct qcbm_error *err)
{
    bool saved = false;
    int ret = check_unchanged(img, err);

    if (ret == 0 && plan->undoes)
        ret = qcbmi_io_check_cut(&img->io, plan->end, err);
    if (ret == 0 && plan->undo_path) {
        ret = qcbmi_undo_save(plan, img, err);
        saved = ret == 0;
        if (ret < 0)
            qcbmi_prefix(err, ret, "nothing was written: ");
    }
    if (ret == 0)
        ret = reserve(plan, img, err);
    *buf = ret == 0 ? alloc_piece(plan, err) : NULL;
    if (ret == 0 && !*buf)
        ret = QCBM_E_NOMEM;
    if (ret == 0 && !plan->undoes &&
        plan->end > img->io.size) { /* cut here: a longer file, nothing refers to its end */
        ret = qcbmi_io_grow(&img->io, plan->end, err);
        if (ret < 0)
            qcbmi_prefix(err, ret, "the old state is in place, only longer at most: ");
    }
    if (ret < 0 && saved)
        qcbmi_file_remove(plan->undo_path);
    return ret;
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

static int explain(const struct qcbmi_plan *plan, bool switched, int ret, struct qcbm_error *err)
{
    if (plan->undoes)
        return qcbmi_prefix(err, ret, "undone in part, repeat it: ");
    if (switched)
        return qcbmi_prefix(err, ret, "the new state may be in place, look before you repeat: ");
    return qcbmi_prefix(err, ret, "the old state is in place, clusters may have leaked: ");
}

int qcbmi_plan_commit(const struct qcbmi_plan *plan, struct qcbmi_image *img, struct qcbm_error *err)
{
    bool switched = false;
    uint8_t *buf = NULL;
    int ret;

    if (!(img->open_flags & QCBM_OPEN_WRITE))
        return qcbmi_fail(err, QCBM_E_READONLY, QCBM_NO_OFFSET, "the image was opened for reading");
    ret = begin(plan, img, &buf, err);
    if (ret < 0)
        goto out;
    for (size_t i = 0; ret == 0 && i < plan->n; i++) {
        if (plan->stages[i].n == 0)
            continue;
        switched |= plan->stages[i].switches;
        tell_stage(img, &plan->stages[i]);
        ret = run_stage(img, &plan->stages[i], buf, err);
    }
    if (ret == 0)
        ret = cut(plan, img, err);
    if (ret == 0 && plan->undo_path)
        qcbmi_undo_seal(plan->undo_path, img);
    if (ret < 0)
        explain(plan, switched, ret, err);
out:
    free(buf);
    return ret;
}
