/* bitmap_refs.h - what bitmaps refer to: their directory, their tables, the clusters of their data
 * SPDX-License-Identifier: MIT
 *
 * The part of the list of references (image/refs.h) that the rooms below do not know. The check counts these, the
 * writer notes them as used, and of stale bitmaps claims what is theirs. */
#ifndef QCBMI_BITMAP_REFS_H
#define QCBMI_BITMAP_REFS_H

#include "bitmap/bitmap_list.h"
#include "image/refs.h"

/* Entries of one table that are not 0, 1 or the offset of a cluster. */
struct qcbmi_bad_entries {
    uint64_t n;
    uint64_t index, raw; /* the first */
};

struct qcbmi_bitmap_refs {
    struct qcbmi_image *img;
    const struct qcbmi_bitmap_list *list; /* also that of a stale extension */
    struct qcbmi_holes *holes;
    const char *what;                  /* is read, for errors */
    const struct qcbmi_ref_sink *sink; /* its ref gets the directory and data, in the file or past its end */
    /* For the same opaque. A table, whatever the state of the bitmap: where it may be is the matter of the sink, which
     * answers 1 if what the table names is to follow, and 0 if not. */
    int (*table)(void *opaque, const struct qcbmi_ref *table);
    /* Behind the data of a bitmap that has such entries; NULL: that is no matter. */
    int (*bad)(void *opaque, uint32_t bitmap, const struct qcbmi_bad_entries *bad);
};

/* In the order of the directory, which is QEMU's. Anything below 0 from the sink stops. */
int qcbmi_bitmap_refs_walk(const struct qcbmi_bitmap_refs *refs, struct qcbm_error *err);

/* Can the table be where the entry says, in the file or past its end? */
bool qcbmi_bitmap_table_is_plausible(const struct q2_geometry *g, const struct qcbmi_bitmap *b);

#endif
