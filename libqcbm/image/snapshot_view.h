/* snapshot_view.h - an internal snapshot: found by what a user calls it, and the image as it was then
 * SPDX-License-Identifier: MIT
 *
 * A snapshot is a state like the active one: an L1 table and a size. So what reads the active state of an image, be it
 * a scan, the guest map or the reader of guest bytes, reads a snapshot by being given a view. */
#ifndef QCBMI_SNAPSHOT_VIEW_H
#define QCBMI_SNAPSHOT_VIEW_H

#include "image/image.h"

/* @words: "id:ID", "name:NAME", or either without a prefix. Names may repeat, and one snapshot may have the ID of
 * another as its name: what fits two is refused. Returns 0, QCBM_E_NOTFOUND (the message says which there are),
 * QCBM_E_ARG (several fit), QCBM_E_CORRUPT (the table is damaged), QCBM_E_UNSUPPORTED (an external data file),
 * QCBM_E_IO, QCBM_E_NOMEM. */
int qcbmi_snapshot_find(struct qcbmi_image *img, const char *words, uint32_t *index, struct qcbm_error *err);

struct qcbmi_snapshot_view {
    struct qcbmi_image img; /* shares all but .l1 with the image that it is of, which must outlive it */
    uint32_t index;         /* of the snapshot */
    const char *id, *name;  /* those of the image, likewise */
    char label[128];        /* "snapshot 1 'name'", for messages and for people */
};

/* @img as it was at snapshot @index, which has been loaded. Returns 0, QCBM_E_CORRUPT (no such size or L1 table),
 * QCBM_E_IO, QCBM_E_NOMEM. Free it on failure too. */
int qcbmi_snapshot_view_init(struct qcbmi_snapshot_view *v, struct qcbmi_image *img, uint32_t index,
                             struct qcbm_error *err);
void qcbmi_snapshot_view_free(struct qcbmi_snapshot_view *v); /* fine on a zeroed struct */

#endif
