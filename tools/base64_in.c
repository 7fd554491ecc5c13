/* base64_in.c - a file of base64, read as the bytes that it stands for
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <string.h>
#include <sys/types.h>

#include "base64_in.h"

/* 0 to 63; -1: none. */
static int value_of(int c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

static int fail(struct base64_in *b, const char *fault)
{
    b->fault = fault;
    errno = EINVAL;
    return -1;
}

static int end(struct base64_in *b)
{
    if (ferror(b->from))
        return -1;
    return (b->characters + b->padding) % 4 ? fail(b, "base64 that ends within a group of four") : 0;
}

/* One or two '=' at the end of a group whose last bits are 0, and nothing behind them. */
static int pad(struct base64_in *b)
{
    b->padding++;
    if (b->characters % 4 < 2 || b->characters % 4 + b->padding > 4)
        return fail(b, "padding of base64 that is out of place");
    return b->group ? fail(b, "base64 whose last bits are not 0") : 0;
}

/* The next byte in *@out. Returns 1, 0 at the end, -1. */
static int next_byte(struct base64_in *b, char *out)
{
    for (;;) {
        int c = getc(b->from), value = value_of(c);

        if (c == EOF)
            return end(b);
        b->at++;
        if (c == ' ' || c == '\t' || c == '\r' || c == '\n')
            continue;
        if (c == '=' && pad(b) < 0)
            return -1;
        if (c == '=')
            continue;
        if (value < 0 || b->padding)
            return fail(b, value < 0 ? "a character that is none of base64" : "base64 goes on behind its padding");
        b->characters++;
        b->group = b->group << 6 | (uint32_t)value;
        b->n_bits += 6;
        if (b->n_bits < 8)
            continue;
        b->n_bits -= 8;
        *out = (char)(b->group >> b->n_bits);
        b->group &= (1u << b->n_bits) - 1;
        return 1;
    }
}

static ssize_t read_bytes(void *opaque, char *to, size_t len)
{
    size_t got = 0;
    int more = 1;

    while (got < len && (more = next_byte(opaque, to + got)) == 1)
        got++;
    return more < 0 ? -1 : (ssize_t)got;
}

FILE *base64_open(struct base64_in *b, FILE *from)
{
    cookie_io_functions_t calls = { .read = read_bytes };

    memset(b, 0, sizeof *b);
    b->from = from;
    return fopencookie(b, "r", calls);
}
