/* zero_map.h - where the guest reads zeros, from the tables of the chain, in guest order
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_ZERO_MAP_H
#define QCBMI_ZERO_MAP_H

#include "format/q2_l1l2.h"
#include "image/chain.h"

struct qcbmi_zero_layer {
    uint8_t *l2;        /* the table read last */
    uint64_t l2_offset; /* where it lies; 0 = none yet */
    bool l1_checked;    /* no two entries of the L1 share a table */
};

struct qcbmi_zero_map {
    const struct qcbmi_chain *chain;
    struct qcbmi_zero_layer *layers; /* one for each of the chain */
};

int qcbmi_zero_map_init(struct qcbmi_zero_map *z, const struct qcbmi_chain *chain, struct qcbm_error *err);
void qcbmi_zero_map_free(struct qcbmi_zero_map *z); /* fine on a zeroed struct */

/* Does the guest read zeros at @guest? *@end (past @guest, at most @limit) is up to where that is known to be the same.
 * "Zero" is what the tables (and holes of a raw layer) prove; data that happens to be zero is not. */
int qcbmi_zero_map_at(struct qcbmi_zero_map *z, uint64_t guest, uint64_t limit, bool *zero, uint64_t *end,
                      struct qcbm_error *err);

#endif
