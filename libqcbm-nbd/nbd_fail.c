/* nbd_fail.c - the error object of the caller, filled
 * SPDX-License-Identifier: MIT */
#include "nbd_fail.h"

#include <stdarg.h>
#include <stdio.h>

int qcbmi_nbd_fail(struct qcbm_error *err, int code, int sys_errno, const char *fmt, ...)
{
    va_list args;

    if (!err)
        return code;
    *err = (struct qcbm_error){ .code = code, .sys_errno = sys_errno, .offset = QCBM_NO_OFFSET };
    va_start(args, fmt);
    vsnprintf(err->message, sizeof(err->message), fmt, args);
    va_end(args);
    for (char *c = err->message; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f)
            *c = '?';
    return code;
}
