/* refcounts.h - look up refcounts, stage changes of them, emit the sectors that changed
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_REFCOUNTS_H
#define QCBMI_REFCOUNTS_H

#include "format/q2_refcount.h"
#include "image/window.h"
#include "write/plan.h"

/* The refcount table in native order, *@n entries; 0 = no block. Entries are checked: no reserved bits, aligned, the
 * block in the file, else QCBM_E_UNSAFE. Free it with free(). */
int qcbmi_reftable_read(struct qcbmi_image *img, uint64_t **table, uint64_t *n, struct qcbm_error *err);

/* At most so many sectors of refcount blocks can change in one plan: a hostile image has each cluster of a bitmap
 * counted by another block, and memory must not follow it. An honest bitmap touches a few. */
#define QCBMI_MAX_REFSECTORS 65536u

struct qcbmi_refblock { /* allocated by this plan */
    uint64_t index;     /* in the refcount table */
    uint64_t offset;    /* in the file */
    bool written;       /* by the plan so far */
};

struct qcbmi_refsector;

struct qcbmi_refcounts {
    struct qcbmi_image *img;
    uint64_t *table; /* native; as on disk */
    uint64_t n_table;
    struct qcbmi_refblock *fresh; /* sorted by index */
    size_t n_fresh, fresh_capacity;
    struct qcbmi_refsector **sectors; /* that changed, with their new bytes */
    size_t n_sectors, sector_capacity;
    void *by_place;             /* the same in a tree of tsearch(3) */
    struct qcbmi_window window; /* what is only looked at */
};

int qcbmi_refcounts_init(struct qcbmi_refcounts *r, struct qcbmi_image *img, struct qcbm_error *err);
void qcbmi_refcounts_free(struct qcbmi_refcounts *r); /* fine on a zeroed struct */

/* Does block @index exist, on disk or fresh? */
bool qcbmi_refcounts_has_block(const struct qcbmi_refcounts *r, uint64_t index);
/* Add an empty block that will lie at @offset. */
int qcbmi_refcounts_add_block(struct qcbmi_refcounts *r, uint64_t index, uint64_t offset, struct qcbm_error *err);

/* Read or set the refcount of a cluster; its block must exist. QCBM_E_LIMIT: too many sectors change. */
int qcbmi_refcounts_get(struct qcbmi_refcounts *r, uint64_t cluster, uint64_t *value, struct qcbm_error *err);
int qcbmi_refcounts_set(struct qcbmi_refcounts *r, uint64_t cluster, uint64_t value, struct qcbm_error *err);

/* Write fresh blocks whole, or the changed sectors of blocks that are on disk, into the current stage; what was written
 * is clean again, and a fresh block that was written counts as on disk from then on. */
int qcbmi_refcounts_emit_fresh(struct qcbmi_refcounts *r, struct qcbmi_plan *plan, struct qcbm_error *err);
int qcbmi_refcounts_emit_changes(struct qcbmi_refcounts *r, struct qcbmi_plan *plan, struct qcbm_error *err);

#endif
