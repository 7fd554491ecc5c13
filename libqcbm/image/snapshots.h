/* snapshots.h - the table of internal snapshots
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_SNAPSHOTS_H
#define QCBMI_SNAPSHOTS_H

#include "image/image.h"

/* Read the table into img->snapshots, unless it is there. Its L1 tables are not looked at. An entry that breaks a rule
 * is an error each time; those before it stay to be shown. */
int qcbmi_snapshots_load(struct qcbmi_image *img, struct qcbm_error *err);
void qcbmi_snapshots_forget(struct qcbmi_image *img);

/* The table as who looks for damage reads it: what is past the end of the file is zeros, entries of zeros are entries,
 * and one that breaks a rule ends the list. */
struct qcbmi_holes;
struct qcbmi_loose_snapshots {
    uint8_t *bytes;           /* of the table; the entries point into it */
    struct q2_snapshot *list; /* those before a bad one */
    uint32_t n;
    uint64_t len;          /* bytes of them, without the padding of the last */
    struct qcbm_error why; /* what is wrong with the bad one; code 0: none is */
};
/* Returns 0, QCBM_E_IO, QCBM_E_NOMEM; free it on failure too. */
int qcbmi_snapshots_read_loosely(struct qcbmi_image *img, struct qcbmi_holes *holes, struct qcbmi_loose_snapshots *out,
                                 struct qcbm_error *err);
void qcbmi_loose_snapshots_free(struct qcbmi_loose_snapshots *l); /* fine on a zeroed struct */
/* Can the L1 table of @s be walked? */
bool qcbmi_snapshot_l1_is_sound(const struct qcbmi_image *img, const struct q2_snapshot *s);

#endif
