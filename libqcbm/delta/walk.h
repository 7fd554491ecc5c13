/* walk.h - from the granules that count to pieces that are read: what is zeros there by metadata, what is data
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_DELTA_WALK_H
#define QCBMI_DELTA_WALK_H

#include "bitmap/dirtymap.h"
#include "delta/delta.h"
#include "image/data.h"

/* Goes over the dirty ranges, rounded outward to units, in the order of the disk. */
struct qcbmi_delta_walk {
    const struct qcbmi_dirtymap *map;
    struct qcbmi_data *data;
    uint64_t size, unit;
    uint64_t at, end; /* of the range that it is in; at == end: the next one begins behind it */
};

void qcbmi_delta_walk_begin(struct qcbmi_delta_walk *w, const struct qcbmi_dirtymap *map, struct qcbmi_data *data,
                            uint64_t size, uint64_t unit);

/* The next record, in whole units: zeros as far as they go, or data, @max bytes at most (a multiple of the unit). What
 * metadata cannot tell to be zeros is data. Of data *@n_parts pieces go to @parts, as many as there is room for,
 * @max_parts at least for one unit; NULL: nobody wants them. Returns 1, 0 at the end, or fails: what cannot be read is
 * an error. */
int qcbmi_delta_walk_next(struct qcbmi_delta_walk *w, uint64_t max, struct qcbmi_delta_record *out,
                          struct qcbmi_guest_piece *parts, size_t max_parts, size_t *n_parts, struct qcbm_error *err);

#endif
