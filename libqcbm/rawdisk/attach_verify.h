/* attach_verify.h - does a metadata image show the raw data as it is?
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_ATTACH_VERIFY_H
#define QCBMI_ATTACH_VERIFY_H

#include "image/image.h"

/* As qcbm_attach_verify(). @data is open, or a zeroed struct: it could not be opened, which the caller tells. @o has
 * all its members. @r is filled, counts of what the caller told included. */
int qcbmi_attach_verify_entries(struct qcbmi_image *img, struct qcbmi_io *data,
                                const struct qcbm_attach_verify_options *o, struct qcbm_attach_verify_result *r,
                                struct qcbm_error *err);

#endif
