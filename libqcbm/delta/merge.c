/* merge.c - several deltas that follow one another made one
 * SPDX-License-Identifier: MIT
 *
 * The order of work: all deltas are read through and compared with their digests; their records are walked through once
 * to see what comes out, since it is told in front of it; once to announce it; and once to write it. Only what no later
 * delta replaces is read again. */
#include "delta/merge.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "base/error.h"
#include "delta/merge_probes.h"
#include "delta/whole_clusters.h"

#define PIECE (UINT64_C(1) << 20)         /* bytes that are read at once */
#define LARGEST_UNIT (UINT64_C(64) << 10) /* a cluster of a merged qcow2 delta, at most */

/* ---- what goes in -------------------------------------------------------------------------------------- */

/* Places where records begin or end, but for the ends of disks, with their bits together: the lowest one tells the size
 * of the clusters that all of them are made of. */
static int count_records(struct qcbmi_delta *d, uint64_t *edges, struct qcbmi_merge_result *out, struct qcbm_error *err)
{
    struct qcbmi_delta_record r;
    int ret = qcbmi_delta_rewind(d, err);

    while (ret == 0 && (ret = qcbmi_delta_next(d, &r, err)) == 1) {
        uint64_t end = r.offset + r.length;

        *edges |= r.offset | (end == d->meta.size_after ? 0 : end);
        out->records_before++;
        out->bytes_before += r.length;
        ret = 0;
    }
    return ret;
}

static int verify_all(const struct qcbmi_merge *m, uint64_t *edges, struct qcbmi_merge_result *out,
                      struct qcbm_error *err)
{
    int ret = 0;

    for (size_t i = 0; ret == 0 && i < m->n; i++) {
        ret = count_records(m->deltas[i], edges, out, err);
        if (ret < 0)
            ret = qcbmi_prefix(err, ret, "'%s': ", m->names[i]);
    }
    if (m->progress)
        m->progress->total = 2 * out->bytes_before;
    for (size_t i = 0; ret == 0 && i < m->n; i++) {
        ret = qcbmi_delta_verify(m->deltas[i], NULL, m->progress, err);
        if (ret < 0 && ret != QCBM_E_ABORTED)
            ret = qcbmi_prefix(err, ret, "'%s': ", m->names[i]);
    }
    return ret;
}

/* ---- what comes out ------------------------------------------------------------------------------------ */

static uint64_t cluster_size_for(uint64_t edges)
{
    uint64_t lowest = edges & (~edges + 1); /* 0 without any edge */

    return lowest == 0 ? LARGEST_UNIT : u64_min(lowest, LARGEST_UNIT);
}

static int strike_probes(struct qcbmi_whole_clusters *c, struct qcbmi_merge_probes *probes, struct qcbm_error *err)
{
    struct qcbmi_overlay_piece p;
    const uint8_t *bytes;
    int ret = qcbmi_whole_clusters_rewind(c, err);

    while (ret == 0 && (ret = qcbmi_whole_clusters_next(c, &p, &bytes, err)) == 1) {
        qcbmi_merge_probes_strike(probes, p.r.offset, p.r.length);
        ret = 0;
    }
    return ret;
}

static int choose_probes(const struct qcbmi_merge *m, struct qcbmi_whole_clusters *c, struct qcbmi_delta_meta *meta,
                         struct qcbm_error *err)
{
    struct qcbmi_merge_probes probes;
    int ret = qcbmi_merge_probes_init(&probes, m->deltas, m->n, err);

    if (ret == 0)
        ret = strike_probes(c, &probes, err);
    if (ret == 0)
        qcbmi_merge_probes_give(&probes, meta);
    qcbmi_merge_probes_free(&probes);
    return ret;
}

static int announce_all(struct qcbmi_whole_clusters *c, struct qcbmi_delta_writer *w, struct qcbm_error *err)
{
    struct qcbmi_overlay_piece p;
    const uint8_t *bytes;
    int ret = qcbmi_whole_clusters_rewind(c, err);

    while (ret == 0 && (ret = qcbmi_whole_clusters_next(c, &p, &bytes, err)) == 1)
        ret = qcbmi_delta_announce(w, &p.r, err);
    return ret;
}

