/* all_refs.h - all that refers to clusters, in all states and in bitmaps, for who does not mind what is wrong with it
 * SPDX-License-Identifier: MIT
 *
 * As tolerant as a check: what cannot be followed is left out. The mapping tables of all states come in the order of
 * the file (image/table_sweep.h), where the list of references (image/refs.h) has the active one. */
#ifndef QCBMI_ALL_REFS_H
#define QCBMI_ALL_REFS_H

#include "bitmap/bitmap_list.h"
#include "image/stored_counts.h"
#include "image/table_sweep.h"

/* What a few entries of one L2 table name: clusters side by side, or compressed data. */
struct qcbmi_entry_refs {
    uint64_t n; /* entries */
    /* Bytes as far as they count: to the first one of the last cluster. @len 0 with an external data file. */
    uint64_t offset, len;
    bool compressed;
};

struct qcbmi_all_refs {
    struct qcbmi_image *img;
    const struct qcbmi_bitmap_list *bitmaps;
    struct qcbmi_holes *holes;
    const struct qcbmi_loose_snapshots *snapshots;
    const struct qcbmi_stored_counts *stored; /* its table names the refcount blocks */
    struct qcbmi_progress *progress;

    /* Anything below 0 stops. */
    void *opaque;
    /* All but what L2 tables name; it may lead nowhere. */
    int (*ref)(void *opaque, enum qcbmi_ref_kind kind, uint64_t off, uint64_t len, uint64_t weight);
    /* Entries with clusters, table by table. */
    int (*entries)(void *opaque, const struct qcbmi_swept_l2 *l2, const struct qcbmi_entry_refs *refs);
    /* A table that is all zeros; NULL: that is no matter. */
    int (*blank)(void *opaque, const struct qcbmi_swept_l2 *l2);
    /* May @bytes be read that others may have for tables, too? */
    bool (*afford)(void *opaque, uint64_t bytes);
};

int qcbmi_all_refs_walk(const struct qcbmi_all_refs *refs, struct qcbm_error *err);

#endif
