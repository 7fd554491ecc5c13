/* nbd_fail.h - the error object of the caller, filled
 * SPDX-License-Identifier: MIT */
#ifndef QCBM_NBD_FAIL_H
#define QCBM_NBD_FAIL_H

#include "qcbm-nbd.h"

/* Returns @code. @err may be NULL. What a server says is one line of plain text when it arrives there. */
int qcbmi_nbd_fail(struct qcbm_error *err, int code, int sys_errno, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

#endif
