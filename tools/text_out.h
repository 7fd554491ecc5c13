/* text_out.h - text of very many lines, gathered in one large buffer; numbers without printf()
 * SPDX-License-Identifier: MIT
 *
 * A line is put together at a pointer: text_room() gives it, text_literal() and its like move it on, text_end() takes
 * it back. */
#ifndef QCBM_TOOL_TEXT_OUT_H
#define QCBM_TOOL_TEXT_OUT_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum {
    TEXT_LINE = 512,       /* bytes that text_room() has room for */
    TEXT_NUMBER = 24,      /* what text_u64() writes at most, of which 20 are digits */
    TEXT_BYTES = 1u << 17, /* gathered before they are handed on; more would leave the near cache: a third slower */
};

struct text_out {
    FILE *out;
    size_t n;
    int lost; /* errno of the first write that failed, else 0 */
    char bytes[TEXT_BYTES];
};

void text_begin(struct text_out *t, FILE *out);
/* What was gathered goes to the FILE. Without this it is dropped, as what a command that fails has not yet printed. */
int text_flush(struct text_out *t); /* t->lost */
/* Any number of bytes. */
void text_put(struct text_out *t, const char *bytes, size_t len);

static inline char *text_room(struct text_out *t)
{
    if (t->n > TEXT_BYTES - TEXT_LINE)
        text_flush(t);
    return t->bytes + t->n;
}

static inline void text_end(struct text_out *t, const char *at)
{
    t->n = (size_t)(at - t->bytes);
}

/* The number in decimal at @at, which has room for TEXT_NUMBER bytes; returns its end. */
char *text_u64(char *at, uint64_t value);
/* Numbers that come one after the other and rise: all but the last 8 digits, which are those of the number before. */
struct text_high {
    uint64_t value; /* 0: none */
    size_t len;
    char digits[16];
};
/* As text_u64(). */
char *text_u64_after(char *at, uint64_t value, struct text_high *high);
/* As "%*u" and "%-#*x" of printf() do it. */
char *text_u64_right(char *at, uint64_t value, unsigned width);
char *text_hex_left(char *at, uint64_t value, unsigned width);

static inline char *text_bytes(char *at, const char *bytes, size_t len)
{
    memcpy(at, bytes, len);
    return at + len;
}
#define text_literal(at, literal) text_bytes((at), "" literal, sizeof(literal) - 1)

#endif
