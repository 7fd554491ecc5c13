/* bitmap_load.h - the stored bits of a bitmap: walked in order, or as a dirty map
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_BITMAP_LOAD_H
#define QCBMI_BITMAP_LOAD_H

#include "bitmap/bitmap_list.h"
#include "bitmap/dirtymap.h"
#include "io/holes.h"

/* @n_bytes bytes of the payload from @first_byte on: all zeros, all ones, or @bytes (Q2_BME_DATA). Non-zero stops. */
typedef int qcbmi_bitmap_walk_fn(void *opaque, enum q2_bitmap_entry_kind kind, uint64_t first_byte, uint64_t n_bytes,
                                 const uint8_t *bytes, struct qcbm_error *err);

struct qcbmi_bitmap_walk_stats {
    uint64_t data_clusters; /* table entries with a cluster */
    uint64_t lost_clusters; /* of them past the end of the file: they were walked as all ones */
};

/* Walk the payload of @b, which qcbmi_bitmap_check_bits() has passed, from its first byte to its last, in pieces of
 * bounded size. @stats may be NULL. Bits at the end that are no granule are as stored: the caller masks them. */
int qcbmi_bitmap_walk(struct qcbmi_image *img, const struct qcbmi_bitmap *b, qcbmi_bitmap_walk_fn *fn, void *opaque,
                      struct qcbmi_bitmap_walk_stats *stats, struct qcbm_error *err);
/* Only the clusters of the payload that bits [@first_bit, @end_bit) lie in; a table that is a hole is given as a
 * whole. */
int qcbmi_bitmap_walk_part(struct qcbmi_image *img, const struct qcbmi_bitmap *b, uint64_t first_bit, uint64_t end_bit,
                           qcbmi_bitmap_walk_fn *fn, void *opaque, struct qcbm_error *err);

/* Walk the table alone: the first malformed entry is QCBM_E_CORRUPT. For callers that give out as they read. */
int qcbmi_bitmap_check_table(struct qcbmi_image *img, const struct qcbmi_bitmap *b, struct qcbm_error *err);

/* The same into @map, which this function initialises; free it on failure too. */
int qcbmi_bitmap_load(struct qcbmi_image *img, const struct qcbmi_bitmap *b, struct qcbmi_dirtymap *map,
                      struct qcbm_error *err);

/* Call @fn for each cluster of bitmap data that the table of @b names, in or past the end of the file, whatever the
 * state of the bitmap; *@n_bad counts entries that are malformed. Reads the table only, and nothing if the table itself
 * does not lie in the file. @holes: of the image's file, one for all bitmaps that are walked: a hostile image has
 * 65,535 of them, each with a table in the hole at its end. */
typedef int qcbmi_bitmap_cluster_fn(void *opaque, uint64_t offset, struct qcbm_error *err);
int qcbmi_bitmap_clusters(struct qcbmi_image *img, struct qcbmi_holes *holes, const struct qcbmi_bitmap *b,
                          qcbmi_bitmap_cluster_fn *fn, void *opaque, uint64_t *n_bad, struct qcbm_error *err);

/* Once for the list: bitmaps whose tables name the same cluster of data, or one that names a cluster twice, are marked
 * as shared, with a finding, or as doubted. Without this, reading all bitmaps could cost the file's length for each of
 * them, and the bits of one be given out as those of another. */
int qcbmi_bitmap_find_shared_data(struct qcbm_image *handle, struct qcbm_error *err);
/* 0 if the bits of @b can be read and are its own; as qcbmi_bitmap_check_entry() otherwise, which is a part of it.
 * Reads the tables of all bitmaps, once. */
int qcbmi_bitmap_check_bits(struct qcbm_image *handle, const struct qcbmi_bitmap *b, bool in_use_ok,
                            struct qcbm_error *err);
/* The same of a bitmap that is found by its name; QCBM_E_NOTFOUND, or why the directory cannot be read where it might
 * have the name. */
int qcbmi_bitmap_find_readable(struct qcbm_image *handle, const char *name, const struct qcbmi_bitmap **out,
                               struct qcbm_error *err);
/* Does the table lie in the file, aligned, behind the header? */
bool qcbmi_bitmap_table_in_file(const struct qcbmi_image *img, const struct qcbmi_bitmap *b);

#endif
