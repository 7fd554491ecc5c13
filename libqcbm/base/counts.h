/* counts.h - a counter for each of very many things, most of which are 0 or 1
 * SPDX-License-Identifier: MIT
 *
 * Ground of the check: references per cluster, and refcounts as they are stored. A chunk of 4096 counters takes nothing
 * while all of them are the same, a bit each while none is above 1, and 8, 16, 32 or 64 bits each beyond that. */
#ifndef QCBMI_COUNTS_H
#define QCBMI_COUNTS_H

#include "qcbm.h"

#define QCBMI_COUNTS_CHUNK 4096u

union qcbmi_counts_chunk {
    uint64_t same; /* what each of its counters is, or */
    void *at;      /* where they are */
};

struct qcbmi_counts {
    uint64_t first, end; /* the counters that are kept; first is a multiple of the chunk */
    uint64_t n_chunks;
    union qcbmi_counts_chunk *chunks;
    uint8_t *width; /* of the counters of each: see counts.c; 0 = all the same */
    uint64_t bytes; /* memory in use */
};

/* Counters @first .. @end - 1, all 0. @first is a multiple of QCBMI_COUNTS_CHUNK. */
int qcbmi_counts_init(struct qcbmi_counts *c, uint64_t first, uint64_t end, struct qcbm_error *err);
void qcbmi_counts_free(struct qcbmi_counts *c); /* fine on a zeroed struct, and twice */

/* Give up the counters from @end on, and their memory. */
void qcbmi_counts_cut(struct qcbmi_counts *c, uint64_t end);

/* Add @weight to counters @first .. @first + @n - 1, none above @max; what is above is added to *@excess. Counters that
 * are not kept are left out. On QCBM_E_NOMEM some have been raised. */
int qcbmi_counts_add(struct qcbmi_counts *c, uint64_t first, uint64_t n, uint64_t weight, uint64_t max,
                     uint64_t *excess, struct qcbm_error *err);
/* Counter @index will be raised soon: have it come from memory meanwhile. */
void qcbmi_counts_fetch(const struct qcbmi_counts *c, uint64_t index);
/* Counters that are not kept read as 0. */
uint64_t qcbmi_counts_get(const struct qcbmi_counts *c, uint64_t index);

/* Counters in [@first, @end) that are exactly 1. Those that are not kept are none. */
uint64_t qcbmi_counts_number_of_ones(const struct qcbmi_counts *c, uint64_t first, uint64_t end);

/* First index in [@from, @end) at which they differ, or @end. Both keep the range. */
uint64_t qcbmi_counts_next_difference(const struct qcbmi_counts *a, const struct qcbmi_counts *b, uint64_t from,
                                      uint64_t end);
/* First index in [@from, @end) whose counter is 2 or more, or @end. */
uint64_t qcbmi_counts_next_shared(const struct qcbmi_counts *c, uint64_t from, uint64_t end);
/* One more than the last index below @end whose counter is not 0; 0 if there is none. */
uint64_t qcbmi_counts_used_end(const struct qcbmi_counts *c, uint64_t end);

#endif
