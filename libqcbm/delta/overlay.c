/* overlay.c - several deltas that follow one another, as one list of records: later ones win, byte by byte
 * SPDX-License-Identifier: MIT
 *
 * Each delta is at one record, the first one that ends behind the place that is looked at when it was last asked. The
 * one that counts at a place is the latest whose record covers it, and it counts until its record ends or one of a
 * later delta begins. Records that others hide are passed over when they are met. */
#include "delta/overlay.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "base/error.h"

#define NONE UINT64_MAX

struct qcbmi_overlay_source {
    struct qcbmi_delta *d;
    uint64_t grown_from;           /* from here on it has zeros where it has no records */
    struct qcbmi_delta_record now; /* .offset NONE: behind the last one */
    bool implied;                  /* it is such zeros */
    bool has_ahead;                /* the record behind them has been taken */
    struct qcbmi_delta_record ahead;
};

/* ---- one delta ----------------------------------------------------------------------------------------- */

static int fetch(struct qcbmi_overlay_source *s, struct qcbm_error *err)
{
    int ret = s->has_ahead ? 1 : qcbmi_delta_next(s->d, &s->ahead, err);

    if (ret >= 0)
        s->has_ahead = ret == 1;
    return ret < 0 ? ret : 0;
}

/* The record or the zeros behind the one that it is at. */
static int advance(struct qcbmi_overlay_source *s, struct qcbm_error *err)
{
    uint64_t at = u64_max(s->now.offset + s->now.length, s->grown_from), until;
    int ret = fetch(s, err);

    if (ret < 0)
        return ret;
    until = s->has_ahead ? s->ahead.offset : s->d->meta.size_after;
    s->implied = at < until;
    if (s->implied) {
        s->now = (struct qcbmi_delta_record){ at, until - at, QCBMI_DELTA_ZERO };
    } else if (s->has_ahead) {
        s->now = s->ahead;
        s->has_ahead = false;
    } else {
        s->now = (struct qcbmi_delta_record){ .offset = NONE };
    }
    return 0;
}

static int rewind_source(struct qcbmi_overlay_source *s, struct qcbm_error *err)
{
    int ret = qcbmi_delta_rewind(s->d, err);

    s->now = (struct qcbmi_delta_record){ 0 };
    s->has_ahead = false;
    return ret < 0 ? ret : advance(s, err);
}

static uint64_t end_of(const struct qcbmi_overlay_source *s)
{
    return s->now.offset + s->now.length;
}

/* ---- all of them --------------------------------------------------------------------------------------- */

int qcbmi_overlay_init(struct qcbmi_overlay *o, struct qcbmi_delta *const *deltas, size_t n, struct qcbm_error *err)
{
    *o = (struct qcbmi_overlay){ .n = n, .unit = 1 };
    o->sources = qcbmi_alloc_array(n, sizeof(*o->sources), err);
    if (!o->sources || qcbmi_min_tree_init(&o->starts, n, err) < 0)
        return QCBM_E_NOMEM;
    for (size_t i = 0; i < n; i++) {
        struct qcbmi_overlay_source *s = &o->sources[n - 1 - i];

        s->d = deltas[i];
        s->grown_from = i ? deltas[i - 1]->meta.size_after : NONE;
    }
    o->size_before = deltas[0]->meta.size_before;
    o->size_after = deltas[n - 1]->meta.size_after;
    return 0;
}

void qcbmi_overlay_free(struct qcbmi_overlay *o)
{
    qcbmi_min_tree_free(&o->starts);
    free(o->sources);
    *o = (struct qcbmi_overlay){ 0 };
}

int qcbmi_overlay_rewind(struct qcbmi_overlay *o, struct qcbm_error *err)
{
    int ret = 0;

    for (size_t i = 0; ret == 0 && i < o->n; i++) {
        ret = rewind_source(&o->sources[i], err);
        qcbmi_min_tree_set(&o->starts, i, o->sources[i].now.offset);
    }
    o->at = 0;
    return ret;
}

/* The source that counts at o->at; o->n if none has a record there. */
static int find(struct qcbmi_overlay *o, size_t *found, struct qcbm_error *err)
{
    for (;;) {
        size_t i = qcbmi_min_tree_first(&o->starts, o->at);
        int ret;

        *found = i;
        if (i >= o->n)
            *found = o->n;
        if (i >= o->n || end_of(&o->sources[i]) > o->at)
            return 0;
        ret = advance(&o->sources[i], err); /* hidden, or given out */
        if (ret < 0)
            return ret;
        qcbmi_min_tree_set(&o->starts, i, o->sources[i].now.offset);
    }
}

/* How much of zeros that are only implied is a record: none behind the end of the oldest state. */
static uint64_t cut_implied(const struct qcbmi_overlay *o, uint64_t end)
{
    return o->size_before == UINT64_MAX ? end : u64_min(end, align_up(o->size_before, o->unit));
}

/* What begins at o->at, of source @i, which moves on. False if it needs no record. */
static bool take(struct qcbmi_overlay *o, size_t i, struct qcbmi_overlay_piece *out)
{
    const struct qcbmi_overlay_source *s = &o->sources[i];
    uint64_t start = o->at, end = u64_min(end_of(s), qcbmi_min_tree_before(&o->starts, i));

    end = u64_min(end, o->size_after);
    o->at = end;
    if (s->implied)
        end = cut_implied(o, end);
    if (end <= start)
        return false;
    *out = (struct qcbmi_overlay_piece){ { start, end - start, s->now.type }, s->d };
    return true;
}

int qcbmi_overlay_next(struct qcbmi_overlay *o, struct qcbmi_overlay_piece *out, struct qcbm_error *err)
{
    size_t i;

    while (o->at < o->size_after) {
        int ret = find(o, &i, err);

        if (ret < 0)
            return ret;
        if (i < o->n && take(o, i, out))
            return 1;
        if (i == o->n) /* the next one that begins, of whichever delta */
            o->at = u64_min(o->starts.node[1], o->size_after);
    }
    return 0;
}
