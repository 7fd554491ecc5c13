/* q2_l2_runs.h - what an L2 table names: clusters that lie one after the other as one run, odd entries one by one
 * SPDX-License-Identifier: MIT
 *
 * For who asks which clusters of the file a table refers to. What the guest wrote one after the other is that in the
 * file, too, wherever it lies on the disk. */
#ifndef Q2_L2_RUNS_H
#define Q2_L2_RUNS_H

#include "format/q2_l2_follow.h"

struct q2_l2_run {
    uint32_t index, n; /* the first entry, and how many; entries of zeros may lie between them */
    uint64_t raw;      /* the first; each further one names the next cluster, with the same flags */
    bool odd; /* one entry that must be parsed; otherwise all are sound, and the clusters lie in the file. Which
               * subclusters are data is no matter */
};

struct q2_l2_runs {
    const struct q2_l2_scan *scan;
    const struct q2_geometry *g;
    const uint8_t *table;
    uint64_t offset_end, odd_bits;
    q2_l2_follow_fn *follow;
    uint32_t at; /* the next entry */
};

/* All entries of @table that are not zeros, in their order. What is given is not copied. */
void q2_l2_runs_begin(struct q2_l2_runs *r, const struct q2_l2_scan *scan, const struct q2_geometry *g,
                      const uint8_t *table);
/* The next of them, up to Q2_L2_SCAN_MAX; returns how many, 0 at the end. */
uint32_t q2_l2_runs_next(struct q2_l2_runs *r, struct q2_l2_run *out);

#endif
