/* text_out.c - text of very many lines, gathered in one large buffer; numbers without printf()
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>

#include "text_out.h"

void text_begin(struct text_out *t, FILE *out)
{
    t->out = out;
    t->n = 0;
    t->lost = 0;
}

int text_flush(struct text_out *t)
{
    if (t->n && fwrite(t->bytes, 1, t->n, t->out) != t->n && !t->lost)
        t->lost = errno;
    t->n = 0;
    return t->lost;
}

void text_put(struct text_out *t, const char *bytes, size_t len)
{
    while (len) {
        char *at = text_room(t);
        size_t part = len < TEXT_LINE ? len : TEXT_LINE;

        text_end(t, text_bytes(at, bytes, part));
        bytes += part;
        len -= part;
    }
}

/* Two digits a step, from a table of all pairs. */
static void put_pair(char *at, uint32_t value)
{
    static const char pairs[] =
        "0001020304050607080910111213141516171819202122232425262728293031323334353637383940414243"
        "4445464748495051525354555657585960616263646566676869707172737475767778798081828384858687"
        "888990919293949596979899";

    memcpy(at, pairs + 2 * (size_t)value, 2);
}

/* 8 digits; the two halves do not wait for one another. */
static void put_8(char *at, uint32_t value)
{
    uint32_t high = value / 10000, low = value % 10000;

    put_pair(at, high / 100);
    put_pair(at + 2, high % 100);
    put_pair(at + 4, low / 100);
    put_pair(at + 6, low % 100);
}

/* Without leading zeros: below 10^8. */
static char *put_short(char *at, uint32_t value)
{
    char digits[8];
    unsigned skip;

    if (value < 10) {
        *at = (char)('0' + value);
        return at + 1;
    }
    put_8(digits, value);
    skip = value < 10000 ? (value < 100    ? 6
                            : value < 1000 ? 5
                                           : 4)
                         : (value < 1000000 ? (value < 100000 ? 3 : 2) : (value < 10000000 ? 1 : 0));
    memcpy(at, digits + skip, sizeof(digits) - skip);
    return at + (sizeof(digits) - skip);
}

char *text_u64(char *at, uint64_t value)
{
    const uint64_t group = 100000000;

    if (value < group)
        return put_short(at, (uint32_t)value);
    at = text_u64(at, value / group); /* at most twice */
    put_8(at, (uint32_t)(value % group));
    return at + 8;
}

char *text_u64_right(char *at, uint64_t value, unsigned width)
{
    char digits[TEXT_NUMBER];
    size_t n = (size_t)(text_u64(digits, value) - digits);

    for (; width > n; width--)
        *at++ = ' ';
    return text_bytes(at, digits, n);
}

char *text_hex_left(char *at, uint64_t value, unsigned width)
{
    static const char hex[] = "0123456789abcdef";
    unsigned digits = value ? (67 - (unsigned)__builtin_clzll(value)) / 4 : 1;
    char *end = at + width;

    if (value)
        at = text_literal(at, "0x");
    for (unsigned i = digits; i-- > 0;)
        *at++ = hex[value >> (4 * i) & 15];
    while (at < end)
        *at++ = ' ';
    return at;
}
