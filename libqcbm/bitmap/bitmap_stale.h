/* bitmap_stale.h - stale bitmaps: which of their clusters are provably theirs, and are freed when they are given up
 * SPDX-License-Identifier: MIT
 *
 * The program that wrote to the image without knowing bitmaps may have freed their clusters and used them again. A
 * cluster is theirs if its refcount is 1 and nothing else in the image, metadata or guest data, refers to it; and if
 * what names it is theirs, too: the directory first, then each table. What is not stays as it is. */
#ifndef QCBMI_BITMAP_STALE_H
#define QCBMI_BITMAP_STALE_H

#include "bitmap/bitmap_list.h"
#include "write/clusters.h"

struct qcbmi_stale {
    struct qcbmi_bitset theirs; /* clusters */
};

/* Find out before anything is allocated in the plan: afterwards refcounts and owners are those to come. @owners has all
 * metadata and guest data. @was NULL: the image has no stale bitmaps, and nothing is theirs. What stays is counted in
 * the plan. Free it on failure too. */
int qcbmi_stale_find(struct qcbmi_stale *s, const struct qcbmi_bitmap_list *was, struct qcbmi_alloc *alloc,
                     const struct qcbmi_owners *owners, struct qcbmi_plan *plan, struct qcbm_error *err);
/* Lower their refcounts, as qcbmi_alloc_release() does. */
int qcbmi_stale_release(const struct qcbmi_stale *s, struct qcbmi_alloc *alloc, struct qcbmi_plan *plan,
                        struct qcbm_error *err);
void qcbmi_stale_free(struct qcbmi_stale *s); /* fine on a zeroed struct */

#endif
