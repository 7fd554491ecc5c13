/* tables.h - reading the mapping tables: the active L1, and many L2 tables in file order
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_TABLES_H
#define QCBMI_TABLES_H

#include "format/q2_l1l2.h"
#include "image/image.h"

/* Read the part of the active L1 that maps guest data into img->l1, unless it is there. */
int qcbmi_l1_load(struct qcbmi_image *img, struct qcbm_error *err);

/* QCBM_E_CORRUPT if two entries of the active L1 (loaded) name the same L2 table: no honest image has that, and following
 * each would cost the table's length once more. */
int qcbmi_l1_check_shared(const struct qcbmi_image *img, struct qcbm_error *err);

/* Damage that was met on the way: how much, and the first of it. */
struct qcbmi_damage {
    uint64_t count;
    struct qcbm_error first;
};
/* Count it; the message of the first is kept. @offset is where the bad entry lies. */
void qcbmi_damage_add(struct qcbmi_damage *d, uint64_t offset, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

struct qcbmi_l2_ref {
    uint64_t offset; /* of the table; aligned, and not past the end of the file */
    uint64_t l1_index;
};

/* For qsort(): by offset, then by index. */
int qcbmi_l2_ref_compare(const void *a, const void *b);

/* The table of @ref has been read: img->g.cluster_size bytes at @table. Non-zero stops. */
typedef int qcbmi_l2_fn(void *opaque, const struct qcbmi_l2_ref *ref, const uint8_t *table, struct qcbm_error *err);

struct qcbmi_progress {
    int (*fn)(void *opaque, uint64_t done, uint64_t total); /* may be NULL */
    void *opaque;
    uint64_t done, total;
};
/* Add @bytes to what is done, and tell. Returns 0 or QCBM_E_ABORTED. */
int qcbmi_progress_add(struct qcbmi_progress *p, uint64_t bytes, struct qcbm_error *err);

/* Read the tables of @refs, sorted by offset, in large pieces that bridge small gaps. */
int qcbmi_l2_read_all(struct qcbmi_image *img, const struct qcbmi_l2_ref *refs, size_t n, qcbmi_l2_fn *fn, void *opaque,
                      struct qcbmi_progress *progress, struct qcbm_error *err);

/* Does the host range of @e lie in the file (a last cluster may be cut short)? True also for entries without one, and
 * with an external data file, whose length is not looked at. */
bool qcbmi_l2_entry_in_file(const struct qcbmi_image *img, const struct q2_l2_entry *e);

#endif
