/* text_out.c - text of very many lines, gathered in one large buffer; numbers without printf()
 * SPDX-License-Identifier: MIT
 */
#include "text_out.h"

#include <errno.h>
#include <stdbool.h>
#include <unistd.h>

#define GROUP UINT64_C(100000000) /* 8 digits, which fit into a register */

void text_begin(struct text_out *t, FILE *out)
{
    t->out = out;
    t->n = 0;
    t->lost = 0;
}

/* A FILE fills its buffer with the first of many bytes, and writes only the others from where they are. */
static bool write_past_buffer(FILE *out, const char *bytes, size_t len)
{
    if (fflush(out) != 0)
        return false;
    while (len) {
        ssize_t n = write(fileno(out), bytes, len);

        if (n < 0 && errno != EINTR)
            return false;
        bytes += n > 0 ? n : 0;
        len -= n > 0 ? (size_t)n : 0;
    }
    return true;
}

static bool write_out(const struct text_out *t)
{
    if (t->n > TEXT_BYTES / 2 && fileno(t->out) >= 0)
        return write_past_buffer(t->out, t->bytes, t->n);
    return t->n == 0 || fwrite(t->bytes, 1, t->n, t->out) == t->n;
}

int text_flush(struct text_out *t)
{
    if (!write_out(t) && !t->lost)
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

/* The 8 digits of a number below 10^8 as numbers, the first one in the lowest byte: halves, pairs and digits are taken
 * apart side by side, by multiplying with 2^20 / 100 and 2^10 / 10. */
static uint64_t digits_of(uint32_t value)
{
    uint64_t fours = value / 10000 | (uint64_t)(value % 10000) << 32, pairs, hundreds, tens;

    hundreds = (fours * 10486 >> 20) & UINT64_C(0x0000007f0000007f);
    pairs = hundreds | (fours - 100 * hundreds) << 16;
    tens = (pairs * 103 >> 10) & UINT64_C(0x000f000f000f000f);
    return tens | (pairs - 10 * tens) << 8;
}

static void put_8(char *at, uint64_t digits)
{
    uint64_t text = digits | UINT64_C(0x3030303030303030);

#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    text = __builtin_bswap64(text);
#endif
    memcpy(at, &text, sizeof(text));
}

char *text_u64(char *at, uint64_t value)
{
    const uint64_t last = UINT64_C(1) << 56;
    unsigned zeros;

    if (value >= GROUP) {
        at = text_u64(at, value / GROUP); /* at most twice */
        put_8(at, digits_of((uint32_t)(value % GROUP)));
        return at + 8;
    }
    value = digits_of((uint32_t)value);
    zeros = (unsigned)__builtin_ctzll(value | last) / 8;
    put_8(at, value >> (8 * zeros)); /* behind the number there are zeros, which are written over */
    return at + 8 - zeros;
}

char *text_u64_after(char *at, uint64_t value, struct text_high *high)
{
    uint64_t upper = value / GROUP;

    if (upper == 0)
        return text_u64(at, value);
    if (upper != high->value) {
        high->len = (size_t)(text_u64(high->digits, upper) - high->digits);
        high->value = upper;
    }
    memcpy(at, high->digits, sizeof(high->digits)); /* of known size; what is behind its end is written over */
    at += high->len;
    put_8(at, digits_of((uint32_t)(value % GROUP)));
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
