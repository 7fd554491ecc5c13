/* bitmap_store.h - a dirty map into clusters and a bitmap table, in a plan
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_BITMAP_STORE_H
#define QCBMI_BITMAP_STORE_H

#include "bitmap/bitmap_list.h"
#include "bitmap/dirtymap.h"
#include "write/clusters.h"

/* Clusters that storing @map can take at most, its table included. */
uint64_t qcbmi_bitmap_store_want(const struct qcbmi_dirtymap *map, uint32_t cluster_size);

/* Stage the writes of data and table (stage plan->current). Clusters of bitmap data that are all clean or all dirty
 * become table entries. @map must live as long as the plan. */
int qcbmi_bitmap_store(struct qcbmi_alloc *alloc, struct qcbmi_plan *plan, const struct qcbmi_dirtymap *map,
                       uint64_t *table_offset, uint32_t *table_entries, struct qcbm_error *err);

#endif
