/* plain_entry.h - what an L2 entry of a metadata image is where it shows the raw data as it is
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_PLAIN_ENTRY_H
#define QCBMI_PLAIN_ENTRY_H

#include "base/bytes.h"
#include "format/q2_l1l2.h"

/* @n entries as they are stored, that of guest cluster @first in front. */
static inline void qcbmi_plain_entries(const struct q2_geometry *g, uint64_t first, uint64_t n, uint8_t *to)
{
    uint64_t raw = (first << g->cluster_bits) | Q2_ENTRY_COPIED;

    for (uint64_t i = 0; i < n; i++, raw += g->cluster_size) {
        be64_store(to + i * g->l2_entry_size, raw);
        if (g->extended_l2)
            be64_store(to + i * 16 + 8, Q2_SUBCLUSTERS_ALL_DATA);
    }
}

/* Is the entry at @at that of guest cluster @cluster? */
static inline bool qcbmi_entry_is_plain(const struct q2_geometry *g, uint64_t cluster, const uint8_t *at)
{
    return be64_load(at) == ((cluster << g->cluster_bits) | Q2_ENTRY_COPIED) &&
           (!g->extended_l2 || be64_load(at + 8) == Q2_SUBCLUSTERS_ALL_DATA);
}

#endif
