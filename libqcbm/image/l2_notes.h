/* l2_notes.h - what L2 tables name: noted on any thread, table by table, and given out in their order
 * SPDX-License-Identifier: MIT
 *
 * Notes are smaller than tables, and known ahead of their use: who counts clusters in random order can have counters
 * come from memory meanwhile. */
#ifndef QCBMI_L2_NOTES_H
#define QCBMI_L2_NOTES_H

#include "format/q2_l2_runs.h"
#include "image/l2_read.h"

struct qcbmi_l2_note {
    uint64_t raw;      /* as in struct q2_l2_run */
    uint32_t index, n; /* n is 0 for an odd entry */
};

/* Of one table; no notes: it is all zeros. */
struct qcbmi_l2_content {
    const struct qcbmi_l2_note *notes;
    size_t n, n_ahead;    /* its own, and those of tables that come next, which lie behind them */
    const uint8_t *bytes; /* the table itself if it has odd entries, else NULL */
};

struct qcbmi_noted_l2;
struct qcbmi_l2_notes { /* zeros: there are none */
    struct qcbmi_noted_l2 *tables;
    struct qcbmi_l2_note *list;
    uint8_t *copies;
    size_t n_tables, n, n_copies, room_tables, room, room_copies;
};

/* @bytes: of the table at @ref, which is not copied; NULL: zeros. */
int qcbmi_l2_notes_add(struct qcbmi_l2_notes *to, const struct q2_l2_scan *scan, const struct q2_geometry *g,
                       const struct qcbmi_l2_ref *ref, const uint8_t *bytes, struct qcbm_error *err);
typedef int qcbmi_l2_content_fn(void *opaque, const struct qcbmi_l2_ref *ref, const struct qcbmi_l2_content *content);
/* Each table; then there are none. Anything but 0 stops. */
int qcbmi_l2_notes_give(struct qcbmi_l2_notes *from, const struct q2_geometry *g, qcbmi_l2_content_fn *fn,
                        void *opaque);
void qcbmi_l2_notes_free(struct qcbmi_l2_notes *from);

#endif
