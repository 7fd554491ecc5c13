/* l2_read.c - many L2 tables, read in the order of the file
 * SPDX-License-Identifier: MIT */
#include "image/l2_read.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "io/holes.h"

#define READ_PIECE (UINT64_C(1) << 20) /* bytes in one read of neighbouring tables */
#define READ_GAP (UINT64_C(64) << 10)  /* bytes that are cheaper to read than to skip */

struct reader {
    struct qcbmi_image *img;
    const struct qcbmi_l2_job *job;
    struct qcbmi_holes holes;
    uint8_t *buf;
    void *result;
};

/* Tables that are read at once. */
struct piece {
    size_t first, n;
    uint64_t offset, bytes;
};

static const struct qcbmi_l2_ref *ref_at(const struct qcbmi_l2_job *job, size_t i)
{
    return (const struct qcbmi_l2_ref *)(const void *)((const uint8_t *)job->refs + i * job->stride);
}

/* From table @first on. Those inside clusters are nobody's neighbours. */
static struct piece piece_at(const struct reader *r, size_t first)
{
    uint64_t cs = r->img->g.cluster_size, start = ref_at(r->job, first)->offset, last = start;
    size_t k = first + 1;

    for (; k < r->job->n && is_aligned(start, cs); k++) {
        uint64_t offset = ref_at(r->job, k)->offset;

        if (!is_aligned(offset, cs) || offset - last > cs + READ_GAP || offset - start + cs > READ_PIECE)
            break;
        last = offset;
    }
    return (struct piece){ first, k - first, start, last - start + cs };
}

static int read_piece(struct reader *r, const struct piece *p, struct qcbm_error *err)
{
    const struct qcbmi_l2_job *job = r->job;
    bool hole;
    int ret;

    if (job->afford && !is_aligned(p->offset, r->img->g.cluster_size) && !job->afford(job->opaque, p->bytes))
        return 0;
    /* Tables in a hole allocate nothing: a sparse file costs what is in it, not how long it claims to be. */
    ret = qcbmi_holes_read(&r->holes, p->offset, r->buf, p->bytes, &hole, job->what, err);
    for (size_t i = p->first; ret == 0 && i < p->first + p->n; i++) {
        const struct qcbmi_l2_ref *ref = ref_at(job, i);

        ret = job->look(job->opaque, r->result, ref, hole ? NULL : r->buf + (ref->offset - p->offset), err);
    }
    if (ret == 0 && job->merge)
        ret = job->merge(job->opaque, r->result, err);
    return ret < 0 ? ret : qcbmi_progress_add(job->progress, p->n * r->img->g.cluster_size, err);
}

static int begin(struct reader *r, struct qcbm_error *err)
{
    const struct qcbmi_l2_job *job = r->job;
    uint64_t cs = r->img->g.cluster_size, span = ref_at(job, job->n - 1)->offset - ref_at(job, 0)->offset + cs;

    qcbmi_holes_init(&r->holes, &r->img->io);
    r->buf = qcbmi_alloc_array(u64_min(u64_max(READ_PIECE, cs), span), 1, err);
    r->result = job->result_size ? qcbmi_alloc_array(1, job->result_size, err) : NULL;
    return r->buf && (r->result || job->result_size == 0) ? 0 : QCBM_E_NOMEM;
}

int qcbmi_l2_read(struct qcbmi_image *img, const struct qcbmi_l2_job *job, struct qcbm_error *err)
{
    struct reader r = { .img = img, .job = job };
    int ret;

    if (job->n == 0)
        return 0;
    ret = begin(&r, err);
    for (size_t i = 0; ret == 0 && i < job->n;) {
        struct piece p = piece_at(&r, i);

        ret = read_piece(&r, &p, err);
        i += p.n;
    }
    if (r.result && job->drop)
        job->drop(r.result);
    free(r.result);
    free(r.buf);
    qcbmi_holes_free(&r.holes);
    return ret;
}
