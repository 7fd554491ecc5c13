/* utf8.c - one character at a time from bytes that nobody has checked
 * SPDX-License-Identifier: MIT
 */
#include <stdbool.h>

#include "utf8.h"

/* Length that the first byte announces, 0 if none starts so. The old forms of 5 and 6 bytes are one bad character. */
static size_t announced_length(unsigned char lead)
{
    if (lead < 0x80)
        return 1;
    if (lead < 0xC0 || lead >= 0xFE)
        return 0;
    return lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : lead < 0xF8 ? 4 : lead < 0xFC ? 5 : 6;
}

static bool is_character(uint32_t code, size_t length)
{
    static const uint32_t smallest[] = { 0, 0, 0x80, 0x800, 0x10000, UINT32_MAX, UINT32_MAX };

    if (length == 2 && code == 0)
        return true; /* "modified UTF-8" writes NUL as C0 80 */
    if (code < smallest[length] || code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF))
        return false;
    return !(code >= 0xFDD0 && code <= 0xFDEF) && (code & 0xFFFE) != 0xFFFE; /* never characters */
}

size_t utf8_next(const unsigned char *bytes, size_t len, uint32_t *code)
{
    size_t want = announced_length(bytes[0]);
    size_t n = 1;
    uint32_t value = bytes[0];

    if (want <= 1) {
        *code = want == 1 ? value : UTF8_INVALID;
        return 1;
    }
    value &= 0x7Fu >> want;
    while (n < want && n < len && (bytes[n] & 0xC0) == 0x80)
        value = value << 6 | (bytes[n++] & 0x3Fu);
    *code = n == want && is_character(value, want) ? value : UTF8_INVALID;
    return n;
}
