/* text_in.c - text of any length from a file, looked at one byte at a time
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "text_in.h"

void text_in_begin(struct text_in *t, FILE *in, const char *what, struct qcbm_error *err)
{
    t->in = in;
    t->what = what;
    t->err = err;
    t->at = 0;
    t->next = t->len = 0;
}

bool text_in_fill(struct text_in *t)
{
    t->next = 0;
    t->len = fread(t->bytes, 1, sizeof t->bytes, t->in);
    return t->len > 0;
}

__attribute__((format(printf, 3, 0))) static int fail(struct text_in *t, const char *what, const char *fmt,
                                                      va_list args)
{
    struct qcbm_error *err = t->err;
    size_t n;

    if (ferror(t->in)) {
        *err = (struct qcbm_error){ .code = QCBM_E_IO, .sys_errno = errno, .offset = QCBM_NO_OFFSET };
        snprintf(err->message, sizeof err->message, "could not read the list: %s", strerror(errno));
        return QCBM_E_IO;
    }
    *err = (struct qcbm_error){ .code = QCBM_E_CORRUPT, .offset = t->at };
    n = what ? (size_t)snprintf(err->message, sizeof err->message, "%s: ", what) : 0;
    vsnprintf(err->message + n, sizeof err->message - n, fmt, args);
    return QCBM_E_CORRUPT;
}

int text_in_fail(struct text_in *t, const char *fmt, ...)
{
    va_list args;
    int ret;

    va_start(args, fmt);
    ret = fail(t, NULL, fmt, args);
    va_end(args);
    return ret;
}

int text_in_fail_form(struct text_in *t, const char *fmt, ...)
{
    va_list args;
    int ret;

    va_start(args, fmt);
    ret = fail(t, t->what, fmt, args);
    va_end(args);
    return ret;
}

int text_in_fail_missing(struct text_in *t, char wanted)
{
    return text_in_fail_form(t, "'%c' is expected", wanted);
}

void text_in_blanks(struct text_in *t)
{
    for (int c = text_in_peek(t); c == ' ' || c == '\t' || c == '\r'; c = text_in_peek(t))
        text_in_pass(t);
}

void text_in_space(struct text_in *t)
{
    do
        text_in_blanks(t);
    while (text_in_take(t, '\n'));
}

int text_in_end(struct text_in *t)
{
    text_in_space(t);
    return text_in_peek(t) >= 0 || ferror(t->in) ? text_in_fail(t, "something follows the list") : 0;
}

int text_in_u64(struct text_in *t, uint64_t *out)
{
    *out = 0;
    if (text_in_take(t, '0'))
        return text_is_digit(text_in_peek(t)) ? text_in_fail_form(t, "a number with leading zeros") : 0;
    if (!text_is_digit(text_in_peek(t)))
        return text_in_fail_form(t, "a number is expected");
    for (; text_is_digit(text_in_peek(t)); text_in_pass(t)) {
        unsigned digit = (unsigned)text_in_peek(t) - '0';

        *out = *out > (UINT64_MAX - digit) / 10 ? UINT64_MAX : 10 * *out + digit;
    }
    return 0;
}
