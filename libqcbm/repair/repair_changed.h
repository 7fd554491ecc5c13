/* repair_changed.h - ranges of the disk that a repair changes, in every bitmap that stays
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_REPAIR_CHANGED_H
#define QCBMI_REPAIR_CHANGED_H

#include "repair/repair_parts.h"

/* Bytes [@start, @start + @len) of the disk read something else from here on, or may have since a bitmap was stored. */
int qcbmi_repair_note_changed(struct qcbmi_repair *r, uint64_t start, uint64_t len, struct qcbm_error *err);
/* The row for it, once. */
int qcbmi_repair_tell_marked(struct qcbmi_repair *r, struct qcbm_error *err);

struct check;
/* repair_marked.c: set them where bitmaps are stored, in stage @bits_stage of @plan and the one behind it, which come
 * before those that change the ranges. */
int qcbmi_repair_mark_stored(struct qcbmi_repair *r, const struct check *c, struct qcbmi_plan *plan, size_t bits_stage);
/* All of these into each bitmap of @edit that can be relied on, and a row. */
int qcbmi_repair_mark_changed(struct qcbmi_repair *r, struct qcbm_edit *edit, struct qcbm_error *err);

#endif
