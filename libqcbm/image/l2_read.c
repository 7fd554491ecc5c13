/* l2_read.c - many L2 tables, read in the order of the file
 * SPDX-License-Identifier: MIT */
#include "image/l2_read.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/checked.h"
#include "base/workers.h"
#include "io/holes.h"
#include "io/slow.h"

#define READ_GAP (UINT64_C(64) << 10)      /* bytes that are cheaper to read than to skip */
#define WORTH_A_THREAD (UINT64_C(2) << 20) /* bytes of tables */
#define MEMORY (UINT64_C(12) << 20) /* for pieces, of which the largest have 2 MiB: then there are fewer threads */

struct reader {
    struct qcbmi_image *img;
    const struct qcbmi_l2_job *job;
    struct qcbmi_holes holes;  /* of next_piece() alone */
    bool sparse;               /* a piece was all zeros: from then on holes are asked for */
    size_t at;                 /* the next table */
    unsigned n_slow;           /* reads that waited for a disk */
    size_t ahead;              /* tables before it have been asked for */
    unsigned n_begun, n_ahead; /* pieces before these tables */
};

/* Tables that are read at once. */
struct piece {
    size_t first, n;
    uint64_t offset, bytes;
    bool left_out, hole; /* not afforded; nothing to be read */
    bool zeros;          /* all that was read */
    bool slow;           /* reading it was */
    uint8_t *buf;
    void *result; /* NULL: the tables are looked at by who takes over */
};

static const struct qcbmi_l2_ref *ref_at(const struct qcbmi_l2_job *job, size_t i)
{
    return (const struct qcbmi_l2_ref *)(const void *)((const uint8_t *)job->refs + i * job->stride);
}

/* From table @first on. Those inside clusters are nobody's neighbours. */
static void choose(const struct reader *r, size_t first, struct piece *out)
{
    uint64_t cs = r->img->g.cluster_size, start = ref_at(r->job, first)->offset, last = start;
    uint64_t gap = r->job->exact || qcbmi_io_is_remote(&r->img->io) ? 0 : READ_GAP;
    size_t k = first + 1;

    for (; k < r->job->n && is_aligned(start, cs); k++) {
        uint64_t offset = ref_at(r->job, k)->offset;

        if (!is_aligned(offset, cs) || offset - last > cs + gap || offset - start + cs > QCBMI_L2_PIECE)
            break;
        last = offset;
    }
    out->first = first;
    out->n = k - first;
    out->offset = start;
    out->bytes = last - start + cs;
}

/* Tables in a hole allocate nothing: a sparse file costs what is in it, not how long it claims to be. But a question
 * for a hole has the system walk over all data up to the next one, so none is asked before zeros have been read. */
static bool in_hole(struct reader *r, const struct piece *p)
{
    uint64_t size = r->img->io.size;

    if (p->offset >= size)
        return true;
    return r->sparse && qcbmi_holes_cover(&r->holes, p->offset, u64_min(p->bytes, size - p->offset));
}

static void ask_ahead(struct reader *r)
{
    struct piece p;

    if (r->ahead < r->at) {
        r->ahead = r->at;
        r->n_ahead = r->n_begun;
    }
    for (; r->ahead < r->job->n && r->n_ahead < r->n_begun + QCBMI_READS_AHEAD; r->n_ahead++) {
        choose(r, r->ahead, &p);
        r->ahead += p.n;
        qcbmi_io_will_read(&r->img->io, p.offset, p.bytes);
    }
}

static bool next_piece(void *opaque, void *slot)
{
    struct reader *r = opaque;
    const struct qcbmi_l2_job *job = r->job;
    struct piece *p = slot;

    if (r->at == job->n)
        return false;
    choose(r, r->at, p);
    r->at += p->n;
    p->left_out = job->afford && !is_aligned(p->offset, r->img->g.cluster_size) && !job->afford(job->opaque, p->bytes);
    p->hole = p->left_out || in_hole(r, p);
    r->n_begun++;
    if (r->n_slow >= QCBMI_SLOW_READS)
        ask_ahead(r);
    return true;
}

static int look_at_piece(const struct reader *r, const struct piece *p, struct qcbm_error *err)
{
    const struct qcbmi_l2_job *job = r->job;
    int ret = 0;

    for (size_t i = p->first; ret == 0 && !p->left_out && i < p->first + p->n; i++) {
        const struct qcbmi_l2_ref *ref = ref_at(job, i);

        ret = job->look(job->opaque, p->result, ref, p->hole ? NULL : p->buf + (ref->offset - p->offset), err);
    }
    return ret;
}

