/* text_in.h - text of any length from a file, looked at one byte at a time
 * SPDX-License-Identifier: MIT
 */
#ifndef QCBM_TOOL_TEXT_IN_H
#define QCBM_TOOL_TEXT_IN_H

#include <stdio.h>

#include "qcbm.h"

struct text_in {
    FILE *in;
    const char *what; /* it should be, for errors: "no list of objects in JSON" */
    uint64_t at;      /* of the byte that comes next */
    struct qcbm_error *err;
    size_t next, len; /* in bytes */
    unsigned char bytes[1 << 16];
};

/* @err is filled by whatever fails from here on. */
void text_in_begin(struct text_in *t, FILE *in, const char *what, struct qcbm_error *err);

/* Fill the error, with the place that has been read up to: returns QCBM_E_CORRUPT, or QCBM_E_IO if reading failed. */
int text_in_fail(struct text_in *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The same, with t->what in front. */
int text_in_fail_form(struct text_in *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int text_in_fail_missing(struct text_in *t, char wanted);

/* More bytes; false at the end, or if reading failed. */
bool text_in_fill(struct text_in *t);

/* The next byte, which stays; -1 at the end, or if reading failed. */
static inline int text_in_peek(struct text_in *t)
{
    return t->next < t->len || text_in_fill(t) ? t->bytes[t->next] : -1;
}

/* Pass over a byte that was seen. */
static inline void text_in_pass(struct text_in *t)
{
    t->next++;
    t->at++;
}

static inline bool text_in_take(struct text_in *t, char wanted)
{
    bool there = text_in_peek(t) == (unsigned char)wanted;

    if (there)
        text_in_pass(t);
    return there;
}

/* White space of JSON and XML; of one line. */
void text_in_space(struct text_in *t);
void text_in_blanks(struct text_in *t);

/* Nothing but white space may follow. Returns 0 or fails. */
int text_in_end(struct text_in *t);

static inline bool text_is_digit(int c)
{
    return c >= '0' && c <= '9';
}

/* A number in decimal without leading zeros, of which one digit at least must be there; UINT64_MAX for all that are
 * larger than that. Returns 0 or fails. */
int text_in_u64(struct text_in *t, uint64_t *out);

#endif
