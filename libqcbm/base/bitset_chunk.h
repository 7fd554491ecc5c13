/* bitset_chunk.h - what a set of bits is made of: for bitset.c and bitset_bulk.c alone
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_BITSET_CHUNK_H
#define QCBMI_BITSET_CHUNK_H

#include <string.h>

#include "base/bitset.h"
#include "base/checked.h"

#define CHUNK_BYTES (QCBMI_BITSET_CHUNK_BITS / 8)

/* Only its address counts; it is never read or written. */
extern uint8_t qcbmi_bitset_full[2];

/* A chunk with few bits set is a list of them, in order: a hostile file is sparse and long, and names one cluster in
 * each stretch of it, so that 4 KiB for each would make gigabytes of a few megabytes. A list is told by its address. */
#define FEW 32u         /* bits that are set one by one */
#define MAX_LISTED 512u /* 1 KiB: no more than what named so many things took in the file */

struct listed {
    uint16_t n, capacity;
    uint16_t at[];
};

static inline bool is_listed(const uint8_t *chunk)
{
    return (uintptr_t)chunk & 1;
}

static inline struct listed *list_of(const uint8_t *chunk)
{
    return (struct listed *)((uintptr_t)chunk & ~(uintptr_t)1);
}

static inline uint8_t *chunk_of(struct listed *list)
{
    return (uint8_t *)((uintptr_t)list | 1);
}

/* Neither all clear nor all set, and not a list: CHUNK_BYTES of bits. */
static inline bool is_mixed(const uint8_t *chunk)
{
    return chunk && chunk != qcbmi_bitset_full && !is_listed(chunk);
}

/* How many of the list come before bit @lo. */
static inline uint32_t listed_before(const struct listed *list, uint32_t lo)
{
    uint32_t first = 0, end = list->n;

    while (first < end) {
        uint32_t mid = first + (end - first) / 2;

        if (list->at[mid] < lo)
            first = mid + 1;
        else
            end = mid;
    }
    return first;
}

/* Bits of chunk @index that the set has. */
static inline uint32_t chunk_bits(const struct qcbmi_bitset *set, uint64_t index)
{
    return (uint32_t)u64_min(set->n_bits - index * QCBMI_BITSET_CHUNK_BITS, QCBMI_BITSET_CHUNK_BITS);
}

/* Masks of the first and the last byte of the bits [lo, hi) of a chunk, lo < hi. */
static inline uint8_t head_mask(uint32_t lo)
{
    return (uint8_t)(0xffu << (lo & 7));
}

static inline uint8_t tail_mask(uint32_t hi)
{
    return (uint8_t)(0xffu >> (7 - ((hi - 1) & 7)));
}

/* All bits of chunk @index become @value. */
void qcbmi_bitset_make_uniform(struct qcbmi_bitset *set, uint64_t index, bool value);
/* The bytes of chunk @index, to be written to; NULL without memory. */
uint8_t *qcbmi_bitset_make_mixed(struct qcbmi_bitset *set, uint64_t index, struct qcbm_error *err);
/* First bit >= @lo of a mixed chunk that equals @value, QCBMI_BITSET_CHUNK_BITS if there is none. */
uint32_t qcbmi_bitset_find_in(const uint8_t *chunk, uint32_t lo, bool value);

#endif
