/* layer_map.h - what one layer of a chain has at a guest offset: state, and place in its file
 * SPDX-License-Identifier: MIT
 *
 * To be asked in guest order. Memory is flat: L1 and L2 tables are read through windows. */
#ifndef QCBMI_LAYER_MAP_H
#define QCBMI_LAYER_MAP_H

#include "format/q2_l1l2.h"
#include "image/chain.h"
#include "image/window.h"

struct qcbmi_layer_map {
    struct qcbmi_layer *layer;
    struct qcbmi_window l1, l2;
    bool ask_holes;               /* QEMU would ask the file system for holes in allocated clusters */
    uint64_t hole_from, hole_end; /* the answer that came last: [hole_from, hole_end) of the file is ... */
    bool is_data;
    uint64_t lost_tables; /* L2 tables past the end of the file, which read as unallocated */
    uint64_t first_lost;  /* L1 index of the first of them */
    uint64_t last_lost;   /* L2 table that was counted last */
};

/* Neither data nor zero: unallocated in this layer. */
struct qcbmi_layer_piece {
    bool data, zero, compressed, has_offset;
    uint64_t offset; /* in the layer's file, or its data file */
    uint64_t end;    /* guest offset up to which all this holds */
};

/* QCBM_E_CORRUPT: so many L1 entries share L2 tables that following them would cost more than the file is worth. */
int qcbmi_layer_map_init(struct qcbmi_layer_map *m, struct qcbmi_layer *layer, struct qcbm_error *err);
void qcbmi_layer_map_free(struct qcbmi_layer_map *m); /* fine on a zeroed struct */

/* The state at @guest, below the size of the layer; out->end is at most @limit.
 * QCBM_E_CORRUPT: an entry that QEMU cannot read either. */
int qcbmi_layer_map_at(struct qcbmi_layer_map *m, uint64_t guest, uint64_t limit, struct qcbmi_layer_piece *out,
                       struct qcbm_error *err);

#endif
