/* guest_pieces.h - what neighbouring L2 entries say: pieces of the disk, a few dozen at a time
 * SPDX-License-Identifier: MIT
 *
 * Of one layer. One after the other they would cost a wrong guess of the processor each, as nothing foretells where a
 * run of clusters ends; so where runs begin is found for all entries of a group first. */
#ifndef QCBMI_GUEST_PIECES_H
#define QCBMI_GUEST_PIECES_H

#include <stddef.h>

#include "format/q2_l2_follow.h"
#include "qcbm.h"

struct qcbmi_guest_piece {
    uint64_t start, end; /* guest bytes for which all this holds */
    size_t layer;        /* whose entry it is; 0 is the top */
    /* UNALLOCATED...: no layer has it, it reads as zeros. INVALID: it cannot be read, see qcbmi_guest_map_fail(). Data
     * of a raw layer is NORMAL, a hole of it ZERO_ALLOC. A piece of COMPRESSED lies in one cluster. */
    enum q2_kind kind;
    bool hole;     /* NORMAL, and all of it a hole of the file */
    bool doubtful; /* this entry, or one that was read through, breaks a rule that QEMU does not look at */
    uint64_t
        host; /* of @start in the file of the layer, or its data file; of the compressed bytes; or QCBM_NO_OFFSET */
    uint64_t host_len; /* of the compressed bytes at most */
};

/* Neighbours in an L2 table that are looked at together. */
struct qcbmi_guest_group {
    uint64_t at;        /* of the first in the file; UINT64_MAX: none */
    const uint8_t *raw; /* Q2_L2_SCAN_MAX entries */
    struct q2_l2_masks masks;
    q2_l2_follow_fn *follow;
};

/* Pieces that follow one another without a gap; [at, n) of them are not behind what was asked for last. */
struct qcbmi_guest_ahead {
    size_t at, n;
    struct q2_l2_entry entry; /* the one that was parsed last; that of the last piece if this is INVALID */
    struct qcbmi_guest_piece pieces[128];
};

/* Entries [@first, @end) of @group, the first entry of which is of guest offset @guest: from piece 1 on, so that there
 * is room for one before them. It ends early where there is no more room, and behind an entry that cannot be read.
 * Returns the entry behind the last one. */
unsigned qcbmi_guest_pieces_of(struct qcbmi_guest_ahead *a, const struct qcbmi_guest_group *group,
                               const struct q2_geometry *g, uint64_t guest, unsigned first, unsigned end);

/* What keeps QEMU from reading an entry, of its defects. */
unsigned qcbmi_unreadable_for(const struct q2_l2_entry *e);

/* Is @next, right behind @run, more of the same? Compressed clusters and those that cannot be read are looked at one by
 * one. */
static inline bool qcbmi_guest_piece_continues(const struct qcbmi_guest_piece *run,
                                               const struct qcbmi_guest_piece *next)
{
    return run->kind == next->kind && run->kind != Q2_COMPRESSED && run->kind != Q2_INVALID &&
           run->doubtful == next->doubtful &&
           (run->host == QCBM_NO_OFFSET ? next->host == QCBM_NO_OFFSET
                                        : run->host + (next->start - run->start) == next->host);
}

/* Where @guest lies, which is in @piece. */
static inline uint64_t qcbmi_guest_piece_host(const struct qcbmi_guest_piece *piece, uint64_t guest)
{
    bool moves = piece->host != QCBM_NO_OFFSET && piece->kind != Q2_COMPRESSED;

    return moves ? piece->host + (guest - piece->start) : piece->host;
}

#endif
