/* extents_states.h - where two states of an image differ, kept to be given out in any order
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_EXTENTS_STATES_H
#define QCBMI_EXTENTS_STATES_H

#include "bitmap/dirtymap.h"
#include "image/snapshot_view.h"

struct qcbmi_states {
    struct qcbmi_snapshot_view from, to;
    struct qcbmi_image *end;   /* the state that the other is compared with: the image, or that of .to */
    struct qcbmi_dirtymap map; /* what differs, of all that one of them has, a bit for each cluster or subcluster */
};

/* The snapshots @from and @to, by their words; @to NULL: the active state. Zeroed before; free it on failure too.
 * Returns what qcbmi_snapshot_find() and qcbmi_snapshot_diff_mark() return, and QCBM_E_UNSAFE if there is damage. */
int qcbmi_states_begin(struct qcbmi_states *s, struct qcbmi_image *img, const char *from, const char *to,
                       struct qcbm_error *err);
void qcbmi_states_free(struct qcbmi_states *s); /* fine on a zeroed struct */

#endif
