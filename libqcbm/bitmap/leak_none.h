/* leak_none.h - does nothing leak at all? From what was read for something else, and one reading of the refcounts
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_LEAK_NONE_H
#define QCBMI_LEAK_NONE_H

#include "bitmap/lost_tables.h"
#include "image/l2_named.h"

/* *@none: qcbmi_leaks_count() would find no leak. False where what @named knows, and the refcounts, are not enough to
 * tell. The refcounts are in @named then, if they are sound. Of @clues the image and its bitmaps, and holes.
 * Returns 0, QCBM_E_NOMEM. */
int qcbmi_leaks_none(const struct qcbmi_lost_clues *clues, struct qcbmi_l2_named *named, bool *none,
                     struct qcbm_error *err);

#endif
