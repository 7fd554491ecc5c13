/* bytes.h - big-endian loads and stores, bits in order, and zeros, bytewise so that any alignment will do
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_BYTES_H
#define QCBMI_BYTES_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

static inline uint16_t be16_load(const uint8_t *p)
{
    return (uint16_t)((unsigned)p[0] << 8 | p[1]);
}

static inline uint32_t be32_load(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static inline uint64_t be64_load(const uint8_t *p)
{
    return (uint64_t)be32_load(p) << 32 | be32_load(p + 4);
}

static inline uint64_t le64_load(const uint8_t *p)
{
    return (uint64_t)p[7] << 56 | (uint64_t)p[6] << 48 | (uint64_t)p[5] << 40 | (uint64_t)p[4] << 32 |
           (uint64_t)p[3] << 24 | (uint64_t)p[2] << 16 | (uint64_t)p[1] << 8 | p[0];
}

static inline void le64_store(uint8_t *p, uint64_t v)
{
    for (unsigned i = 0; i < 8; i++)
        p[i] = (uint8_t)(v >> 8 * i);
}

static inline bool bytes_are_zero(const uint8_t *p, uint64_t len)
{
    return len == 0 || (p[0] == 0 && memcmp(p, p + 1, (size_t)len - 1) == 0);
}

/* How many bytes from @p on are zeros: a multiple of 8, or all. */
static inline uint64_t bytes_zero_prefix(const uint8_t *p, uint64_t len)
{
    uint64_t n = 0;

    if (bytes_are_zero(p, len))
        return len;
    while (bytes_are_zero(p + n, 8 < len - n ? 8 : len - n))
        n += 8;
    return n;
}

static inline void be16_store(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

static inline void be32_store(uint8_t *p, uint32_t v)
{
    be16_store(p, (uint16_t)(v >> 16));
    be16_store(p + 2, (uint16_t)v);
}

static inline void be64_store(uint8_t *p, uint64_t v)
{
    be32_store(p, (uint32_t)(v >> 32));
    be32_store(p + 4, (uint32_t)v);
}

/* The bits of each byte in the other order. */
static inline void bytes_turn_bits(uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        unsigned b = bytes[i];

        b = (b & 0xf0u) >> 4 | (b & 0x0fu) << 4;
        b = (b & 0xccu) >> 2 | (b & 0x33u) << 2;
        bytes[i] = (uint8_t)((b & 0xaau) >> 1 | (b & 0x55u) << 1);
    }
}

#endif
