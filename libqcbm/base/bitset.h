/* bitset.h - sparse set of bits: chunks all clear or all set take no memory, those with few bits little
 * SPDX-License-Identifier: MIT
 *
 * Ground of the dirty map and of the map of used clusters. Memory is a pointer per chunk of 32768 bits; 2 bytes
 * for each bit of a chunk with at most 512 of them; and 4 KiB for each other chunk that is neither empty nor full. */
#ifndef QCBMI_BITSET_H
#define QCBMI_BITSET_H

#include <stdbool.h>
#include <stdint.h>

#include "qcbm.h"

#define QCBMI_BITSET_CHUNK_BITS 32768u
#define QCBMI_BITSET_MAX_BITS (UINT64_C(1) << 36)

struct qcbmi_bitset {
    uint64_t n_bits;
    uint64_t n_chunks;
    uint8_t **chunks; /* NULL = all clear, qcbmi_bitset_full = all set (tail bits too, never shown); see bitset.c */
};

/* All clear. QCBM_E_LIMIT above QCBMI_BITSET_MAX_BITS. @set is valid for _clear_all() and _free() afterwards. */
int qcbmi_bitset_init(struct qcbmi_bitset *set, uint64_t n_bits, struct qcbm_error *err);
/* Fine on a zeroed struct. */
void qcbmi_bitset_free(struct qcbmi_bitset *set);

/* Set or clear bits [@first, @end); @first <= @end <= n_bits. On QCBM_E_NOMEM none of them has changed. */
int qcbmi_bitset_set(struct qcbmi_bitset *set, uint64_t first, uint64_t end, struct qcbm_error *err);
int qcbmi_bitset_clear(struct qcbmi_bitset *set, uint64_t first, uint64_t end, struct qcbm_error *err);
void qcbmi_bitset_clear_all(struct qcbmi_bitset *set);

bool qcbmi_bitset_get(const struct qcbmi_bitset *set, uint64_t bit);
uint64_t qcbmi_bitset_count(const struct qcbmi_bitset *set);
/* Number of set bits in [@first, @end). */
uint64_t qcbmi_bitset_count_range(const struct qcbmi_bitset *set, uint64_t first, uint64_t end);

/* First bit >= @from that is set (clear); n_bits if there is none. */
uint64_t qcbmi_bitset_next_set(const struct qcbmi_bitset *set, uint64_t from);
uint64_t qcbmi_bitset_next_clear(const struct qcbmi_bitset *set, uint64_t from);

/* First set bit of [@first, @end), or @end if there is none; looks no further. @end may lie behind n_bits. */
uint64_t qcbmi_bitset_first_in(const struct qcbmi_bitset *set, uint64_t first, uint64_t end);

/* bitset_bulk.c: */
/* First bit of @set that @other does not have, or n_bits of @set. @other may be shorter: it has nothing behind its
 * end. */
uint64_t qcbmi_bitset_first_outside(const struct qcbmi_bitset *set, const struct qcbmi_bitset *other);
/* Make it longer; new bits are clear. On QCBM_E_NOMEM it is good for _free() alone. */
int qcbmi_bitset_extend(struct qcbmi_bitset *set, uint64_t n_bits, struct qcbm_error *err);

/* @to |= @from; equal n_bits. */
int qcbmi_bitset_or(struct qcbmi_bitset *to, const struct qcbmi_bitset *from, struct qcbm_error *err);

/* Set those of bits [@first, @first + @n) whose bit in @words is set: bit i of them is bit i % 64 of word i / 64.
 * @first is a multiple of 64; what lies at or past n_bits is left out. On QCBM_E_NOMEM some of them may be set. */
int qcbmi_bitset_or_words(struct qcbmi_bitset *set, uint64_t first, const uint64_t *words, uint64_t n,
                          struct qcbm_error *err);

/* The bits as bytes, bit 0 first in each byte: @len bytes that start with bit 8 * @first_byte. Bits at or past n_bits
 * read as 0 and are ignored when stored; storing ORs nothing, it replaces. */
void qcbmi_bitset_load_bytes(const struct qcbmi_bitset *set, uint64_t first_byte, uint8_t *out, size_t len);
int qcbmi_bitset_store_bytes(struct qcbmi_bitset *set, uint64_t first_byte, const uint8_t *in, size_t len,
                             struct qcbm_error *err);

/* bitset.c again: */
/* What a chunk holds now: pointer state only, no scan of mixed chunks that happen to be uniform. */
enum qcbmi_bitset_state { QCBMI_BITS_CLEAR, QCBMI_BITS_SET, QCBMI_BITS_MIXED };
/* Are bits [@first, @end) all clear, all set, or neither? Exact. */
enum qcbmi_bitset_state qcbmi_bitset_state(const struct qcbmi_bitset *set, uint64_t first, uint64_t end);

#endif
