/* q2_bitmap_dir.h - bitmap directory entries and bitmap table entries (spec, "Bitmaps extension")
 * SPDX-License-Identifier: MIT */
#ifndef Q2_BITMAP_DIR_H
#define Q2_BITMAP_DIR_H

#include "format/q2_cursor.h"
#include "format/q2_geometry.h"

#define Q2_BITMAP_IN_USE (UINT32_C(1) << 0)
#define Q2_BITMAP_AUTO (UINT32_C(1) << 1)
#define Q2_BITMAP_EXTRA_COMPATIBLE (UINT32_C(1) << 2)
#define Q2_BITMAP_TYPE_DIRTY 1u
#define Q2_BITMAP_DIRENT_FIXED 24u
#define Q2_BITMAP_DIRENT_FLAGS_OFF 12u /* of the u32 flags within the entry */

struct q2_bitmap_dirent {
    uint64_t table_offset;
    uint32_t table_entries;
    uint32_t flags;
    uint8_t type;
    uint8_t granularity_bits;
    uint16_t name_len;
    uint32_t extra_len;
    const uint8_t *extra; /* pointers into the parsed bytes */
    const uint8_t *name;
};

/* Reads one entry with its padding; checks only that it ends inside the directory. @entry_offset is for the message.
 * Returns 0 or QCBM_E_CORRUPT; after an error the rest of the directory cannot be read. */
int q2_bitmap_dirent_parse(struct q2_cursor *in, uint64_t entry_offset, struct q2_bitmap_dirent *out,
                           struct qcbm_error *err);
uint64_t q2_bitmap_dirent_len(uint32_t extra_len, uint16_t name_len); /* with padding */
void q2_bitmap_dirent_store(uint8_t *to, const struct q2_bitmap_dirent *d);

/* All of QEMU's constraints on one entry, a failure of which makes QEMU refuse the whole image:
 * table offset aligned and not 0, table size limits (and, unless in use, exact for the virtual size), flags, type,
 * granularity, name (also: empty, embedded NUL), extra data. Returns 0 or QCBM_E_CORRUPT. */
int q2_bitmap_dirent_check(const struct q2_bitmap_dirent *d, uint64_t entry_offset, const struct q2_geometry *g,
                           struct qcbm_error *err);

/* Sizes of a bitmap of @size guest bytes (already rounded down to 512): bits, bytes, table entries. */
struct q2_bitmap_size {
    uint64_t bits, bytes, entries;
};
/* QCBM_E_LIMIT where QEMU says "Too much space will be occupied by the bitmap. Use larger granularity" (same text). */
int q2_bitmap_size(uint64_t size, unsigned granularity_bits, uint32_t cluster_size, struct q2_bitmap_size *out,
                   struct qcbm_error *err);

enum q2_bitmap_entry_kind { Q2_BME_ZEROS, Q2_BME_ONES, Q2_BME_DATA, Q2_BME_BAD };
#define Q2_BITMAP_TABLE_RESERVED UINT64_C(0xff000000000001fe)
#define Q2_BITMAP_TABLE_ONES UINT64_C(1)
/* BAD: a reserved bit, bit 0 with an offset, or an unaligned offset. */
enum q2_bitmap_entry_kind q2_bitmap_table_entry(uint64_t raw, uint32_t cluster_size, uint64_t *data_offset);

#endif
