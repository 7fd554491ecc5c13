/* whole_clusters.h - pieces of merged deltas in whole clusters, for a form that has no others
 * SPDX-License-Identifier: MIT
 *
 * The records of each delta are in whole clusters, but for the end of its disk. Where a later state is larger, what is
 * behind that end is zeros: such a cluster is put together here. */
#ifndef QCBMI_WHOLE_CLUSTERS_H
#define QCBMI_WHOLE_CLUSTERS_H

#include "delta/overlay.h"

struct qcbmi_whole_clusters {
    struct qcbmi_overlay *overlay; /* borrowed */
    uint64_t unit;                 /* bytes of a cluster; 1: pieces are given out as they are */
    struct qcbmi_overlay_piece p;  /* what is left of the piece that the overlay gave; .r.length 0: nothing */
    uint8_t *cluster;              /* one that was put together */
};

/* @unit is a power of two. Returns 0 or QCBM_E_NOMEM. */
int qcbmi_whole_clusters_init(struct qcbmi_whole_clusters *c, struct qcbmi_overlay *overlay, uint64_t unit,
                              struct qcbm_error *err);
void qcbmi_whole_clusters_free(struct qcbmi_whole_clusters *c); /* fine on a zeroed struct */

int qcbmi_whole_clusters_rewind(struct qcbmi_whole_clusters *c, struct qcbm_error *err);
/* As qcbmi_overlay_next(); with @bytes set, data is there and not to be read. QCBM_E_LIMIT: a cluster of which a part
 * stays as it was before all deltas, which cannot be said: the disk was shortened inside it, and made longer again. */
int qcbmi_whole_clusters_next(struct qcbmi_whole_clusters *c, struct qcbmi_overlay_piece *out, const uint8_t **bytes,
                              struct qcbm_error *err);

#endif
