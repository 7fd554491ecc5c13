/* q2_refcount.c - refcount blocks of all seven widths
 * SPDX-License-Identifier: MIT */
#include "format/q2_refcount.h"

#include <string.h>

#include "base/bytes.h"

uint64_t q2_refcount_max(uint32_t order)
{
    return UINT64_MAX >> (64 - (UINT32_C(1) << order));
}

/* Entries narrower than a byte: the first one in the lowest bits. */
static unsigned shift_in_byte(uint64_t index, uint32_t order)
{
    return (unsigned)(index << order & 7);
}

uint64_t q2_refcount_get(const uint8_t *block, uint64_t index, uint32_t order)
{
    switch (order) {
    case 3:
        return block[index];
    case 4:
        return be16_load(block + index * 2);
    case 5:
        return be32_load(block + index * 4);
    case 6:
        return be64_load(block + index * 8);
    default:
        return (uint64_t)block[index << order >> 3] >> shift_in_byte(index, order) & q2_refcount_max(order);
    }
}

uint64_t q2_refcount_run_end(const uint8_t *block, uint64_t i, uint64_t n, uint32_t order)
{
    uint64_t value = q2_refcount_get(block, i, order), per_word = UINT64_C(64) >> order, k = i + 1;
    uint64_t word = value * (UINT64_MAX / q2_refcount_max(order)); /* the value over and over */

    while (k < n && k % per_word && q2_refcount_get(block, k, order) == value)
        k++;
    while (n - k >= per_word && be64_load(block + 8 * (k / per_word)) == word)
        k += per_word;
    while (k < n && q2_refcount_get(block, k, order) == value)
        k++;
    return k;
}

/* Four numbers of 16 bits, in the order of memory: which of them are not 0? */
static uint64_t used_of_four(const uint8_t *at)
{
    const uint64_t low = UINT64_C(0x7fff7fff7fff7fff);
    uint64_t word = le64_load(at), tops = (word | ((word & low) + low)) & ~low;

    return (tops >> 15) * UINT64_C(0x0001000200040008) >> 48 & 15; /* no two of the products meet */
}

/* QEMU's width, by which most blocks are. Nearly always all are in use, or none. */
static uint64_t used_of_16_bits(const uint8_t *block)
{
    uint16_t zeros = 0;
    uint64_t bits = 0;

    for (unsigned i = 0; i < 64; i++) {
        uint16_t value; /* the order of its bytes does not matter */

        memcpy(&value, block + 2 * i, sizeof(value));
        zeros = (uint16_t)(zeros + (value == 0));
    }
    if (zeros == 0 || zeros == 64)
        return zeros ? 0 : UINT64_MAX;
    for (unsigned i = 0; i < 64; i += 4)
        bits |= used_of_four(block + 2 * i) << i;
    return bits;
}

static uint64_t used_of_64(const uint8_t *block, uint32_t order)
{
    uint64_t bits = 0;

    if (order == 4)
        return used_of_16_bits(block);
    for (unsigned i = 0; i < 64; i++)
        bits |= (uint64_t)(q2_refcount_get(block, i, order) != 0) << i;
    return bits;
}

void q2_refcount_used(const uint8_t *block, uint64_t n, uint32_t order, uint64_t *bits)
{
    for (uint64_t i = 0; i < n; i += 64)
        bits[i / 64] = used_of_64(block + (i << order >> 3), order);
}

void q2_refcount_set(uint8_t *block, uint64_t index, uint32_t order, uint64_t value)
{
    switch (order) {
    case 3:
        block[index] = (uint8_t)value;
        return;
    case 4:
        be16_store(block + index * 2, (uint16_t)value);
        return;
    case 5:
        be32_store(block + index * 4, (uint32_t)value);
        return;
    case 6:
        be64_store(block + index * 8, value);
        return;
    default: {
        uint8_t *byte = block + (index << order >> 3);
        uint64_t mask = q2_refcount_max(order) << shift_in_byte(index, order);

        *byte = (uint8_t)((*byte & ~mask) | (value << shift_in_byte(index, order) & mask));
        return;
    }
    }
}
