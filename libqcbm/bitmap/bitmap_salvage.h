/* bitmap_salvage.h - what a damaged bitmap directory still says
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_BITMAP_SALVAGE_H
#define QCBMI_BITMAP_SALVAGE_H

#include "bitmap/bitmap_list.h"

#define QCBMI_SALVAGE_UNKNOWN UINT32_MAX

/* A new list, in the order of the directory, of the entries that can be told apart, each as it lies in the file:
 * whether it can be believed is the matter of the caller. Of a directory that is sound as a whole these are all of
 * them. Where entries do not add up to it, what lies between those that make sense is taken for one if a name can be
 * read there. *@lost is how many more the header extension speaks of, or QCBMI_SALVAGE_UNKNOWN. Returns 0, QCBM_E_IO,
 * QCBM_E_NOMEM. */
int qcbmi_bitmap_salvage(const struct qcbm_image *handle, struct qcbmi_bitmap_list **out, uint32_t *lost,
                         struct qcbm_error *err);

#endif
