/* unit.h - what the unit tests of base/ and format/ share
 * SPDX-License-Identifier: MIT */
#ifndef UNIT_H
#define UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "qcbm.h"

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

/* @len bytes in a block of exactly that length, so that a sanitizer sees one byte too far. */
static inline uint8_t *exact_copy(const void *bytes, size_t len)
{
    uint8_t *p = malloc(len ? len : 1);

    assert_non_null(p);
    if (len)
        memcpy(p, bytes, len);
    return p;
}

/* The call failed with @code, the error object says the same, where, and in one line of text that holds @text. */
static inline void assert_failure(int ret, const struct qcbm_error *err, int code, uint64_t offset, const char *text)
{
    if (ret != code || err->code != code || err->offset != offset || !strstr(err->message, text))
        print_error("got %d, error %s at %llu: %s\nwanted %s at %llu: %s\n", ret, qcbm_code_name(err->code),
                    (unsigned long long)err->offset, err->message, qcbm_code_name(code), (unsigned long long)offset,
                    text);
    assert_int_equal(ret, code);
    assert_int_equal(err->code, code);
    assert_int_equal(err->offset, offset);
    assert_non_null(strstr(err->message, text));
    assert_true(err->message[0] != '\0');
    assert_null(strchr(err->message, '\n'));
}

/* xorshift: the same numbers in every run */
static inline uint64_t next_random(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

#endif
