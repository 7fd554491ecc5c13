/* apply_write.c - guest bytes into a disk, batch by batch
 * SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/checked.h"
#include "delta/apply_queue.h"
#include "delta/apply_target.h"

#define PIECE (UINT64_C(1) << 20)
#define BATCH                                                                                                          \
    (UINT64_C(256) << 20)   /* bytes between two flushes; an image grows by so much more than it needs at most */
#define MAX_CLUSTERS 65536u /* of a batch */

static int tell(const struct qcbmi_target_write *w, uint64_t done, struct qcbm_error *err)
{
    return w->step ? w->step(w->opaque, done, err) : 0;
}

/* ---- raw ---- */

struct raw {
    const struct qcbmi_target_write *w;
    struct qcbmi_io *io;
    uint8_t *buf, *old; /* a PIECE each */
    uint64_t since;     /* bytes that are not durable */
};

/* A file may end within its last sector, of which the disk has all: what is missing of that reads as zeros, and the
 * file gets longer only for other bytes. */
static uint64_t without_missing_zeros(const struct raw *r, uint64_t off, uint64_t len)
{
    uint64_t there = off < r->io->size ? u64_min(len, r->io->size - off) : 0;

    return bytes_are_zero(r->buf + there, len - there) ? there : len;
}

/* Zeros on a hole are there already. A device does not tell its holes, and one that is thin would get room for what is
 * written. */
static int are_there(struct raw *r, uint64_t off, uint64_t len, bool *there, struct qcbm_error *err)
{
    int ret = 0;

    *there = bytes_are_zero(r->buf, len) && qcbmi_io_is_hole(r->io, off, len);
    if (*there || !r->io->traits.is_device || !bytes_are_zero(r->buf, len))
        return 0;
    ret = qcbmi_io_read(r->io, off, r->old, len, "disk", err);
    *there = ret == 0 && bytes_are_zero(r->old, len);
    return ret;
}

static int write_piece(struct raw *r, uint64_t off, uint64_t len, struct qcbm_error *err)
{
    bool there = false;
    int ret;

    len = without_missing_zeros(r, off, len);
    ret = len ? are_there(r, off, len, &there, err) : 0;
    if (ret < 0 || len == 0 || there)
        return ret;
    r->since += len;
    return qcbmi_io_write(r->io, off, r->buf, len, err);
}

static int make_durable(struct raw *r, uint64_t done, struct qcbm_error *err)
{
    int ret = qcbmi_io_flush(r->io, err);

    r->since = 0;
    return ret < 0 ? ret : tell(r->w, done, err);
}

static int write_zeros(struct raw *r, uint64_t off, uint64_t end, struct qcbm_error *err)
{
    int ret = 0;

    memset(r->buf, 0, PIECE);
    while (ret == 0 && off < end) {
        uint64_t n = u64_min(PIECE, end - off), stop = 0;
        bool is_data = true;

        ret = qcbmi_io_extent(r->io, off, &is_data, &stop, err);
        if (ret < 0)
            return ret;
        n = is_data ? n : u64_min(end, stop) - off;
        if (is_data)
            ret = write_piece(r, off, n, err);
        off += n;
        if (ret == 0)
            ret = qcbmi_progress_add(r->w->progress, n, err);
        if (ret == 0 && r->since >= BATCH)
            ret = make_durable(r, off, err);
    }
    return ret;
}

static int write_data(struct raw *r, uint64_t off, uint64_t end, struct qcbm_error *err)
{
    const struct qcbmi_guest_stream *s = r->w->stream;
    int ret = 0;

    while (ret == 0 && off < end) {
        uint64_t n = u64_min(PIECE, end - off);

        ret = s->read(s->opaque, off, r->buf, n, err);
        if (ret == 0)
            ret = write_piece(r, off, n, err);
        off += n;
        if (ret == 0)
            ret = qcbmi_progress_add(r->w->progress, n, err);
        if (ret == 0 && r->since >= BATCH)
            ret = make_durable(r, off, err);
    }
    return ret;
}

