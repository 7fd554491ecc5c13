/* final.h - what a slot of the L1 table is in the new image, entry by entry, and how sure that is
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_FINAL_H
#define QCBMI_FINAL_H

#include "rescue/rescue.h"

struct qcbmi_final {
    struct qcbmi_rescue *r;
    uint8_t *table;                  /* entries that are not kept are zeros */
    uint8_t *verdicts, *score, *why; /* of each entry: 100 is proven, 0 unknown */
    bool has_table;                  /* some entry is not zero */
    uint8_t all_score, all_why;      /* without: of all of it */
};

int qcbmi_final_init(struct qcbmi_final *f, struct qcbmi_rescue *r, struct qcbm_error *err);
void qcbmi_final_free(struct qcbmi_final *f); /* fine on a zeroed struct */
int qcbmi_final_slot(struct qcbmi_final *f, uint64_t slot, struct qcbm_error *err);

#endif
