/* bitmap_edit.h - the bitmaps of an image as an edit has them so far
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_BITMAP_EDIT_H
#define QCBMI_BITMAP_EDIT_H

#include "bitmap/bitmap_list.h"
#include "bitmap/dirtymap.h"
#include "write/clusters.h"

struct qcbmi_edit_bitmap {
    const struct qcbmi_bitmap *stored; /* as it is on disk; NULL = new */
    char *name;
    size_t name_len;
    uint32_t flags; /* enum of q2_bitmap_dir.h, as they will be stored */
    unsigned gran_bits;
    bool bits_changed;         /* then map holds the bits, and stored's are given up */
    struct qcbmi_dirtymap map; /* initialised if bits_changed */
    uint64_t table_offset;     /* where they will be; from stored until planned */
    uint32_t table_entries;
};

struct qcbm_edit {
    struct qcbm_image *img;
    struct qcbmi_edit_bitmap *list; /* in the order of the new directory */
    size_t n, capacity;
    bool planned;
    bool of_live_data;   /* some of it was read with force-share: never to be written */
    uint64_t generation; /* of the image when the edit began */
    struct qcbmi_plan plan;
    char *undo_path; /* NULL = no undo file is wanted */
};

struct qcbmi_edit_bitmap *qcbmi_edit_find(struct qcbm_edit *edit, const char *name);

/* A new bitmap with clean bits at the end, or in the place of an existing one that is given up (@replace). */
int qcbmi_edit_insert(struct qcbm_edit *edit, const char *name, unsigned gran_bits, uint32_t flags, bool replace,
                      struct qcbmi_edit_bitmap **out, struct qcbm_error *err);

/* Find @name, and refuse it if it is in use or unreadable: all that QEMU allows for such a bitmap is removal. */
int qcbmi_edit_find_consistent(struct qcbm_edit *edit, const char *name, struct qcbmi_edit_bitmap **out,
                               struct qcbm_error *err);

/* The same, and give its bits in memory to be changed. */
int qcbmi_edit_bits(struct qcbm_edit *edit, const char *name, struct qcbmi_edit_bitmap **out, struct qcbm_error *err);

/* Make @map, of its size and granularity, the bits of @b, whose bits are in memory; @map is left with the old ones. */
void qcbmi_edit_take_map(struct qcbmi_edit_bitmap *b, struct qcbmi_dirtymap *map);

/* @granularity as given by a user: 0 = default of the edited image. */
int qcbmi_edit_granularity(const struct qcbm_edit *edit, uint64_t granularity, unsigned *gran_bits,
                           struct qcbm_error *err);

/* Can the edited image have a bitmap of this granularity? QCBM_E_LIMIT, QCBM_E_UNSUPPORTED. */
int qcbmi_edit_check_size(const struct qcbm_edit *edit, unsigned gran_bits, struct qcbm_error *err);

/* Run @plan and read header and bitmaps of @img again; a failure makes the handle useless. */
int qcbmi_commit_and_reload(const struct qcbmi_plan *plan, struct qcbm_image *img, struct qcbm_error *err);

/* bitmap_plan.c: fill edit->plan from the list. */
int qcbmi_edit_build_plan(struct qcbm_edit *edit, struct qcbm_error *err);

/* For an undo file: tables and bits of the bitmaps that stay. A guest that runs in between marks its writes there, when
 * QEMU puts all else back to where it was. */
int qcbmi_edit_rely_on_bits(struct qcbm_edit *edit, struct qcbm_error *err);

#endif
