/* luks_unit.h - a LUKS header as cryptsetup writes it
 * SPDX-License-Identifier: MIT */
#ifndef LUKS_UNIT_H
#define LUKS_UNIT_H

#include "unit.h"

#include "format/luks_header.h"

static inline void put32(uint8_t *at, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        at[i] = (uint8_t)(v >> (24 - 8 * i));
}

/* aes-256 xts-plain64 sha256; slot 1 has a key, the others none. */
static inline uint8_t *good_header(void)
{
    uint8_t *h = calloc(1, LUKS_HEADER_BYTES);

    assert_non_null(h);
    memcpy(h, "LUKS\xba\xbe\0\1", 8);
    memcpy(h + 8, "aes", 3);
    memcpy(h + 40, "xts-plain64", 11);
    memcpy(h + 72, "sha256", 6);
    put32(h + 104, 4040);
    put32(h + 108, 64);
    put32(h + 164, 1000);
    memcpy(h + 168, "7cb1b1a5-6a29-4a1b-9bb4-b9a4ba1cbe11", 36);
    for (unsigned i = 0; i < 8; i++) {
        put32(h + 208 + 48 * i, i == 1 ? 0x00ac71f3 : 0x0000dead);
        put32(h + 212 + 48 * i, i == 1 ? 70000 : 0);
        put32(h + 248 + 48 * i, 8 + 504 * i);
        put32(h + 252 + 48 * i, 4000);
    }
    return h;
}

#endif
