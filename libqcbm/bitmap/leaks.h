/* leaks.h - leaked clusters, and L1 entries whose table is empty: as runs, noted while references are compared
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_LEAKS_H
#define QCBMI_LEAKS_H

#include "image/image.h"

struct qcbmi_span {
    uint64_t first, end;
};
struct qcbmi_spans {
    struct qcbmi_span *list;
    size_t n, capacity;
};

/* At the end of the last run, or a new one unless there are @max. */
int qcbmi_spans_add(struct qcbmi_spans *r, uint64_t value, size_t max, struct qcbm_error *err);
bool qcbmi_spans_have(const struct qcbmi_spans *r, uint64_t value);
void qcbmi_spans_sort(struct qcbmi_spans *r); /* that were noted in another order, joined */

struct qcbmi_leaks {
    struct qcbmi_spans leaked; /* clusters */
    struct qcbmi_spans shared; /* of them those that a snapshot still refers to */
    struct qcbmi_spans blank;  /* active L1 entries whose L2 table is all zeros or overwritten, in any order */
    uint64_t n_leaked;
    uint64_t l1_used;
    bool has_snapshots;
};

void qcbmi_leaks_init(struct qcbmi_leaks *l, const struct qcbmi_image *img, bool has_snapshots);
/* @cluster has more references by its refcount than were found. In ascending order. */
int qcbmi_leaks_note(struct qcbmi_leaks *l, uint64_t cluster, uint64_t stored, uint64_t found, struct qcbm_error *err);
int qcbmi_leaks_note_blank(struct qcbmi_leaks *l, uint64_t l1_index, struct qcbm_error *err);
void qcbmi_leaks_free(struct qcbmi_leaks *l); /* fine on a zeroed struct */

#endif
