/* overlay.h - several deltas that follow one another, as one list of records: later ones win, byte by byte
 * SPDX-License-Identifier: MIT
 *
 * A delta whose disk is larger than the one before has zeros in what it adds, whether or not it has records there.
 * Where the disk was shortened first, these zeros cover what an older state has, so they come out as records; behind
 * the end of the oldest state they need none, since growing has the same effect.
 *
 * Time is that of reading the records of all deltas once, times the logarithm of how many deltas there are; memory is a
 * few words for each delta. */
#ifndef QCBMI_OVERLAY_H
#define QCBMI_OVERLAY_H

#include "base/min_tree.h"
#include "delta/delta.h"

struct qcbmi_overlay_source;

struct qcbmi_overlay {
    struct qcbmi_overlay_source *sources; /* the latest delta first */
    size_t n;
    struct qcbmi_min_tree starts; /* of the records that the sources have come to */
    uint64_t at;                  /* of the disk */
    uint64_t size_before, size_after;
    uint64_t unit; /* zeros that need no record are given up to a multiple of this */
};

/* A piece of the result, and the delta from which data is to be read. */
struct qcbmi_overlay_piece {
    struct qcbmi_delta_record r;
    struct qcbmi_delta *from;
};

/* @deltas, @n of them, the oldest first; borrowed. The size in front of the first may be unknown. Returns 0 or
 * QCBM_E_NOMEM. */
int qcbmi_overlay_init(struct qcbmi_overlay *o, struct qcbmi_delta *const *deltas, size_t n, struct qcbm_error *err);
void qcbmi_overlay_free(struct qcbmi_overlay *o); /* fine on a zeroed struct */

/* From the beginning. Returns 0 or what the deltas' functions return. */
int qcbmi_overlay_rewind(struct qcbmi_overlay *o, struct qcbm_error *err);
/* The next piece, ascending, without overlap, within the size of the last delta. Its bytes can be read from ->from
 * until the next call. Returns 1, 0 behind the last one, or fails. */
int qcbmi_overlay_next(struct qcbmi_overlay *o, struct qcbmi_overlay_piece *out, struct qcbm_error *err);

#endif
