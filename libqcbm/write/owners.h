/* owners.h - who uses which cluster of the file, from qcbm's own scan
 * SPDX-License-Identifier: MIT
 *
 * Refcounts may be wrong; a writer that trusts them alone overwrites somebody. Before a write every reference in the
 * image is noted here. A cluster with two owners of which one is metadata blocks writing. */
#ifndef QCBMI_OWNERS_H
#define QCBMI_OWNERS_H

#include "base/bitset.h"
#include "base/progress.h"
#include "image/l2_named.h"
#include "image/refs.h"
#include "image/tables.h"

struct qcbmi_owners {
    struct qcbmi_image *img;
    uint64_t n_clusters;      /* of the file */
    struct qcbmi_bitset meta; /* all metadata but L2 tables */
    struct qcbmi_bitset l2;   /* L2 tables, of the active state and of snapshots */
    struct qcbmi_bitset data; /* guest data; only after qcbmi_owners_scan_data() */
    bool counted;             /* the refcounts have been read already, and there are none behind the file: then */
    struct qcbmi_bitset used; /* clusters with a refcount */
};

/* Note header, L1, refcount table and blocks, snapshot table, LUKS area, the L1 and L2 tables of all states.
 * Free it on failure too. QCBM_E_UNSAFE where something has two owners or lies past the end of the file. */
int qcbmi_owners_scan_metadata(struct qcbmi_image *img, struct qcbmi_owners *o, struct qcbm_error *err);

/* Note [@off, @off + @len) as metadata called @what, entry @index. */
int qcbmi_owners_add(struct qcbmi_owners *o, uint64_t off, uint64_t len, const char *what, uint64_t index,
                     struct qcbm_error *err);

/* Note @ref as metadata, in the words of the list of references. */
int qcbmi_owners_add_ref(struct qcbmi_owners *o, const struct qcbmi_ref *ref, struct qcbm_error *err);

/* @ret as it is; but where the error lies past the end of the file, the bad bytes are the pointer at @at. */
int qcbmi_owners_blame(const struct qcbmi_owners *o, int ret, uint64_t at, struct qcbm_error *err);

/* Bytes of L2 tables that qcbmi_owners_scan_data() will read; known when all metadata is in. */
uint64_t qcbmi_owners_data_cost(const struct qcbmi_owners *o);
/* Read all L2 tables and note the guest data. To be called when all metadata is in. @progress in bytes of these tables,
 * or NULL. */
int qcbmi_owners_scan_data(struct qcbmi_owners *o, struct qcbmi_progress *progress, struct qcbm_error *err);

/* The same without reading, if @named, which was read in the same state of the image, tells it: then it is given up,
 * and what it knows of the refcounts is known here. False,
 * and nothing has changed, where it does not, or where one of its clusters is metadata, too: then the scan must
 * tell. */
bool qcbmi_owners_know_data(struct qcbmi_owners *o, struct qcbmi_l2_named *named);

/* The same without any reading: @busy, which is given up, is known from the last plan to have all that has a refcount,
 * and nobody else has written since. In place of the scans. */
void qcbmi_owners_take_busy(struct qcbmi_owners *o, struct qcbmi_image *img, struct qcbmi_bitset *busy);

void qcbmi_owners_free(struct qcbmi_owners *o); /* fine on a zeroed struct */

#endif
