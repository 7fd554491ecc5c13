/* error.h - filling the caller's error object
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_ERROR_H
#define QCBMI_ERROR_H

#include <inttypes.h>

#include "qcbm.h"

/* Fill @err (may be NULL) and return @code. @offset is where the bad bytes lie, or QCBM_NO_OFFSET. */
int qcbmi_fail(struct qcbm_error *err, int code, uint64_t offset, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* As qcbmi_fail() with QCBM_E_IO (QCBM_E_NOSPACE for ENOSPC and EDQUOT), sys_errno and ": strerror" appended. */
int qcbmi_fail_errno(struct qcbm_error *err, int sys_errno, uint64_t offset, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

int qcbmi_fail_nomem(struct qcbm_error *err);
/* A callback of the caller has asked for an end. */
int qcbmi_fail_stopped(struct qcbm_error *err);

/* Put "fmt..." in front of the message that is there, and make @code the code. Returns @code, also where @err is
 * NULL. */
int qcbmi_prefix(struct qcbm_error *err, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* The ending of a word of which there are @n: "1 byte", "2 bytes". */
static inline const char *qcbmi_s(uint64_t n)
{
    return n == 1 ? "" : "s";
}

/* Bytes of an image as text for a message: what is not plain UTF-8, and what a terminal might obey, becomes \xNN; cut
 * at @to_size - 1. Returns @to. */
const char *qcbmi_printable(char *to, size_t to_size, const void *bytes, size_t len);
/* Would it come out of qcbmi_printable() as it is? */
bool qcbmi_is_printable(const void *bytes, size_t len);

#endif
