/* guest_plan.h - guest bytes written into an image, as a plan: one batch of what changes
 * SPDX-License-Identifier: MIT
 *
 * States that a cut of power leaves, of each cluster for itself: the old bytes, or the new ones, never a mixture. Bytes
 * go to new clusters, which nobody refers to until all of them, their refcounts and new L2 tables are durable
 * ("prepare", "refcounts"). Then entries are switched, each of which lies in one sector ("switch"), and what only the
 * old entries referred to is given up when that is durable ("reclaim"); a cut before leaks it. An L2 table that a
 * snapshot has as well is copied. So the image is sound at each point; which of its clusters are new is known when the
 * batch is over, and not before. */
#ifndef QCBMI_GUEST_PLAN_H
#define QCBMI_GUEST_PLAN_H

#include "image/data.h"
#include "write/clusters.h"
#include "write/guest_entry.h"

/* Guest bytes [off, end): zeros, or bytes that are to be asked for. */
struct qcbmi_guest_extent {
    uint64_t off, end;
    bool zero;
};

/* What changes: extents ascending, without overlap. */
struct qcbmi_guest_stream {
    int (*next)(void *opaque, struct qcbmi_guest_extent *out,
                struct qcbm_error *err); /* 1, 0 behind the last, or a code */
    /* Bytes of an extent that is not zero; asked for in ascending order. */
    int (*read)(void *opaque, uint64_t off, void *buf, uint64_t len, struct qcbm_error *err);
    void *opaque;
};

struct qcbmi_guest_table; /* an L2 table, as it will be */
struct qcbmi_guest_cluster {
    uint64_t guest;
    size_t table;
    uint32_t index; /* in the table */
};

/* Filled by the caller up to the line, zeros behind it. */
struct qcbmi_guest_batch {
    struct qcbmi_image *img;
    const struct qcbmi_guest_extent *extents; /* not empty */
    size_t n;
    uint64_t from;                          /* begin here; a multiple of the cluster size, or in the first extent */
    uint64_t known;                         /* there is no other extent before this; UINT64_MAX: none at all */
    const struct qcbmi_guest_stream *bytes; /* of the extents */
    struct qcbmi_data *old;                 /* what the disk has now; NULL: zeros */
    bool has_backing;
    bool drops;            /* the extents are no part of the disk any more: their clusters are given up */
    uint64_t max_clusters; /* of data; where they end the batch does */

    /* ---- */
    uint64_t end; /* everything before is in the plan; .from if not even a cluster is known */
    struct qcbmi_alloc alloc;
    struct qcbmi_guest_table *tables;
    size_t n_tables, tables_capacity;
    struct qcbmi_guest_cluster *clusters; /* of data, that are written */
    size_t n_clusters, clusters_capacity;
    struct qcbmi_range *given_up;
    size_t n_given_up, given_up_capacity;
    size_t at; /* extent that compose() met last */
};

/* Into @plan, whose header copy is initialised and whose only stage is the one for what is prepared. @owners is
 * complete, and given up. The batch must live as long as the plan, which gets its bytes from it; free it on failure
 * too.
 * Returns 0, QCBM_E_UNSAFE (damage), QCBM_E_LIMIT, QCBM_E_IO, QCBM_E_NOMEM. */
int qcbmi_guest_plan(struct qcbmi_guest_batch *b, struct qcbmi_owners *owners, struct qcbmi_plan *plan,
                     struct qcbm_error *err);
/* Of an image with an external data file, before the plan is carried out: the clusters themselves, flushed. */
int qcbmi_guest_write_beside(struct qcbmi_guest_batch *b, struct qcbmi_io *data_file, struct qcbm_error *err);
void qcbmi_guest_batch_free(struct qcbmi_guest_batch *b); /* fine on a zeroed struct */

#endif