static int read_piece(void *opaque, void *slot, struct qcbm_error *err)
{
    const struct reader *r = opaque;
    struct piece *p = slot;
    int ret = 0;

    p->zeros = p->slow = false;
    if (!p->hole) {
        uint64_t inside = u64_min(p->bytes, r->img->io.size - p->offset), begun = qcbmi_read_begins();

        memset(p->buf + inside, 0, (size_t)(p->bytes - inside));
        ret = qcbmi_io_read(&r->img->io, p->offset, p->buf, inside, r->job->what, err);
        p->slow = qcbmi_read_was_slow(begun, inside);
        p->zeros = ret == 0 && bytes_are_zero(p->buf, p->bytes);
    }
    return ret == 0 && p->result ? look_at_piece(r, p, err) : ret;
}

static int take_piece(void *opaque, void *slot, struct qcbm_error *err)
{
    struct reader *r = opaque;
    const struct qcbmi_l2_job *job = r->job;
    const struct piece *p = slot;
    int ret = p->result ? 0 : look_at_piece(r, p, err);

    r->sparse |= p->zeros;
    r->n_slow += p->slow;
    if (p->left_out)
        return 0;
    if (ret == 0 && job->merge)
        ret = job->merge(job->opaque, p->result, err);
    return ret != 0 ? ret : qcbmi_progress_add(job->progress, p->n * r->img->g.cluster_size, err);
}

/* Does what is read come out of a budget? It is spent in file order, and looking at the tables may spend of it, too. */
static bool has_to_afford(const struct qcbmi_l2_job *job, uint64_t cs)
{
    size_t i = 0;

    while (job->afford && i < job->n && is_aligned(ref_at(job, i)->offset, cs))
        i++;
    return job->afford && i < job->n;
}

/* A trace is told by one thread alone. */
static unsigned count_threads(const struct reader *r)
{
    uint64_t bytes = r->job->n * (uint64_t)r->img->g.cluster_size;

    if ((r->img->io.trace && r->img->io.trace->fn) || has_to_afford(r->job, r->img->g.cluster_size))
        return 1;
    return qcbmi_threads(r->img->threads, r->img->threads ? r->job->n : bytes / WORTH_A_THREAD);
}

static int get_memory(const struct reader *r, struct piece *slots, size_t n, uint64_t bytes, struct qcbm_error *err)
{
    for (size_t i = 0; i < n; i++) {
        slots[i].buf = qcbmi_alloc_array(bytes, 1, err);
        slots[i].result = r->job->result_size ? qcbmi_alloc_array(1, r->job->result_size, err) : NULL;
        if (!slots[i].buf || (!slots[i].result && r->job->result_size))
            return QCBM_E_NOMEM;
    }
    return 0;
}

static void give_back(const struct reader *r, struct piece *slots, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (slots[i].result && r->job->drop)
            r->job->drop(slots[i].result);
        free(slots[i].result);
        free(slots[i].buf);
    }
}

int qcbmi_l2_read(struct qcbmi_image *img, const struct qcbmi_l2_job *job, struct qcbm_error *err)
{
    struct piece slots[QCBMI_WORK_SLOTS] = { { 0 } };
    struct reader r = { .img = img, .job = job };
    struct qcbmi_work w = { &r, slots, sizeof(slots[0]), 1, 1, next_piece, read_piece, take_piece };
    uint64_t cs = img->g.cluster_size, bytes;
    int ret;

    if (job->n == 0)
        return 0;
    bytes = u64_min(u64_max(QCBMI_L2_PIECE, cs), ref_at(job, job->n - 1)->offset - ref_at(job, 0)->offset + cs);
    w.threads = count_threads(&r);
    if (qcbmi_io_is_remote(&img->io))
        r.n_slow = QCBMI_SLOW_READS; /* no need to find out */
    if (w.threads > 1)               /* one is worked on while others wait for their turn, or for somebody to begin */
        w.n_slots = u64_min(u64_min(w.threads * (bytes > QCBMI_L2_PIECE ? 2 : 3), QCBMI_WORK_SLOTS),
                            u64_max(MEMORY / bytes, 2));
    if (w.n_slots <= w.threads && w.threads > 1)
        w.threads = (unsigned)w.n_slots - 1;
    qcbmi_holes_init(&r.holes, &img->io);
    ret = get_memory(&r, slots, w.n_slots, bytes, err);
    if (ret == 0)
        ret = qcbmi_work_run(&w, err);
    give_back(&r, slots, w.n_slots);
    qcbmi_holes_free(&r.holes);
    return ret;
}
