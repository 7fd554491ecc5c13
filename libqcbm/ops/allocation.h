/* allocation.h - what one layer has allocated, marked in a dirty map
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_ALLOCATION_H
#define QCBMI_ALLOCATION_H

#include "bitmap/dirtymap.h"
#include "image/l2_named.h"
#include "image/l2_read.h"
#include "image/tables.h"

struct qcbmi_allocation {
    uint64_t allocated_bytes;     /* guest bytes, clipped at the layer's size */
    struct qcbmi_damage damage;   /* entries that count as allocated because they make no sense */
    struct qcbmi_l2_named *named; /* from the caller, begun: clusters that the tables name are noted, too. Or NULL */
};

/* Mark in @map every guest range that @img itself has allocated (semantics: data, compressed, both kinds of zeros;
 * single subclusters with extended L2), clipped at the sizes of both. Reads L1 and L2 tables of the active state
 * only. */
int qcbmi_allocation_mark(struct qcbmi_image *img, struct qcbmi_dirtymap *map, struct qcbmi_allocation *out,
                          struct qcbmi_progress *progress, struct qcbm_error *err);

/* Metadata bytes that marking will read, for progress. */
int qcbmi_allocation_cost(struct qcbmi_image *img, uint64_t *bytes, struct qcbm_error *err);

#endif
