/* q2_l2_follow.h - do the entries of a group go on with a run of clusters?
 * SPDX-License-Identifier: MIT
 *
 * For q2_l2_runs.c. Without a branch for each entry: which of them are zeros, nothing can foresee. */
#ifndef Q2_L2_FOLLOW_H
#define Q2_L2_FOLLOW_H

#include "format/q2_l2_scan.h"

#define Q2_L2_GROUP 32u            /* entries */
#define Q2_L2_OTHERWISE UINT64_MAX /* they do not all go on */

/* How many clusters the entries at @at name, if these are @want, an entry as it is and not 0, and those behind it;
 * entries of zeros may lie between them. Of words of subclusters only those go on that do not clash. */
typedef uint64_t q2_l2_follow_fn(const uint8_t *at, uint64_t want, unsigned cluster_bits);
/* The one that uses what @scan uses. */
q2_l2_follow_fn *q2_l2_follow_with(const struct q2_l2_scan *scan, const struct q2_geometry *g);

/* Subclusters that are said to be data and zeros. */
static inline uint64_t q2_l2_clash(uint64_t word)
{
    return word >> 32 & word;
}

/* Twins, which say the same. */
q2_l2_follow_fn q2_l2_follow_standard, q2_l2_follow_extended;           /* q2_l2_follow_portable.c */
q2_l2_follow_fn q2_l2_follow_avx2_standard, q2_l2_follow_avx2_extended; /* q2_l2_follow_x86.c */

#endif
