/* q2_refcount.h - refcount table entries, and refcount blocks of all seven widths
 * SPDX-License-Identifier: MIT */
#ifndef Q2_REFCOUNT_H
#define Q2_REFCOUNT_H

#include "format/q2_geometry.h"

#define Q2_REFTABLE_OFFSET_MASK UINT64_C(0xfffffffffffffe00)
#define Q2_REFTABLE_RESERVED UINT64_C(0x1ff)

/* Entry @index of a block whose entries have 1 << @order bits; the block is @block. */
uint64_t q2_refcount_get(const uint8_t *block, uint64_t index, uint32_t order);
/* One more than the last entry of those from @i on, below @n, that are the same; @i < @n. */
uint64_t q2_refcount_run_end(const uint8_t *block, uint64_t i, uint64_t n, uint32_t order);
/* A bit for each of @n refcounts from the first on, a multiple of 64: is it not 0? Bit i is bit i % 64 of word i /
 * 64. */
void q2_refcount_used(const uint8_t *block, uint64_t n, uint32_t order, uint64_t *bits);
void q2_refcount_set(uint8_t *block, uint64_t index, uint32_t order, uint64_t value);
/* Largest refcount of that width. */
uint64_t q2_refcount_max(uint32_t order);

#endif
