/* host_uses.h - what each cluster of the file is used for, as sets
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_HOST_USES_H
#define QCBMI_HOST_USES_H

#include "base/bitset.h"
#include "base/counts.h"
#include "base/progress.h"
#include "bitmap/handle.h"

enum qcbmi_host_set {
    QCBMI_HOST_TABLES, /* L1 and L2 tables of all states */
    QCBMI_HOST_REFCOUNTS,
    QCBMI_HOST_OTHER, /* header, snapshot table, LUKS */
    QCBMI_HOST_BITMAPS,
    QCBMI_HOST_DATA, /* of the active state */
    QCBMI_HOST_COMPRESSED,
    QCBMI_HOST_SNAPSHOTS, /* data that only snapshots have */
    QCBMI_HOST_BEGINS,    /* data in which a run begins: before it in the file lies not what is before it on the disk */
    QCBMI_HOST_SETS
};

struct qcbmi_host_uses {
    uint64_t n_clusters;
    struct qcbmi_bitset sets[QCBMI_HOST_SETS]; /* one cluster may be in several */
    struct qcbmi_counts stored;                /* refcounts */
};

/* Free it on failure too. As tolerant as a check: what leads nowhere is left out.
 * Returns 0, QCBM_E_LIMIT (too many clusters), QCBM_E_IO, QCBM_E_NOMEM, QCBM_E_ABORTED. */
int qcbmi_host_uses_read(struct qcbmi_host_uses *u, const struct qcbm_image *handle, struct qcbmi_progress *progress,
                         struct qcbm_error *err);
void qcbmi_host_uses_free(struct qcbmi_host_uses *u); /* fine on a zeroed struct */

#endif
