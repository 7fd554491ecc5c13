/* q2_l2_follow.c - do the entries of a group go on with a run of clusters? The way that fits to the scan
 * SPDX-License-Identifier: MIT */
#include "format/q2_l2_follow.h"

q2_l2_follow_fn *q2_l2_follow_with(const struct q2_l2_scan *scan, const struct q2_geometry *g)
{
#if defined(__x86_64__) || defined(__i386__)
    if (scan->fn == q2_l2_scan_avx2_standard)
        return q2_l2_follow_avx2_standard;
    if (scan->fn == q2_l2_scan_avx2_extended)
        return q2_l2_follow_avx2_extended;
#endif
    (void)scan;
    return g->extended_l2 ? q2_l2_follow_extended : q2_l2_follow_standard;
}
