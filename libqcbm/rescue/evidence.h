/* evidence.h - votes: this table belongs into that slot, how sure, and why
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_EVIDENCE_H
#define QCBMI_EVIDENCE_H

#include "rescue/rescue.h"

struct qcbmi_vote {
    uint64_t table, slot;
    uint8_t score, why;
};

struct qcbmi_votes {
    struct qcbmi_rescue *r;
    struct qcbmi_vote *list;
    size_t n, capacity;
};

/* Leaves out slots that are not open. Returns 0, QCBM_E_NOMEM. */
int qcbmi_vote(struct qcbmi_votes *v, uint64_t table, uint64_t slot, unsigned score, enum qcbmi_rescue_why why,
               struct qcbm_error *err);

/* by_bitmap.c, by_backing.c */
int qcbmi_rescue_ask_bitmaps(struct qcbmi_votes *v, struct qcbm_error *err);
int qcbmi_rescue_ask_backing(struct qcbmi_votes *v, struct qcbm_error *err);

#endif
