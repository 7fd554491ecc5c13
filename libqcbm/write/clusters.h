/* clusters.h - find free clusters, raise and lower refcounts, grow refcount blocks and table; all in a plan
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_CLUSTERS_H
#define QCBMI_CLUSTERS_H

#include "write/owners.h"
#include "write/refcounts.h"

struct qcbmi_run {
    uint64_t first, n; /* clusters */
};

struct qcbmi_alloc {
    struct qcbmi_image *img;
    struct qcbmi_refcounts refs;
    struct qcbmi_bitset busy; /* clusters with a refcount, or taken by this plan */
    uint64_t lowest;          /* all clusters before this are busy */
    struct qcbmi_run *taken;
    size_t n_taken, capacity;
    struct qcbmi_run *freed; /* busy, and no longer when the plan is done */
    size_t n_freed, freed_capacity;
    struct qcbmi_run new_table; /* n 0 = the refcount table does not grow */
};

/* Learn what is free: refcount 0 and not in @owners (complete with guest data). A cluster that is used and has refcount
 * 0 is damage, QCBM_E_UNSAFE. At most @want clusters will be asked for. What @owners know of refcounts is given up.
 * Free it on failure too. */
int qcbmi_alloc_begin(struct qcbmi_alloc *a, struct qcbmi_owners *owners, uint64_t want, struct qcbm_error *err);
void qcbmi_alloc_free(struct qcbmi_alloc *a); /* fine on a zeroed struct */

/* Take @n clusters in a row, the lowest that are free; *@offset is where they start in the file. */
int qcbmi_alloc_take(struct qcbmi_alloc *a, uint64_t n, uint64_t *offset, struct qcbm_error *err);
/* Take the lowest free run, at most @n clusters; *@got says how many. */
int qcbmi_alloc_take_some(struct qcbmi_alloc *a, uint64_t n, uint64_t *offset, uint64_t *got, struct qcbm_error *err);

/* Nothing more will be taken: raise the refcounts. Refcounts, new blocks and the content of a new table go to
 * @prepare_stage; what makes new blocks visible (table entries, or the switch to a new table) to the later
 * @table_stage, since a new block may be counted in an old one. */
int qcbmi_alloc_emit(struct qcbmi_alloc *a, struct qcbmi_plan *plan, size_t prepare_stage, size_t table_stage,
                     struct qcbm_error *err);

/* Lower the refcount of each cluster of [@off, @off + @len), after qcbmi_alloc_emit(). Clusters without a refcount are
 * left alone. */
int qcbmi_alloc_release(struct qcbmi_alloc *a, struct qcbmi_plan *plan, uint64_t off, uint64_t len,
                        struct qcbm_error *err);
/* Write the lowered refcounts into the current stage; an old refcount table that was replaced goes with them. */
int qcbmi_alloc_emit_released(struct qcbmi_alloc *a, struct qcbmi_plan *plan, struct qcbm_error *err);

/* When the plan is done: the clusters that have a refcount then, into *@busy, for owners that are not scanned once more
 * (qcbmi_owners_take_busy()), as long as nobody else writes to the image. */
int qcbmi_alloc_give_busy(struct qcbmi_alloc *a, struct qcbmi_bitset *busy, struct qcbm_error *err);

#endif
