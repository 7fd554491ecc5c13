/* walk.c - from the granules that count to pieces that are read: what is zeros there by metadata, what is data
 * SPDX-License-Identifier: MIT */
#include "delta/walk.h"

#include "base/checked.h"
#include "base/error.h"

void qcbmi_delta_walk_begin(struct qcbmi_delta_walk *w, const struct qcbmi_dirtymap *map, struct qcbmi_data *data,
                            uint64_t size, uint64_t unit)
{
    *w = (struct qcbmi_delta_walk){ .map = map, .data = data, .size = size, .unit = unit };
}

static uint64_t unit_end(const struct qcbmi_delta_walk *w, uint64_t at)
{
    return u64_min(align_up(at, w->unit), w->size);
}

/* Dirty ranges that lie in one unit, or in two that touch, are one. */
static bool next_range(struct qcbmi_delta_walk *w)
{
    uint64_t start, end;

    if (!qcbmi_dirtymap_next(w->map, w->end, &start, &end) || start >= w->size)
        return false;
    w->at = u64_max(align_down(start, w->unit), w->end);
    w->end = unit_end(w, end);
    while (w->end < w->size && qcbmi_dirtymap_next(w->map, w->end, &start, &end) &&
           align_down(start, w->unit) <= w->end)
        w->end = unit_end(w, end);
    return true;
}

/* What is at @at: an entry that breaks a rule may be anything, and so is none that a delta is made of. */
static int look(struct qcbmi_delta_walk *w, uint64_t at, uint64_t end, struct qcbmi_guest_piece *p,
                struct qcbm_error *err)
{
    int ret = qcbmi_data_find(w->data, at, end, p, err);

    if (ret == 0 && p->doubtful)
        ret = qcbmi_fail(err, QCBM_E_CORRUPT, QCBM_NO_OFFSET, "the entry of guest 0x%" PRIx64 " breaks a rule", at);
    if (ret < 0)
        return ret;
    p->host = qcbmi_guest_piece_host(p, at);
    p->start = at;
    return 0;
}

/* How far it is all zeros from w->at on, in whole units; w->at if there is data in the first. */
static int zeros_end(struct qcbmi_delta_walk *w, uint64_t *end, struct qcbm_error *err)
{
    uint64_t at = w->at;
    int ret = 0;

    while (at < w->end) {
        struct qcbmi_guest_piece p;

        ret = look(w, at, w->end, &p, err);
        if (ret < 0 || !qcbmi_guest_piece_is_zero(&p))
            break;
        at = p.end;
    }
    *end = at == w->end ? at : align_down(at, w->unit);
    return ret;
}

/* Data from w->at on, up to @limit, and up to a unit of zeros behind it. */
static int take_data(struct qcbmi_delta_walk *w, uint64_t limit, struct qcbmi_guest_piece *parts, size_t max_parts,
                     size_t *n_parts, uint64_t *end, struct qcbm_error *err)
{
    uint64_t at = w->at, data_end = at;
    size_t n = 0;

    *n_parts = 0;
    while (at < limit && n < max_parts) {
        struct qcbmi_guest_piece p;
        int ret = look(w, at, limit, &p, err);

        if (ret < 0)
            return ret;
        if (parts)
            parts[n] = p;
        n++;
        at = p.end;
        if (!qcbmi_guest_piece_is_zero(&p))
            data_end = at;
        else if (at >= unit_end(w, data_end) && at - unit_end(w, data_end) >= w->unit)
            break;
    }
    *end = u64_min(unit_end(w, data_end), limit);
    if (at < *end) /* no room for all pieces of the last unit: it comes again */
        *end = align_down(at, w->unit);
    *n_parts = n;
    return *end > w->at
               ? 0
               : qcbmi_fail(err, QCBM_E_LIMIT, QCBM_NO_OFFSET,
                            "guest 0x%" PRIx64 ": more than %zu pieces in one cluster of the delta", w->at, max_parts);
}

static void cut_parts(struct qcbmi_guest_piece *parts, size_t *n, uint64_t end)
{
    while (*n && parts[*n - 1].start >= end)
        (*n)--;
    if (*n)
        parts[*n - 1].end = u64_min(parts[*n - 1].end, end);
}

int qcbmi_delta_walk_next(struct qcbmi_delta_walk *w, uint64_t max, struct qcbmi_delta_record *out,
                          struct qcbmi_guest_piece *parts, size_t max_parts, size_t *n_parts, struct qcbm_error *err)
{
    uint64_t end = 0;
    int ret;

    *n_parts = 0;
    if (w->at == w->end && !next_range(w))
        return 0;
    ret = zeros_end(w, &end, err);
    if (ret < 0)
        return ret;
    *out = (struct qcbmi_delta_record){ w->at, end - w->at, QCBMI_DELTA_ZERO };
    if (end == w->at) {
        ret = take_data(w, w->at + u64_min(w->end - w->at, max), parts, max_parts, n_parts, &end, err);
        if (ret < 0)
            return ret;
        if (parts)
            cut_parts(parts, n_parts, end);
        *out = (struct qcbmi_delta_record){ w->at, end - w->at, QCBMI_DELTA_DATA };
    }
    w->at = end;
    return 1;
}
