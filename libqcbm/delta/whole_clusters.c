/* whole_clusters.c - pieces of merged deltas in whole clusters, for a form that has no others
 * SPDX-License-Identifier: MIT */
#include "delta/whole_clusters.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "base/error.h"

int qcbmi_whole_clusters_init(struct qcbmi_whole_clusters *c, struct qcbmi_overlay *overlay, uint64_t unit,
                              struct qcbm_error *err)
{
    *c = (struct qcbmi_whole_clusters){ .overlay = overlay, .unit = unit };
    overlay->unit = unit;
    c->cluster = qcbmi_alloc_array(unit, 1, err);
    return c->cluster ? 0 : QCBM_E_NOMEM;
}

void qcbmi_whole_clusters_free(struct qcbmi_whole_clusters *c)
{
    free(c->cluster);
    *c = (struct qcbmi_whole_clusters){ 0 };
}

int qcbmi_whole_clusters_rewind(struct qcbmi_whole_clusters *c, struct qcbm_error *err)
{
    c->p.r.length = 0;
    return qcbmi_overlay_rewind(c->overlay, err);
}

/* There is a piece, or there is none left: 1, 0. */
static int look(struct qcbmi_whole_clusters *c, struct qcbm_error *err)
{
    return c->p.r.length ? 1 : qcbmi_overlay_next(c->overlay, &c->p, err);
}

/* The first @len bytes of the piece are given out. */
static void pass(struct qcbmi_whole_clusters *c, uint64_t len)
{
    c->p.r.offset += len;
    c->p.r.length -= len;
}

/* Bytes of [@at, @end) up to the next piece, none of which any delta has: they are zeros if the oldest state ends
 * before them. */
static int take_gap(struct qcbmi_whole_clusters *c, uint64_t at, uint64_t end, uint8_t *to, uint64_t *len,
                    struct qcbm_error *err)
{
    *len = c->p.r.length ? u64_min(c->p.r.offset, end) - at : end - at;
    if (*len && at < c->overlay->size_before)
        return qcbmi_fail(err, QCBM_E_LIMIT, QCBM_NO_OFFSET,
                          "guest 0x%" PRIx64
                          ": in between the disk ended inside a cluster, of which the rest has become "
                          "zeros; clusters are whole in this form: apply these deltas one after the other",
                          at);
    memset(to, 0, (size_t)*len);
    return 0;
}

static int take_bytes(struct qcbmi_whole_clusters *c, uint64_t end, uint8_t *to, uint64_t *len, struct qcbm_error *err)
{
    int ret = 0;

    *len = u64_min(c->p.r.length, end - c->p.r.offset);
    if (c->p.r.type == QCBMI_DELTA_ZERO)
        memset(to, 0, (size_t)*len);
    else
        ret = qcbmi_delta_read(c->p.from, c->p.r.offset, to, *len, err);
    pass(c, *len);
    return ret;
}

/* The cluster in which the piece begins. */
static int put_together(struct qcbmi_whole_clusters *c, struct qcbmi_overlay_piece *out, struct qcbm_error *err)
{
    uint64_t start = align_down(c->p.r.offset, c->unit);
    uint64_t end = u64_min(start + c->unit, c->overlay->size_after), len;
    int ret = 0;

    *out = (struct qcbmi_overlay_piece){ { start, end - start, QCBMI_DELTA_DATA }, NULL };
    for (uint64_t at = start; ret >= 0 && at < end; at += len) {
        ret = look(c, err);
        if (ret < 0)
            return ret;
        if (c->p.r.length && c->p.r.offset == at)
            ret = take_bytes(c, end, c->cluster + (at - start), &len, err);
        else
            ret = take_gap(c, at, end, c->cluster + (at - start), &len, err);
    }
    return ret < 0 ? ret : 1;
}

int qcbmi_whole_clusters_next(struct qcbmi_whole_clusters *c, struct qcbmi_overlay_piece *out, const uint8_t **bytes,
                              struct qcbm_error *err)
{
    int ret = look(c, err);
    uint64_t end, whole;

    *bytes = NULL;
    if (ret <= 0)
        return ret;
    end = c->p.r.offset + c->p.r.length;
    whole = end == c->overlay->size_after ? end : align_down(end, c->unit);
    if (c->p.r.offset % c->unit == 0 && whole > c->p.r.offset) {
        *out = c->p;
        out->r.length = whole - c->p.r.offset;
        pass(c, out->r.length);
        return 1;
    }
    *bytes = c->cluster;
    return put_together(c, out, err);
}
