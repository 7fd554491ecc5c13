/* guest_map.h - what is at a guest offset: which layer of a chain says so, and where the bytes lie
 * SPDX-License-Identifier: MIT
 *
 * To be asked in guest order: each L2 entry of each layer is then parsed once, and the answer for n layers costs
 * log(n). Asked in any order it is as right, and slower. What a layer hides is not looked at. Memory is flat: tables are
 * read through windows, holes of the files are skipped. (The reader of l2_read.h, a batch of tables ahead, asks for the
 * holes of the file again in each batch, which costs more than all the rest of a map of contiguous data.) */
#ifndef QCBMI_GUEST_MAP_H
#define QCBMI_GUEST_MAP_H

#include "base/min_tree.h"
#include "format/q2_l2_scan.h"
#include "image/chain.h"
#include "image/window.h"

enum qcbmi_guest_flag {
    QCBMI_GUEST_ALL = 1u << 0, /* all of the disk will be asked for: refuse tables that are shared out of all bounds */
    QCBMI_GUEST_HOLES = 1u << 1, /* find holes of the file in allocated clusters, where QEMU would look for them */
    QCBMI_GUEST_STRICT = 1u << 2 /* a table past the end of the file is an error; QEMU takes it for zeros */
};

struct qcbmi_guest_piece {
    uint64_t start, end; /* guest bytes for which all this holds */
    size_t layer;        /* whose entry it is; 0 is the top */
    /* UNALLOCATED...: no layer has it, it reads as zeros. INVALID: it cannot be read, see qcbmi_guest_map_fail(). Data of
     * a raw layer is NORMAL, a hole of it ZERO_ALLOC. A piece of COMPRESSED lies in one cluster. */
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
};

/* What one layer has, as far as it was looked at last. */
struct qcbmi_guest_layer {
    struct qcbmi_layer *layer;
    uint64_t end; /* of what can be seen of it: no layer above is shorter */
    struct qcbmi_holes holes;
    struct qcbmi_window l1, l2;
    bool ask_holes, strict;
    uint64_t table, table_from, table_end; /* the L2 table that was found last, and the guest bytes under it */
    struct q2_l2_scan scan;
    struct qcbmi_guest_group group;
    struct q2_l2_entry entry; /* the one that was parsed last: */
    uint64_t entry_cluster;   /* of this guest cluster; UINT64_MAX: none */
    uint64_t entry_at;        /* at this place of the file */
    struct qcbmi_guest_piece run;
    struct qcbmi_guest_piece next; /* behind it, found while looking how far it goes; end 0: nothing was found */
    uint64_t lost_entries;         /* of the L1 table, past the end of the file: they read as "no table" */
    uint64_t lost_tables;          /* L2 tables past the end of the file, which read as unallocated */
    uint64_t first_lost;           /* L1 index of the first of them */
    uint64_t last_lost;            /* L2 table that was counted last */
    uint64_t entries;              /* how many were parsed, or compared with their neighbour */
};

struct qcbmi_guest_map {
    const struct qcbmi_chain *chain;
    struct qcbmi_guest_layer *layers; /* as many as the chain has */
    size_t visible;                   /* of them, at @at: a layer that has ended hides all below it */
    uint64_t at;                      /* asked last */
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

/* Why the piece of kind Q2_INVALID that was given last cannot be read: returns QCBM_E_CORRUPT. */
int qcbmi_guest_map_fail(const struct qcbmi_guest_map *m, const struct qcbmi_guest_piece *piece,
                         struct qcbm_error *err);

/* Does the guest read zeros there, beyond doubt? */
bool qcbmi_guest_piece_is_zero(const struct qcbmi_guest_piece *piece);

#endif
