/* q2_geometry.h - numbers derived once from an accepted header
 * SPDX-License-Identifier: MIT */
#ifndef Q2_GEOMETRY_H
#define Q2_GEOMETRY_H

#include "format/q2_header.h"

struct q2_geometry {
    uint32_t version;
    uint32_t cluster_bits;
    uint32_t cluster_size;
    uint64_t size;             /* header.size */
    uint64_t sector_size_down; /* size rounded down to 512, as QEMU counts bitmaps */
    bool extended_l2;
    bool data_file;
    bool raw_data_file;       /* autoclear bit 1 and the data file bit */
    uint32_t l2_entry_size;   /* 8 or 16 */
    uint32_t l2_entries;      /* per table */
    uint32_t subcluster_size; /* cluster_size / 32 with extended L2, else cluster_size */
    uint64_t l2_span;         /* guest bytes under one L2 table */
    uint64_t l1_used;         /* L1 entries that map guest data: ceil(size / l2_span); others are VM state */
    uint32_t refcount_order;
    uint32_t refcount_bits;
    uint64_t refblock_entries;       /* refcounts per block */
    uint32_t compressed_offset_bits; /* x of the compressed descriptor: 62 - (cluster_bits - 8) */
};

/* @h has passed q2_header_parse(). */
void q2_geometry_derive(const struct q2_header *h, struct q2_geometry *out);

/* Of a header that nothing has checked, as far as it goes: NULL, or why the sizes of tables are not known; they are
 * those of clusters of 64 KiB then. */
const char *q2_geometry_guess(const struct q2_header *h, struct q2_geometry *out);

/* QEMU's default granularity: the cluster size, within 4 KiB .. 64 KiB. */
uint64_t q2_default_granularity(const struct q2_geometry *g);

#endif
