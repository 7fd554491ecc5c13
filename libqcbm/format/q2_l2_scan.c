/* q2_l2_scan.c - many raw L2 entries at once: which map nothing, which are plain, which must be looked at
 * SPDX-License-Identifier: MIT */
#include "format/q2_l2_scan.h"

#include "base/checked.h"

static bool always(void)
{
    return true;
}

const struct q2_l2_scan_twin q2_l2_scan_twins[] = {
#if defined(__x86_64__) || defined(__i386__)
    { "avx2", q2_l2_scan_has_avx2, q2_l2_scan_avx2_standard, q2_l2_scan_avx2_extended },
    { "sse2", q2_l2_scan_has_sse2, q2_l2_scan_sse2_standard, q2_l2_scan_sse2_extended },
#elif defined(__aarch64__)
    { "neon", always, q2_l2_scan_neon_standard, q2_l2_scan_neon_extended },
#endif
    { "portable", always, q2_l2_scan_portable_standard, q2_l2_scan_portable_extended },
};
const unsigned q2_l2_scan_n_twins = sizeof(q2_l2_scan_twins) / sizeof(q2_l2_scan_twins[0]);

static const struct q2_l2_scan_twin *taken; /* set by tests alone */

void q2_l2_scan_take(const struct q2_l2_scan_twin *twin)
{
    taken = twin;
}

void q2_l2_scan_init(struct q2_l2_scan *s, const struct q2_geometry *g, uint64_t file_end)
{
    const struct q2_l2_scan_twin *twin = taken ? taken : q2_l2_scan_twins;

    while (!twin->usable())
        twin++;
    s->odd_bits = Q2_L2_COMPRESSED | Q2_L2_RESERVED | Q2_L2_ZERO | (g->cluster_size - 1);
    s->offset_end = u64_min(file_end, Q2_L2_SCAN_END);
    /* The clusters of a data file lie at their guest offset, which is more than a mask can tell; the end 1 leaves no
     * offset that would do. */
    if (g->data_file || file_end == 0)
        s->offset_end = 1;
    s->fn = g->extended_l2 ? twin->extended : twin->standard;
}
