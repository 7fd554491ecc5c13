/* goals.h - bitmaps brought to what a change was to make of them, where a guest ran before it was complete
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_GOALS_H
#define QCBMI_GOALS_H

#include "bitmap/handle.h"
#include "format/journal_file.h"

/* What has become of the bitmap that is to be there. */
struct qcbmi_superset {
    uint64_t dirty_bytes;
    const char *stand_in; /* of the journal; NULL: all is dirty */
};

/* One that is to be there, in @to, gets all that may have changed: the bits of the newest older bitmap of @from (the
 * image, and the base if @to is its overlay) that recorded all the time, or everything. An older bitmap covers what a
 * newer one does, so it may stand in for that; one that has fewer bits than it had was cleared meanwhile, and may not.
 * All in one commit. Can be repeated. */
int qcbmi_goals_reach(const struct qcbmi_journal_disk *d, struct qcbm_image *to, struct qcbm_image *from,
                      struct qcbmi_superset *out, struct qcbm_error *err);

/* Those of the image alone, whose new bitmap is in an overlay. */
int qcbmi_goals_of_base(const struct qcbmi_journal_disk *d, struct qcbm_image *base, struct qcbm_error *err);

#endif
