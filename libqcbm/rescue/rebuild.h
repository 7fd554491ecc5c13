/* rebuild.h - entries of L2 tables that are put together
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_REBUILD_H
#define QCBMI_REBUILD_H

#include "rescue/rescue.h"

/* Entry @index of the table of @slot, with what it names. Returns 0, QCBM_E_NOMEM. */
int qcbmi_rebuilt_set(struct qcbmi_rescue *r, uint64_t slot, uint32_t index, uint64_t raw, uint64_t word,
                      unsigned score, enum qcbmi_rescue_why why, struct qcbm_error *err);

/* left_data.c: clusters that nothing names, put where they may belong. */
int qcbmi_rebuild_from_left(struct qcbmi_rescue *r, struct qcbm_error *err);

#endif