static int copy_data(const struct qcbmi_overlay_piece *p, struct qcbmi_delta_writer *w, uint8_t *buf,
                     struct qcbm_error *err)
{
    int ret = 0;

    for (uint64_t done = 0, n; ret == 0 && done < p->r.length; done += n) {
        n = u64_min(p->r.length - done, PIECE);
        ret = qcbmi_delta_read(p->from, p->r.offset + done, buf, n, err);
        if (ret == 0)
            ret = qcbmi_delta_data(w, p->r.offset + done, n, buf, err);
    }
    return ret;
}

static int write_all(const struct qcbmi_merge *m, struct qcbmi_whole_clusters *c, struct qcbmi_delta_writer *w,
                     struct qcbm_error *err)
{
    uint8_t *buf = qcbmi_alloc_array(PIECE, 1, err);
    struct qcbmi_overlay_piece p;
    const uint8_t *bytes;
    int ret = buf ? qcbmi_whole_clusters_rewind(c, err) : QCBM_E_NOMEM;

    while (ret == 0 && (ret = qcbmi_whole_clusters_next(c, &p, &bytes, err)) == 1) {
        if (bytes)
            ret = qcbmi_delta_data(w, p.r.offset, p.r.length, bytes, err);
        else if (p.r.type == QCBMI_DELTA_DATA)
            ret = copy_data(&p, w, buf, err);
        else
            ret = qcbmi_delta_zero(w, p.r.offset, p.r.length, err);
        if (ret == 0)
            ret = qcbmi_progress_add(m->progress, p.r.length, err);
    }
    free(buf);
    return ret;
}

static int write_delta(const struct qcbmi_merge *m, struct qcbmi_whole_clusters *c, struct qcbmi_merge_result *out,
                       struct qcbm_error *err)
{
    const struct qcbmi_delta_wish wish = { .form = m->deltas[0]->form,
                                           .path = m->path,
                                           .fd = m->fd,
                                           .cluster_size = c->unit > 1 ? (uint32_t)c->unit : 0,
                                           .from = m->deltas[0]->from,
                                           .to = m->deltas[m->n - 1]->to };
    struct qcbmi_delta_writer w;
    int ret = qcbmi_delta_writer_open(&w, &wish, &out->meta, err);

    if (ret == 0)
        ret = announce_all(c, &w, err);
    if (ret == 0)
        ret = qcbmi_delta_begin(&w, err);
    if (ret == 0)
        ret = write_all(m, c, &w, err);
    if (ret == 0)
        ret = qcbmi_delta_end(&w, err);
    if (ret == 0) {
        out->data_bytes = w.data_bytes;
        out->zero_bytes = w.zero_bytes;
        out->meta = w.meta;
    }
    qcbmi_delta_writer_close(&w);
    return ret;
}

static int merge(const struct qcbmi_merge *m, uint64_t unit, struct qcbmi_merge_result *out, struct qcbm_error *err)
{
    struct qcbmi_whole_clusters c = { 0 };
    struct qcbmi_overlay o;
    int ret = qcbmi_overlay_init(&o, m->deltas, m->n, err);

    if (ret == 0)
        ret = qcbmi_whole_clusters_init(&c, &o, unit, err);
    if (ret == 0)
        ret = choose_probes(m, &c, &out->meta, err);
    if (ret == 0)
        ret = write_delta(m, &c, out, err);
    qcbmi_whole_clusters_free(&c);
    qcbmi_overlay_free(&o);
    return ret;
}

int qcbmi_delta_merge(const struct qcbmi_merge *m, struct qcbmi_merge_result *out, struct qcbm_error *err)
{
    uint64_t edges = 0;
    int ret = qcbmi_merge_check_order(m, err);

    *out = (struct qcbmi_merge_result){ 0 };
    if (ret == 0)
        ret = qcbmi_merge_identity(m, &out->meta, err);
    if (ret == 0)
        ret = verify_all(m, &edges, out, err);
    if (ret < 0)
        return ret;
    return merge(m, m->deltas[0]->form == &qcbmi_delta_qcow2 ? cluster_size_for(edges) : 1, out, err);
}
