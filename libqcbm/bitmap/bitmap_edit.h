/* bitmap_edit.h - the bitmaps of an image as an edit has them so far
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_BITMAP_EDIT_H
#define QCBMI_BITMAP_EDIT_H

#include "base/progress.h"
#include "bitmap/edit_list.h"
#include "write/clusters.h"

struct qcbmi_mend; /* bitmap_mend.h */

/* Bytes of mapping tables that the edit changes where they lie. */
struct qcbmi_table_write {
    uint64_t off, len;
    struct qcbmi_series series;
    uint64_t first; /* byte of the series */
};

struct qcbm_edit {
    struct qcbm_image *handle;
    struct qcbmi_image *img; /* of the handle */
    struct qcbmi_edit_list list;
    bool planned;
    bool of_live_data;   /* some of it was read with force-share: never to be written */
    uint64_t generation; /* of the image when the edit began */
    struct qcbmi_plan plan;
    const struct qcbm_progress *progress; /* the caller's; NULL: nobody asks */
    char *undo_path;                      /* NULL = no undo file is wanted */
    struct qcbmi_l2_named named; /* of @img, if its tables were read for this edit: spares the plan a reading */
    struct qcbmi_table_write
        *tables; /* written once the bitmaps are; each whole entries, of which any may be old or new */
    size_t n_tables, tables_capacity;
    enum { QCBMI_TAG_STAYS, QCBMI_TAG_SET, QCBMI_TAG_GOES } tag_change;
    uint8_t tag[Q2_TAG_LEN];
    struct qcbmi_mend *mend; /* NULL, or it began with damaged bitmaps: @handle is that of mend */
};

/* QCBM_E_ARG: another commit on the same image made this edit's view of it stale. */
int qcbmi_edit_check_current(const struct qcbm_edit *edit, struct qcbm_error *err);
/* May bitmaps be changed in it? QCBM_E_ARG: it has been planned, or another commit made it void. */
int qcbmi_edit_check_open(const struct qcbm_edit *edit, struct qcbm_error *err);

/* A new bitmap at the end, or in the place of an existing one that is given up (@replace). @bits, of the image's size
 * and @gran_bits, become its bits (see qcbmi_edit_take_map()); NULL = all clean. */
int qcbmi_edit_insert(struct qcbm_edit *edit, const char *name, unsigned gran_bits, uint32_t flags, bool replace,
                      struct qcbmi_dirtymap *bits, struct qcbm_error *err);

/* Find @name, and refuse it if it is in use or unreadable: all that QEMU allows for such a bitmap is removal. */
int qcbmi_edit_find_consistent(struct qcbm_edit *edit, const char *name, struct qcbmi_edit_bitmap **out,
                               struct qcbm_error *err);

/* The bits of @b in a map of the caller's, to be freed on failure too. What changes bits works on such a copy and gives
 * it back when all has gone well: a call that fails, for want of memory at the last granule, has staged nothing. */
int qcbmi_edit_copy_bits(const struct qcbm_edit *edit, const struct qcbmi_edit_bitmap *b, struct qcbmi_dirtymap *map,
                         struct qcbm_error *err);

/* Make @map, of the image's size, the bits of @b; @map is left with the old ones, and is still to be freed. */
void qcbmi_edit_take_map(struct qcbmi_edit_bitmap *b, struct qcbmi_dirtymap *map);

/* @granularity as given by a user: 0 = default of the edited image. */
int qcbmi_edit_granularity(const struct qcbm_edit *edit, uint64_t granularity, unsigned *gran_bits,
                           struct qcbm_error *err);

/* Can the edited image have a bitmap of this granularity? QCBM_E_LIMIT, QCBM_E_UNSUPPORTED. */
int qcbmi_edit_check_size(const struct qcbm_edit *edit, unsigned gran_bits, struct qcbm_error *err);

/* bitmap_plan.c: fill edit->plan from the list. */
/* Why no edit of this image can be written, or 0. */
int qcbmi_edit_check_writable(const struct qcbm_image *handle, struct qcbm_error *err);
/* @way is told the scan, and is given its total: the tables to read, and for a plan that is carried out next (@commits)
 * what is left for its writes, which is a guess, as nobody knows them yet. */
int qcbmi_edit_build_plan(struct qcbm_edit *edit, struct qcbmi_progress *way, bool commits, struct qcbm_error *err);

/* For an undo file: tables and bits of the bitmaps that stay. A guest that runs in between marks its writes there, when
 * QEMU puts all else back to where it was. */
int qcbmi_edit_rely_on_bits(struct qcbm_edit *edit, struct qcbm_error *err);

#endif
