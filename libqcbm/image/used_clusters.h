/* used_clusters.h - which clusters of the file have a refcount, from one reading of all refcount blocks
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_USED_CLUSTERS_H
#define QCBMI_USED_CLUSTERS_H

#include "base/bitset.h"
#include "image/image.h"

struct qcbmi_used_job {
    struct qcbmi_image *img;
    const uint64_t *table; /* the refcount table in native order: 0, or where a block lies, whole in the file */
    uint64_t n_table;
    const char *what;         /* is read, for errors */
    struct qcbmi_bitset *set; /* gets a bit for each cluster whose refcount is not 0 */
    bool beyond;              /* out: there may be refcounts behind the end of the set, too */
};

/* Blocks for what lies behind the end of the set are not read. QCBM_E_UNSAFE: two entries name the same block. */
int qcbmi_used_read(struct qcbmi_used_job *job, struct qcbm_error *err);

#endif
