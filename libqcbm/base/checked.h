/* checked.h - arithmetic on numbers that came from an image
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_CHECKED_H
#define QCBMI_CHECKED_H

#include <stdbool.h>
#include <stdint.h>

/* True and *@out set, unless the result does not fit into 64 bits. */
static inline bool u64_add(uint64_t a, uint64_t b, uint64_t *out)
{
    return !__builtin_add_overflow(a, b, out);
}

static inline bool u64_mul(uint64_t a, uint64_t b, uint64_t *out)
{
    return !__builtin_mul_overflow(a, b, out);
}

/* [@off, @off + @len) lies within [0, @size). */
static inline bool range_fits(uint64_t off, uint64_t len, uint64_t size)
{
    return off <= size && len <= size - off;
}

/* @align is a power of two. Rounding up saturates at the largest multiple below 2^64. */
static inline uint64_t align_down(uint64_t v, uint64_t align)
{
    return v & ~(align - 1);
}

static inline uint64_t align_up(uint64_t v, uint64_t align)
{
    uint64_t down = align_down(v, align);

    return down == v || down > UINT64_MAX - align ? down : down + align;
}

static inline bool is_aligned(uint64_t v, uint64_t align)
{
    return (v & (align - 1)) == 0;
}

/* ceil(@v / @by), @by not zero; cannot overflow. */
static inline uint64_t div_up(uint64_t v, uint64_t by)
{
    return v / by + (v % by != 0);
}

static inline uint64_t u64_min(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static inline uint64_t u64_max(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

#endif
