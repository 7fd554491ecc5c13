/* revive_doubt.h - is all that was written allocated now? What speaks against it
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_REVIVE_DOUBT_H
#define QCBMI_REVIVE_DOUBT_H

#include "bitmap/dirtymap.h"
#include "bitmap/handle.h"
#include "image/l2_named.h"

#define QCBMI_DOUBT_TEXT 1400u

/* Mark in @map what @img has allocated, and look for what the guest wrote and the tables no longer say: entries that
 * make no sense, tables that are lost or may be. @bitmaps are those whose clusters do not leak. @why gets one line, ""
 * if all is there. Refcounts that are too low are no reason: what is written is found by the tables alone. @named,
 * zeros, gets the clusters that were found on the way; it is to be freed on failure too.
 * Returns 0, QCBM_E_IO, QCBM_E_NOMEM. */
int qcbmi_revive_look(struct qcbmi_image *img, const struct qcbmi_bitmap_list *bitmaps, struct qcbmi_dirtymap *map,
                      struct qcbmi_l2_named *named, char why[QCBMI_DOUBT_TEXT], struct qcbm_error *err);

#endif