static int write_raw(struct qcbmi_apply_target *t, const struct qcbmi_target_write *w, struct qcbm_error *err)
{
    struct raw r = { .w = w, .io = qcbmi_target_io(t), .buf = qcbmi_alloc_array(PIECE, 2, err) };
    struct qcbmi_guest_extent e;
    int ret = r.buf ? 1 : QCBM_E_NOMEM;

    r.old = r.buf ? r.buf + PIECE : NULL;

    while (ret > 0) {
        ret = w->stream->next(w->stream->opaque, &e, err);
        if (ret <= 0)
            break;
        e.off = u64_max(e.off, w->from);
        e.end = u64_min(e.end, qcbmi_target_size(t));
        if (e.off >= e.end)
            continue;
        ret = e.zero ? write_zeros(&r, e.off, e.end, err) : write_data(&r, e.off, e.end, err);
        ret = ret < 0 ? ret : 1;
    }
    if (ret == 0)
        ret = make_durable(&r, UINT64_MAX, err);
    free(r.buf);
    return ret;
}

/* ---- qcow2 ---- */

static uint64_t bytes_of(const struct qcbmi_apply_queue *q, uint64_t from, uint64_t end)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < q->n && q->at[i].off < end; i++)
        sum += u64_min(q->at[i].end, end) - u64_max(q->at[i].off, from);
    return sum;
}

/* All before batch->end is durable when it returns 0. Finding out what is free costs a reading of all tables, so @busy,
 * which has no bits at first, goes from one batch to the next. */
static int write_batch(struct qcbmi_apply_target *t, struct qcbmi_guest_batch *b, struct qcbmi_bitset *busy,
                       struct qcbm_error *err)
{
    struct qcbmi_owners owners = { 0 };
    struct qcbmi_plan plan = { 0 };
    int ret = busy->n_bits ? qcbmi_target_plan_again(t, &plan, &owners, busy, err)
                           : qcbmi_target_plan_begin(t, &plan, &owners, err);

    if (!b->max_clusters)
        b->max_clusters = u64_min(MAX_CLUSTERS, BATCH >> t->handle.image->g.cluster_bits);
    if (ret == 0)
        ret = qcbmi_guest_plan(b, &owners, &plan, err);
    qcbmi_owners_free(&owners);
    if (ret == 0 && b->end == b->from)
        ret = qcbmi_fail(err, QCBM_E_LIMIT, QCBM_NO_OFFSET, "no whole cluster is known");
    if (ret == 0 && t->data_file.ops && !b->drops)
        ret = qcbmi_guest_write_beside(b, &t->data_file, err);
    if (ret == 0)
        ret = qcbmi_target_commit(t, &plan, err);
    qcbmi_plan_free(&plan);
    return ret == 0 ? qcbmi_alloc_give_busy(&b->alloc, busy, err) : ret;
}

static int next_batch(struct qcbmi_apply_target *t, const struct qcbmi_target_write *w, struct qcbmi_apply_queue *q,
                      struct qcbmi_bitset *busy, uint64_t *from, struct qcbm_error *err)
{
    struct qcbmi_guest_batch b = { .img = t->handle.image,
                                   .extents = q->at,
                                   .n = q->n,
                                   .from = *from,
                                   .known = qcbmi_queue_known(q),
                                   .bytes = w->stream,
                                   .has_backing = t->chain.n > 1,
                                   .drops = w->drops,
                                   .max_clusters = w->batch };
    uint64_t done;
    int ret = qcbmi_target_reader(t, &b.old, err);

    if (ret == 0)
        ret = write_batch(t, &b, busy, err);
    qcbmi_data_close(b.old);
    qcbmi_guest_batch_free(&b);
    if (ret < 0)
        return ret;
    done = bytes_of(q, *from, b.end);
    *from = b.end;
    ret = tell(w, b.end, err);
    return ret == 0 ? qcbmi_progress_add(w->progress, done, err) : ret;
}

static int write_qcow2(struct qcbmi_apply_target *t, const struct qcbmi_target_write *w, struct qcbm_error *err)
{
    struct qcbmi_apply_queue q = { .stream = w->stream };
    struct qcbmi_bitset busy = { 0 };
    uint64_t from = w->from, cs = t->handle.image->g.cluster_size;
    int ret = qcbmi_queue_fill(&q, from, cs, err);

    while (ret == 0 && q.n && from != UINT64_MAX) {
        ret = next_batch(t, w, &q, &busy, &from, err);
        if (ret == 0)
            ret = qcbmi_queue_fill(&q, from, cs, err);
    }
    qcbmi_queue_free(&q);
    qcbmi_bitset_free(&busy);
    return ret;
}

int qcbmi_target_write(struct qcbmi_apply_target *t, const struct qcbmi_target_write *w, struct qcbm_error *err)
{
    return t->is_qcow2 ? write_qcow2(t, w, err) : write_raw(t, w, err);
}
