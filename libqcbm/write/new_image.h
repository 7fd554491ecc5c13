/* new_image.h - metadata of an image that is written from scratch: places behind the data, refcounts, the header at
 * last
 * SPDX-License-Identifier: MIT
 *
 * The data of the image lies below @first_meta, where the caller put it, with the references in @counts; all metadata
 * is behind it, in clusters of one reference each. Until the header is written the file is no image. */
#ifndef QCBMI_NEW_IMAGE_H
#define QCBMI_NEW_IMAGE_H

#include "base/counts.h"
#include "format/q2_extension.h"
#include "format/q2_geometry.h"
#include "io/io.h"

struct qcbmi_new_image {
    struct qcbmi_io *io; /* NULL: nothing is written, places are given all the same */
    const struct q2_geometry *g;
    const struct qcbmi_counts *counts; /* of the clusters below first_meta; that of cluster 0 is not looked at */
    uint64_t first_meta, next;         /* clusters: where metadata begins, where the next one goes */
    uint32_t refcount_order;           /* set by qcbmi_new_refcounts() */
    uint64_t reftable_offset;
    uint32_t reftable_clusters;
};

/* A place for @bytes, in whole clusters. */
uint64_t qcbmi_new_place(struct qcbmi_new_image *n, uint64_t bytes);
int qcbmi_new_write(struct qcbmi_new_image *n, uint64_t off, const void *bytes, uint64_t len, struct qcbm_error *err);

/* Has one of clusters [@first, @end) of the data a reference? Cheap where they are all alike. */
bool qcbmi_new_is_used(const struct qcbmi_new_image *n, uint64_t first, uint64_t end);

/* Refcount blocks and table for all clusters that have been given out, their own included: call it when no more are
 * needed.
 * Returns 0, QCBM_E_LIMIT (more clusters than a refcount table can have), QCBM_E_IO, QCBM_E_NOSPACE, QCBM_E_NOMEM. */
int qcbmi_new_refcounts(struct qcbmi_new_image *n, struct qcbm_error *err);

/* An extension of the header, in this order. */
struct qcbmi_new_extension {
    uint32_t type, len;
    const void *data;
};
/* The first cluster: @h (the refcount fields and the lengths of names are filled in), extensions, the name of the
 * backing file (NULL: none). QCBM_E_NOSPACE if it does not fit. */
int qcbmi_new_header(struct qcbmi_new_image *n, const struct q2_header *h, const struct qcbmi_new_extension *exts,
                     size_t n_exts, const char *backing, struct qcbm_error *err);

#endif
