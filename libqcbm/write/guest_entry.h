/* guest_entry.h - what a write of guest bytes makes of one L2 entry
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_GUEST_ENTRY_H
#define QCBMI_GUEST_ENTRY_H

#include "format/q2_l1l2.h"

/* Subclusters of one cluster that are written: bytes, or zeros alone. Without extended L2 bit 0 is the cluster. */
struct qcbmi_guest_touch {
    uint32_t data, zero;
};

struct qcbmi_guest_entry {
    uint64_t raw, word; /* the new entry; .raw without its offset where a cluster is needed */
    bool changes;       /* it is another one than before */
    bool needs_cluster; /* a new one, for all bytes of the cluster */
    bool gives_up;      /* what the old entry refers to in this file */
};

/* @old, parsed from @raw and @word, becomes @out. What reads as zeros without a backing file (@has_backing false) stays
 * as it is. In an external data file each cluster has its place, and zeros are bytes. */
void qcbmi_guest_entry_write(const struct q2_l2_entry *old, uint64_t raw, uint64_t word, uint64_t guest,
                             struct qcbmi_guest_touch touch, bool has_backing, const struct q2_geometry *g,
                             struct qcbmi_guest_entry *out);
/* The same for a cluster that is no part of the disk any more. */
void qcbmi_guest_entry_drop(const struct q2_l2_entry *old, uint64_t raw, uint64_t word, const struct q2_geometry *g,
                            struct qcbmi_guest_entry *out);

#endif
