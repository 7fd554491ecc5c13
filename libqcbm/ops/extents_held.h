/* extents_held.h - what the layers above a base hold, piece by piece
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_EXTENTS_HELD_H
#define QCBMI_EXTENTS_HELD_H

#include "image/guest_map.h"

/* Guest bytes that a layer hides, by being shorter than one below it. */
struct qcbmi_hidden {
    uint64_t start, end;
};

struct qcbmi_held {
    struct qcbmi_chain above;                          /* the layers that are asked: a part of the caller's chain */
    struct qcbmi_guest_map map;                        /* of them alone */
    struct qcbmi_hidden hidden[QCBMI_CHAIN_MAX_DEPTH]; /* in order of their starts, and apart */
    size_t n_hidden;
};

struct qcbmi_held_piece {
    uint64_t end; /* up to where it holds */
    bool held;
    bool zero; /* one of the layers itself says that it reads as zeros */
};

/* The first @n_above layers of @chain, which has the base behind them if there is one, and outlives this. Free it on
 * failure too. Returns 0, QCBM_E_CORRUPT, QCBM_E_IO, QCBM_E_NOMEM. */
int qcbmi_held_begin(struct qcbmi_held *h, const struct qcbmi_chain *chain, size_t n_above, struct qcbm_error *err);
void qcbmi_held_free(struct qcbmi_held *h); /* fine on a zeroed struct */

/* What they hold at @guest, below the size of the top layer rounded down to 512; cheapest in guest order. An entry that
 * breaks a rule that QEMU does not look at counts as held; one that cannot be read is QCBM_E_CORRUPT. */
int qcbmi_held_at(struct qcbmi_held *h, uint64_t guest, struct qcbmi_held_piece *out, struct qcbm_error *err);

#endif
