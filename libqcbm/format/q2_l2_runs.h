/* q2_l2_runs.h - what an L2 table names: clusters that lie one after the other as one run, odd entries one by one
 * SPDX-License-Identifier: MIT
 *
 * For who asks which clusters of the file a table refers to. Neighbours in the table are mostly neighbours in the file. */
#ifndef Q2_L2_RUNS_H
#define Q2_L2_RUNS_H

#include "format/q2_l2_scan.h"

struct q2_l2_run {
    uint32_t index, n; /* the first entry, and how many */
    uint64_t raw;      /* the first; each further one names the next cluster, with the same flags */
    bool odd;          /* one entry that must be parsed; otherwise all are sound, and the clusters lie in the file */
};

struct q2_l2_runs {
    const struct q2_l2_scan *scan;
    const struct q2_geometry *g;
    const uint8_t *table;
    uint64_t offset_end;
    uint32_t at, base, end; /* next entry; entries that the masks are of */
    struct q2_l2_masks masks;
};

/* All entries of @table that are not zeros, in their order. What is given is not copied. */
void q2_l2_runs_begin(struct q2_l2_runs *r, const struct q2_l2_scan *scan, const struct q2_geometry *g,
                      const uint8_t *table);
bool q2_l2_runs_next(struct q2_l2_runs *r, struct q2_l2_run *out);

#endif
