/* session.h - an edit from its beginning to its commit, and the image's handle with it
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_SESSION_H
#define QCBMI_SESSION_H

#include "bitmap/bitmap_edit.h"

/* Run @plan and read header and bitmaps of @handle again; a failure makes the handle useless. */
int qcbmi_commit_and_reload(const struct qcbmi_plan *plan, struct qcbm_image *handle, struct qcbm_error *err);

/* For who commits several images together: what qcbm_edit_plan() has made ready for qcbmi_commit_prepare(), the undo
 * file that was asked for included. All edits of the image are void from then on, and its handle is good for closing
 * only. */
int qcbmi_edit_make_ready(struct qcbm_edit *edit, struct qcbm_error *err);

/* Read header and bitmaps of @handle again. */
int qcbmi_reload(struct qcbm_image *handle, struct qcbm_error *err);

#endif
