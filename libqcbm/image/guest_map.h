/* guest_map.h - what is at a guest offset: which layer of a chain says so, and where the bytes lie
 * SPDX-License-Identifier: MIT
 *
 * To be asked in guest order: each L2 entry of each layer is then parsed once, and the answer for n layers costs
 * log(n). Asked in any order it is as right, and slower. What a layer hides is not looked at, but for the 63 entries
 * that come next. Memory is flat: tables are
 * read through windows, holes of the files are skipped. Where that waits for a disk, the tables of the
 * next L1 entries are asked for ahead. */
#ifndef QCBMI_GUEST_MAP_H
#define QCBMI_GUEST_MAP_H

#include "base/min_tree.h"
#include "image/chain.h"
#include "image/guest_pieces.h"
#include "image/window.h"

enum qcbmi_guest_flag {
    QCBMI_GUEST_ALL = 1u << 0, /* all of the disk will be asked for: refuse tables that are shared out of all bounds */
    QCBMI_GUEST_HOLES = 1u << 1, /* find holes of the file in allocated clusters, where QEMU would look for them */
    QCBMI_GUEST_STRICT = 1u << 2 /* a table past the end of the file is an error; QEMU takes it for zeros */
};

/* What one layer has, as far as it was looked at last. */
struct qcbmi_guest_layer {
    struct qcbmi_layer *layer;
    uint64_t end; /* of what can be seen of it: no layer above is shorter */
    struct qcbmi_holes holes;
    struct qcbmi_window l1, l2;
    bool ask_holes, strict;
    uint64_t table, table_from, table_end; /* the L2 table that was found last, and the guest bytes under it */
    uint64_t asked; /* L1 entries before it: their tables were asked for ahead, those that come next */
    struct q2_l2_scan scan;
    struct qcbmi_guest_group group;
    struct qcbmi_guest_ahead ahead; /* the first of them is what was asked for last */
    uint64_t hole_from, hole_end;   /* the file there is all data, or all hole: */
    bool is_data;
    uint64_t lost_entries; /* of the L1 table, past the end of the file: they read as "no table" */
    uint64_t lost_tables;  /* L2 tables past the end of the file, which read as unallocated */
    uint64_t first_lost;   /* L1 index of the first of them */
    uint64_t last_lost;    /* L2 table that was counted last */
    uint64_t entries;      /* how many were parsed, or compared with their neighbour */
};

struct qcbmi_guest_map {
    const struct qcbmi_chain *chain;
    struct qcbmi_guest_layer *layers; /* as many as the chain has */
    size_t visible;                   /* of them, at @at: a layer that has ended hides all below it */
    uint64_t at;                      /* asked last */
    struct qcbmi_guest_piece piece;   /* for qcbmi_guest_map_pieces(), where there is only one */
    struct qcbmi_min_tree through;    /* up to where each layer is known to read through, from @at on */
    uint64_t doubtful[(QCBMI_CHAIN_MAX_DEPTH + 63) / 64]; /* bits: layers that do, by an entry that breaks a rule */
};

/* @chain must outlive the map. Free it on failure too.
 * QCBM_E_CORRUPT: with QCBMI_GUEST_ALL, so many L1 entries share L2 tables that following them costs more than the file
 * is worth; with QCBMI_GUEST_STRICT, an L1 table that passes the end of the file. */
int qcbmi_guest_map_init(struct qcbmi_guest_map *m, const struct qcbmi_chain *chain, unsigned flags,
                         struct qcbm_error *err);
void qcbmi_guest_map_free(struct qcbmi_guest_map *m); /* fine on a zeroed struct */

/* What is at @guest, below the size of the top layer rounded down to 512: a piece that begins there.
 * QCBM_E_CORRUPT: an L1 entry that leads nowhere; with QCBMI_GUEST_STRICT, past the end of the file. */
int qcbmi_guest_map_at(struct qcbmi_guest_map *m, uint64_t guest, struct qcbmi_guest_piece *out,
                       struct qcbm_error *err);

/* As many pieces as are at hand, at least one, in guest order and without a gap, the first beginning at @guest. They
 * stay until the map is asked the next time. For who goes over all of a disk: where no layer lies below, each costs
 * less. */
int qcbmi_guest_map_pieces(struct qcbmi_guest_map *m, uint64_t guest, const struct qcbmi_guest_piece **pieces,
                           size_t *n, struct qcbm_error *err);

/* Why the piece of kind Q2_INVALID that was given last cannot be read: returns QCBM_E_CORRUPT. */
int qcbmi_guest_map_fail(const struct qcbmi_guest_map *m, const struct qcbmi_guest_piece *piece,
                         struct qcbm_error *err);

/* Does the guest read zeros there, beyond doubt? */
bool qcbmi_guest_piece_is_zero(const struct qcbmi_guest_piece *piece);

#endif
