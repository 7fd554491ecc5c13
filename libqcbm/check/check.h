/* check.h - a check as a whole, for those who go on with what it knows: qcbm_check() is the three in a row
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_CHECK_H
#define QCBMI_CHECK_H

#include "check/check_parts.h"

/* Fills @c, which borrows @handle and @err and is to be freed if this returns 0. */
int qcbmi_check_begin(struct check *c, struct qcbm_image *handle, const struct qcbm_check_options *options,
                      struct qcbm_error *err);
int qcbmi_check_run(struct check *c);
void qcbmi_check_free(struct check *c);

#endif
