/* q2_refcount.c - refcount blocks of all seven widths
 * SPDX-License-Identifier: MIT */
#include "format/q2_refcount.h"

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
