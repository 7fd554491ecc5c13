/* edit_list.h - the bitmaps of an edit: in the order of the new directory, and found by name
 * SPDX-License-Identifier: MIT
 *
 * A directory may have 65535 entries with names of any length and likeness, and all of them may be asked for: adding,
 * finding, renaming and removing one costs a path in a balanced tree, never a walk over the others. */
#ifndef QCBMI_EDIT_LIST_H
#define QCBMI_EDIT_LIST_H

#include "bitmap/bitmap_list.h"
#include "bitmap/dirtymap.h"

struct qcbmi_edit_bitmap {
    const struct qcbmi_bitmap *stored; /* as it is on disk; NULL = new */
    const char *name;                  /* that of @stored, or own_name */
    size_t name_len;
    char *own_name; /* of one that is new or renamed */
    uint32_t flags; /* enum of q2_bitmap_dir.h, as they will be stored */
    unsigned gran_bits;
    bool bits_changed;         /* then map holds the bits, and stored's are given up */
    struct qcbmi_dirtymap map; /* initialised if bits_changed */
    uint64_t table_offset;     /* where they will be; from stored until planned */
    uint32_t table_entries;

    size_t place; /* in the list */
    /* Others of the same name, which only a damaged directory has, in its order; last is kept by the first of them. */
    struct qcbmi_edit_bitmap *next, *last;
};

struct qcbmi_edit_list {
    struct qcbmi_edit_bitmap **at; /* NULL where one was removed, until the gaps are closed */
    size_t n, capacity, n_gaps;
    void *by_name; /* tree of tsearch(3): the first of each name */
};

void qcbmi_edit_list_free(struct qcbmi_edit_list *list); /* fine on a zeroed struct */

/* How many there are. */
static inline size_t qcbmi_edit_list_count(const struct qcbmi_edit_list *list)
{
    return list->n - list->n_gaps;
}

/* Add a copy of @from at the end, under its name: that of from->stored, or a copy of @name. *@out stays valid until it
 * is removed or renamed. QCBM_E_NOMEM: the list is as it was. */
int qcbmi_edit_list_add(struct qcbmi_edit_list *list, const struct qcbmi_edit_bitmap *from, const char *name,
                        struct qcbmi_edit_bitmap **out, struct qcbm_error *err);

/* The first bitmap called @name, or NULL. */
struct qcbmi_edit_bitmap *qcbmi_edit_list_find(const struct qcbmi_edit_list *list, const char *name);
/* Does no other have its name? */
bool qcbmi_edit_list_is_unique(const struct qcbmi_edit_list *list, const struct qcbmi_edit_bitmap *b);

/* Remove @b, or name it @name, which no other has; both as qcbmi_edit_list_find() gave it. @b is void then. */
void qcbmi_edit_list_remove(struct qcbmi_edit_list *list, struct qcbmi_edit_bitmap *b);
int qcbmi_edit_list_rename(struct qcbmi_edit_list *list, struct qcbmi_edit_bitmap *b, const char *name,
                           struct qcbm_error *err);

/* Afterwards list->at has no NULL. */
void qcbmi_edit_list_close_gaps(struct qcbmi_edit_list *list);

#endif
