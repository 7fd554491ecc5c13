/* refcount_root.h - the refcount table of a file without a header, which tells the cluster size as well
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_REFCOUNT_ROOT_H
#define QCBMI_REFCOUNT_ROOT_H

#include "io/holes.h"

struct qcbmi_refcount_root {
    unsigned cluster_bits, order; /* of clusters; of refcounts */
    uint64_t offset;              /* of the table */
    uint32_t clusters;            /* that it has */
};

/* @cluster_bits 0: not known. *@found: is there one? Returns 0, QCBM_E_IO, QCBM_E_NOMEM. */
int qcbmi_find_refcount_root(struct qcbmi_holes *holes, unsigned cluster_bits, struct qcbmi_refcount_root *out,
                             bool *found, struct qcbm_error *err);

#endif
