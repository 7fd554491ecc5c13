/* session.h - an edit from its beginning to its commit, and the image's handle with it
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_SESSION_H
#define QCBMI_SESSION_H

#include "bitmap/bitmap_edit.h"

/* Run @plan and read header and bitmaps of @handle again; a failure makes the handle useless. */
int qcbmi_commit_and_reload(const struct qcbmi_plan *plan, struct qcbm_image *handle, struct qcbm_error *err);

/* Read header and bitmaps of @handle again. */
int qcbmi_reload(struct qcbm_image *handle, struct qcbm_error *err);

#endif
