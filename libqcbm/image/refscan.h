/* refscan.h - what the refcounts alone tell: how many clusters are used, and where the last one ends
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_REFSCAN_H
#define QCBMI_REFSCAN_H

#include "image/image.h"

struct qcbmi_refscan {
    uint64_t used_clusters; /* with a refcount that is not zero */
    uint64_t end_cluster;   /* behind the last of them */
    uint64_t bad_entries;   /* of the refcount table: they name no block */
};

/* Count clusters below @limit. With @strict the count ends at the first bad entry of the refcount table. Needs neither
 * a consistent image nor memory for more than the table (at most 8 MiB); what lies past the end of the file counts as
 * zeros. */
int qcbmi_refscan(struct qcbmi_image *img, uint64_t limit, bool strict, struct qcbmi_refscan *out,
                  struct qcbm_error *err);

/* QEMU's guess whether metadata was preallocated: clearly more clusters are used than the file has blocks. It then
 * asks the file system for holes in allocated clusters, which qemu-img map shows. */
int qcbmi_looks_preallocated(struct qcbmi_image *img, bool *out, struct qcbm_error *err);

#endif
