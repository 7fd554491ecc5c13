/* error.c - filling the caller's error object; names of codes; the version
 * SPDX-License-Identifier: MIT */
#include "base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define MESSAGE_SIZE sizeof(((struct qcbm_error *)0)->message)

#define TEXT_OF(x) #x
#define TEXT(x) TEXT_OF(x)

const char *qcbm_version(void)
{
    return TEXT(QCBM_VERSION_MAJOR) "." TEXT(QCBM_VERSION_MINOR) "." TEXT(QCBM_VERSION_PATCH);
}

const char *qcbm_code_name(int code)
{
#define NAME(c)                                                                                                        \
    {                                                                                                                  \
        c, #c                                                                                                          \
    }
    static const struct {
        int code;
        const char *name;
    } names[] = {
        NAME(QCBM_OK),          NAME(QCBM_E_IO),          NAME(QCBM_E_NOMEM),    NAME(QCBM_E_ARG),
        NAME(QCBM_E_NOT_QCOW2), NAME(QCBM_E_UNSUPPORTED), NAME(QCBM_E_CORRUPT),  NAME(QCBM_E_LIMIT),
        NAME(QCBM_E_LOCKED),    NAME(QCBM_E_NOTFOUND),    NAME(QCBM_E_EXISTS),   NAME(QCBM_E_INUSE),
        NAME(QCBM_E_NOSPACE),   NAME(QCBM_E_UNSAFE),      NAME(QCBM_E_READONLY), NAME(QCBM_E_CHAIN),
        NAME(QCBM_E_ABORTED),   NAME(QCBM_E_NOLOCKS),
    };
#undef NAME

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (names[i].code == code)
            return names[i].name;
    return "QCBM_E_?";
}

/* Through a buffer of its own, because an argument may be the message that is being replaced. */
static void __attribute__((format(printf, 5, 0)))
fill(struct qcbm_error *err, int code, int sys_errno, uint64_t offset, const char *fmt, va_list args)
{
    char text[MESSAGE_SIZE];

    if (vsnprintf(text, sizeof(text), fmt, args) < 0)
        text[0] = '\0';
    err->code = code;
    err->sys_errno = sys_errno;
    err->offset = offset;
    memcpy(err->message, text, strlen(text) + 1);
}

int qcbmi_fail(struct qcbm_error *err, int code, uint64_t offset, const char *fmt, ...)
{
    va_list args;

    if (err) {
        va_start(args, fmt);
        fill(err, code, 0, offset, fmt, args);
        va_end(args);
    }
    return code;
}

/* strerror() may share its buffer between threads; strerror_r() comes in two kinds. */
static const char *errno_text(int sys_errno, char *buf, size_t size)
{
#ifdef __GLIBC__
    return strerror_r(sys_errno, buf, size);
#else
    return strerror_r(sys_errno, buf, size) == 0 ? buf : "unknown error";
#endif
}

static int code_of(int sys_errno)
{
    switch (sys_errno) {
    case ENOSPC:
    case EDQUOT:
        return QCBM_E_NOSPACE;
    case ENOENT:
    case ENOTDIR:
        return QCBM_E_NOTFOUND;
    default:
        return QCBM_E_IO;
    }
}

int qcbmi_fail_errno(struct qcbm_error *err, int sys_errno, uint64_t offset, const char *fmt, ...)
{
    int code = code_of(sys_errno);
    char buf[128];
    size_t used;
    va_list args;

    if (err) {
        va_start(args, fmt);
        fill(err, code, sys_errno, offset, fmt, args);
        va_end(args);
        used = strlen(err->message);
        (void)snprintf(err->message + used, MESSAGE_SIZE - used, "%s%s", used ? ": " : "",
                       errno_text(sys_errno, buf, sizeof(buf)));
    }
    return code;
}

int qcbmi_fail_nomem(struct qcbm_error *err)
{
    return qcbmi_fail(err, QCBM_E_NOMEM, QCBM_NO_OFFSET, "out of memory");
}

int qcbmi_fail_stopped(struct qcbm_error *err)
{
    return qcbmi_fail(err, QCBM_E_ABORTED, QCBM_NO_OFFSET, "stopped by the caller");
}

int qcbmi_prefix(struct qcbm_error *err, int code, const char *fmt, ...)
{
    char text[MESSAGE_SIZE];
    size_t used, room, tail;
    va_list args;

    if (!err)
        return code;
    err->code = code;
    va_start(args, fmt);
    if (vsnprintf(text, sizeof(text), fmt, args) < 0)
        text[0] = '\0';
    va_end(args);
    used = strlen(text);
    room = sizeof(text) - 1 - used;
    tail = strnlen(err->message, MESSAGE_SIZE - 1);
    if (tail > room)
        tail = room;
    memcpy(text + used, err->message, tail);
    text[used + tail] = '\0';
    memcpy(err->message, text, used + tail + 1);
    return code;
}

/* Length of the character at @p if it is well-formed UTF-8 that does no more than show itself, else 0: no overlong
 * form, surrogate, C1 control (U+0080..9F), line separator or override of the writing direction (U+2028..2E,
 * U+2066..69). */
static size_t harmless_utf8(const uint8_t *p, size_t left)
{
    size_t n = p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : p[0] < 0xf5 ? 4 : 0;
    uint32_t code = p[0] & (0x7fu >> n);

    if (n == 0 || n > left)
        return 0;
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
        code = code << 6 | (p[i] & 0x3fu);
    }
    if (code < (n == 2 ? 0xa0u : n == 3 ? 0x800u : 0x10000u) || code > 0x10ffff || (code >= 0xd800 && code < 0xe000))
        return 0;
    return (code >= 0x2028 && code <= 0x202e) || (code >= 0x2066 && code <= 0x2069) ? 0 : n;
}

/* Length of the character at @p that does no more than show itself, 0 if there is none. */
static size_t harmless_character(const uint8_t *p, size_t left)
{
    return p[0] >= 0x20 && p[0] < 0x7f ? 1 : harmless_utf8(p, left);
}

bool qcbmi_is_printable(const void *bytes, size_t len)
{
    const uint8_t *p = bytes;
    size_t k = 1;

    for (size_t i = 0; k && i < len; i += k)
        k = harmless_character(p + i, len - i);
    return k != 0;
}

const char *qcbmi_printable(char *to, size_t to_size, const void *bytes, size_t len)
{
    static const char hex[] = "0123456789abcdef";
    const uint8_t *p = bytes;
    size_t n = 0;

    if (to_size == 0)
        return "";
    for (size_t i = 0, k; i < len; i += k ? k : 1) {
        k = harmless_character(p + i, len - i);
        if ((k ? k : 4) > to_size - 1 - n) /* neither a character nor an escape is cut in two */
            break;
        if (k) {
            memcpy(to + n, p + i, k);
            n += k;
            continue;
        }
        to[n++] = '\\';
        to[n++] = 'x';
        to[n++] = hex[p[i] >> 4];
        to[n++] = hex[p[i] & 15];
    }
    to[n] = '\0';
    return to;
}
