/* undo_writer.h - has anybody written to an image since a change that is to be undone?
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_UNDO_WRITER_H
#define QCBMI_UNDO_WRITER_H

#include "write/undo_load.h"

/* @last_stage: the last one at which the change may stand. Returns 0 with *@out NONE or UNKNOWN; QCBM_E_UNSAFE with
 * *@out SEEN, or UNKNOWN where the storage cannot tell: then it is not to be undone unless the caller insists. */
int qcbmi_undo_find_writer(struct qcbmi_undo_file *file, struct qcbmi_image *img, uint32_t last_stage,
                           enum qcbm_undo_writer *out, struct qcbm_error *err);

/* Was @img last written by the change itself? */
bool qcbmi_undo_is_last_writer(const struct qcbmi_undo_file *file, struct qcbmi_image *img);

#endif
