/* l2_named.h - the clusters that L2 tables name, found in a reading that is for something else as well
 * SPDX-License-Identifier: MIT
 *
 * Tables are read to see what is allocated, and which clusters they name must be known, too, before anything is said
 * about leaks, and before anything is written. In a sound image one reading tells all three. What is not plain is not
 * told here: then who needs the clusters reads the tables for himself. */
#ifndef QCBMI_L2_NAMED_H
#define QCBMI_L2_NAMED_H

#include "base/bitset.h"
#include "format/q2_l2_scan.h"
#include "image/image.h"

#define QCBMI_L2_NAMED_MAX                                                                                             \
    (UINT64_C(1) << 27) /* clusters of files that are kept for a job: of what they are, 16 MiB at most each */

/* Runs of clusters that a few tables name: the part of one thread. Zeros: none. */
struct qcbmi_l2_runs_found {
    struct qcbmi_cluster_run {
        uint64_t first, end;
    } * list;
    size_t n, capacity;
    bool unsure; /* there was more, and that is not plain */
};

/* At the end of the last run, or a new one. */
int qcbmi_l2_found_add(struct qcbmi_l2_runs_found *to, uint64_t first, uint64_t end, struct qcbm_error *err);
/* All that the bytes of @table name. */
int qcbmi_l2_found_in(struct qcbmi_l2_runs_found *to, const struct qcbmi_image *img, const struct q2_l2_scan *scan,
                      const uint8_t *table, struct qcbm_error *err);
/* Into @set; then there are none. */
int qcbmi_l2_found_give(struct qcbmi_l2_runs_found *from, struct qcbmi_bitset *set, struct qcbm_error *err);
void qcbmi_l2_found_free(struct qcbmi_l2_runs_found *from);

struct qcbmi_l2_named {
    bool known; /* the sets are complete, and all that is in them is sound. Otherwise they say nothing */
    struct qcbmi_bitset tables, data; /* clusters of the file: active L2 tables, and what they name */
    bool counted;             /* somebody has read the refcounts, too, and there are none behind the file: then */
    struct qcbmi_bitset used; /* clusters with a refcount */
};

/* Empty sets for an image that can have them: without snapshots and data file, nobody writes to it, and its clusters
 * are no more than *@room, which gets less by them. Otherwise @known is false. To be freed on failure too. */
int qcbmi_l2_named_begin(struct qcbmi_l2_named *named, struct qcbmi_image *img, uint64_t *room, struct qcbm_error *err);
int qcbmi_l2_named_take(struct qcbmi_l2_named *named, struct qcbmi_l2_runs_found *from, struct qcbm_error *err);
void qcbmi_l2_named_free(struct qcbmi_l2_named *named); /* fine on a zeroed struct */

#endif
