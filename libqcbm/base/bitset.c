/* bitset.c - sparse set of bits: chunks all clear or all set take no memory, those with few bits little
 * SPDX-License-Identifier: MIT
 *
 * Bit i of a chunk is bit i % 8 of its byte i / 8, which is also the order of bitmap data on disk. What the last chunk
 * holds at and past n_bits is left to chance; every reader stops at n_bits. */
#include "base/bitset_chunk.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bits.h"
#include "base/bytes.h"
#include "base/checked.h"
#include "base/error.h"

uint8_t qcbmi_bitset_full[2] __attribute__((aligned(2)));

void qcbmi_bitset_make_uniform(struct qcbmi_bitset *set, uint64_t index, bool value)
{
    if (is_listed(set->chunks[index]))
        free(list_of(set->chunks[index]));
    else if (is_mixed(set->chunks[index]))
        free(set->chunks[index]);
    set->chunks[index] = value ? qcbmi_bitset_full : NULL;
}

uint8_t *qcbmi_bitset_make_mixed(struct qcbmi_bitset *set, uint64_t index, struct qcbm_error *err)
{
    uint8_t *old = set->chunks[index], *chunk;

    if (is_mixed(old))
        return old;
    chunk = malloc(CHUNK_BYTES);
    if (!chunk) {
        (void)qcbmi_fail_nomem(err);
        return NULL;
    }
    memset(chunk, old == qcbmi_bitset_full ? 0xff : 0, CHUNK_BYTES);
    for (uint32_t i = 0; is_listed(old) && i < list_of(old)->n; i++)
        chunk[list_of(old)->at[i] / 8] |= (uint8_t)(1u << (list_of(old)->at[i] % 8));
    qcbmi_bitset_make_uniform(set, index, false);
    set->chunks[index] = chunk;
    return chunk;
}

/* Room for @more bits in the list of chunk @index, which is a list or all clear. */
static struct listed *make_room(struct qcbmi_bitset *set, uint64_t index, uint32_t more, struct qcbm_error *err)
{
    struct listed *list = set->chunks[index] ? list_of(set->chunks[index]) : NULL, *grown;
    uint32_t n = list ? list->n : 0, capacity = list ? list->capacity : 0;

    if (n + more <= capacity)
        return list;
    capacity = n + more <= 6 ? 6 : n + more + n / 2; /* 16 bytes at least */
    grown = realloc(list, sizeof(*list) + capacity * sizeof(list->at[0]));
    if (!grown) {
        (void)qcbmi_fail_nomem(err);
        return NULL;
    }
    grown->n = (uint16_t)n;
    grown->capacity = (uint16_t)capacity;
    set->chunks[index] = chunk_of(grown);
    return grown;
}

/* Can bits [@lo, @hi) be set, or cleared, in a list? */
static bool fits_list(const struct qcbmi_bitset *set, uint64_t index, uint32_t lo, uint32_t hi, bool value)
{
    const uint8_t *chunk = set->chunks[index];

    if (chunk && !is_listed(chunk))
        return false;
    return !value || (chunk ? list_of(chunk)->n : 0) + (hi - lo) <= MAX_LISTED;
}

/* Whatever of [@lo, @hi) is in the list goes; then all of it comes, in order. make_room() has been. */
static void change_list(struct qcbmi_bitset *set, uint64_t index, uint32_t lo, uint32_t hi, bool value)
{
    struct listed *list = list_of(set->chunks[index]);
    uint32_t first = listed_before(list, lo), behind = listed_before(list, hi), more = value ? hi - lo : 0;

    memmove(list->at + first + more, list->at + behind, (list->n - behind) * sizeof(list->at[0]));
    list->n = (uint16_t)(list->n - (behind - first) + more);
    for (uint32_t i = 0; i < more; i++)
        list->at[first + i] = (uint16_t)(lo + i);
    if (list->n == 0)
        qcbmi_bitset_make_uniform(set, index, false);
}

static void put_byte(uint8_t *byte, uint8_t mask, bool value)
{
    *byte = (uint8_t)(value ? *byte | mask : *byte & ~mask);
}

static void put_bits(uint8_t *chunk, uint32_t lo, uint32_t hi, bool value)
{
    uint32_t first = lo / 8, last = (hi - 1) / 8;

    if (first == last) {
        put_byte(chunk + first, head_mask(lo) & tail_mask(hi), value);
        return;
    }
    put_byte(chunk + first, head_mask(lo), value);
    memset(chunk + first + 1, value ? 0xff : 0, last - first - 1);
    put_byte(chunk + last, tail_mask(hi), value);
}

static uint32_t count_bytes(const uint8_t *p, size_t len)
{
    uint32_t n = 0;
    uint64_t word;

    for (; len >= sizeof(word); p += sizeof(word), len -= sizeof(word)) {
        memcpy(&word, p, sizeof(word));
        n += u64_count(word);
    }
    for (; len; p++, len--)
        n += (uint32_t)__builtin_popcount(*p);
    return n;
}

static uint32_t count_bits(const uint8_t *chunk, uint32_t lo, uint32_t hi)
{
    uint32_t first = lo / 8, last = (hi - 1) / 8;

    if (first == last)
        return (uint32_t)__builtin_popcount(chunk[first] & head_mask(lo) & tail_mask(hi));
    return (uint32_t)__builtin_popcount(chunk[first] & head_mask(lo)) +
           count_bytes(chunk + first + 1, last - first - 1) + (uint32_t)__builtin_popcount(chunk[last] & tail_mask(hi));
}

uint32_t qcbmi_bitset_find_in(const uint8_t *chunk, uint32_t lo, bool value)
{
    const uint8_t flip = value ? 0 : 0xff;
    const uint64_t dull = value ? 0 : UINT64_MAX; /* a word without what is looked for */
    uint32_t at = lo / 8;
    unsigned hits = (unsigned)(chunk[at] ^ flip) & head_mask(lo);
    uint64_t word;

    if (hits)
        return at * 8 + (uint32_t)__builtin_ctz(hits);
    at++;
    while (at + sizeof(word) <= CHUNK_BYTES) {
        memcpy(&word, chunk + at, sizeof(word));
        if (word != dull)
            break;
        at += (uint32_t)sizeof(word);
    }
    while (at < CHUNK_BYTES && chunk[at] == flip)
        at++;
    if (at == CHUNK_BYTES)
        return QCBMI_BITSET_CHUNK_BITS;
    return at * 8 + (uint32_t)__builtin_ctz((unsigned)(chunk[at] ^ flip));
}

int qcbmi_bitset_init(struct qcbmi_bitset *set, uint64_t n_bits, struct qcbm_error *err)
{
    uint64_t n_chunks = div_up(n_bits, QCBMI_BITSET_CHUNK_BITS);

    memset(set, 0, sizeof(*set));
    if (n_bits > QCBMI_BITSET_MAX_BITS)
        return qcbmi_fail(err, QCBM_E_LIMIT, QCBM_NO_OFFSET, "%" PRIu64 " bits are more than the limit of %" PRIu64,
                          n_bits, QCBMI_BITSET_MAX_BITS);
    set->chunks = qcbmi_alloc_array(n_chunks, sizeof(set->chunks[0]), err);
    if (!set->chunks)
        return QCBM_E_NOMEM;
    set->n_bits = n_bits;
    set->n_chunks = n_chunks;
    return 0;
}

void qcbmi_bitset_free(struct qcbmi_bitset *set)
{
    qcbmi_bitset_clear_all(set);
    free(set->chunks);
    memset(set, 0, sizeof(*set));
}

void qcbmi_bitset_clear_all(struct qcbmi_bitset *set)
{
    for (uint64_t i = 0; i < set->n_chunks; i++)
        qcbmi_bitset_make_uniform(set, i, false);
}

/* Memory for a change of bits [@lo, @hi) of a chunk, which then cannot fail. */
static int reserve(struct qcbmi_bitset *set, uint64_t index, uint32_t lo, uint32_t hi, bool value,
                   struct qcbm_error *err)
{
    if (fits_list(set, index, lo, hi, value))
        return !value || make_room(set, index, hi - lo, err) ? 0 : QCBM_E_NOMEM;
    return qcbmi_bitset_make_mixed(set, index, err) ? 0 : QCBM_E_NOMEM;
}

/* Of a range only the first and the last chunk can need memory. The last one gets it before the first is changed, so
 * that all of the range changes or nothing. */
static int reserve_last(struct qcbmi_bitset *set, uint64_t first, uint64_t end, bool value, struct qcbm_error *err)
{
    uint64_t index = (end - 1) / QCBMI_BITSET_CHUNK_BITS;
    uint32_t hi = (uint32_t)(end - index * QCBMI_BITSET_CHUNK_BITS);

    if (first / QCBMI_BITSET_CHUNK_BITS == index || hi == chunk_bits(set, index) ||
        set->chunks[index] == (value ? qcbmi_bitset_full : NULL))
        return 0;
    return reserve(set, index, 0, hi, value, err);
}

/* Bits [@lo, @hi) of a chunk, not all that it has, and some of them are not @value yet. */
static int change_part(struct qcbmi_bitset *set, uint64_t index, uint32_t lo, uint32_t hi, bool value,
                       struct qcbm_error *err)
{
    uint32_t bits = chunk_bits(set, index);

    if (reserve(set, index, lo, hi, value, err) < 0)
        return QCBM_E_NOMEM;
    if (!is_mixed(set->chunks[index])) {
        change_list(set, index, lo, hi, value);
        if (value && list_of(set->chunks[index])->n == bits) /* a short last chunk */
            qcbmi_bitset_make_uniform(set, index, true);
        return 0;
    }
    put_bits(set->chunks[index], lo, hi, value);
    /* Whoever fills a chunk from front to back leaves it uniform here; one look gives its memory back. */
    if (hi == bits && qcbmi_bitset_find_in(set->chunks[index], 0, !value) >= bits)
        qcbmi_bitset_make_uniform(set, index, value);
    return 0;
}

static int change_range(struct qcbmi_bitset *set, uint64_t first, uint64_t end, bool value, struct qcbm_error *err)
{
    assert(first <= end && end <= set->n_bits);
    if (first < end && reserve_last(set, first, end, value, err) < 0)
        return QCBM_E_NOMEM;
    while (first < end) {
        uint64_t index = first / QCBMI_BITSET_CHUNK_BITS;
        uint64_t base = index * QCBMI_BITSET_CHUNK_BITS;
        uint32_t bits = chunk_bits(set, index);
        uint32_t lo = (uint32_t)(first - base);
        uint32_t hi = (uint32_t)u64_min(end - base, bits);

        first = base + hi;
        if (set->chunks[index] == (value ? qcbmi_bitset_full : NULL))
            continue;
        if (lo == 0 && hi == bits)
            qcbmi_bitset_make_uniform(set, index, value);
        else if (change_part(set, index, lo, hi, value, err) < 0)
            return QCBM_E_NOMEM;
    }
    return 0;
}

int qcbmi_bitset_set(struct qcbmi_bitset *set, uint64_t first, uint64_t end, struct qcbm_error *err)
{
    return change_range(set, first, end, true, err);
}

int qcbmi_bitset_clear(struct qcbmi_bitset *set, uint64_t first, uint64_t end, struct qcbm_error *err)
{
    return change_range(set, first, end, false, err);
}

bool qcbmi_bitset_get(const struct qcbmi_bitset *set, uint64_t bit)
{
    const uint8_t *chunk;
    uint32_t at = (uint32_t)(bit % QCBMI_BITSET_CHUNK_BITS);

    if (bit >= set->n_bits)
        return false;
    chunk = set->chunks[bit / QCBMI_BITSET_CHUNK_BITS];
    if (is_listed(chunk)) {
        const struct listed *list = list_of(chunk);
        uint32_t i = listed_before(list, at);

        return i < list->n && list->at[i] == at;
    }
    return is_mixed(chunk) ? chunk[at / 8] >> (at & 7) & 1 : chunk != NULL;
}

uint64_t qcbmi_bitset_count(const struct qcbmi_bitset *set)
{
    return qcbmi_bitset_count_range(set, 0, set->n_bits);
}

uint64_t qcbmi_bitset_count_range(const struct qcbmi_bitset *set, uint64_t first, uint64_t end)
{
    uint64_t n = 0;

    assert(first <= end && end <= set->n_bits);
    while (first < end) {
        uint64_t index = first / QCBMI_BITSET_CHUNK_BITS;
        uint64_t base = index * QCBMI_BITSET_CHUNK_BITS;
        uint32_t lo = (uint32_t)(first - base);
        uint32_t hi = (uint32_t)u64_min(end - base, QCBMI_BITSET_CHUNK_BITS);
        const uint8_t *chunk = set->chunks[index];

        if (is_listed(chunk))
            n += listed_before(list_of(chunk), hi) - listed_before(list_of(chunk), lo);
        else if (is_mixed(chunk))
            n += count_bits(chunk, lo, hi);
        else if (chunk)
            n += hi - lo;
        first = base + hi;
    }
    return n;
}

/* As qcbmi_bitset_find_in(), in a list. */
static uint32_t find_listed(const struct listed *list, uint32_t lo, bool value)
{
    uint32_t i = listed_before(list, lo);

    if (value)
        return i < list->n ? list->at[i] : QCBMI_BITSET_CHUNK_BITS;
    while (i < list->n && list->at[i] == lo) {
        i++;
        lo++;
    }
    return lo;
}

/* First bit in [from, end) that equals @value, else @end; from <= end <= n_bits. */
static uint64_t find(const struct qcbmi_bitset *set, uint64_t from, uint64_t end, bool value)
{
    while (from < end) {
        uint64_t index = from / QCBMI_BITSET_CHUNK_BITS;
        uint64_t base = index * QCBMI_BITSET_CHUNK_BITS;
        const uint8_t *chunk = set->chunks[index];
        uint32_t at = QCBMI_BITSET_CHUNK_BITS;

        if (is_listed(chunk))
            at = find_listed(list_of(chunk), (uint32_t)(from - base), value);
        else if (is_mixed(chunk))
            at = qcbmi_bitset_find_in(chunk, (uint32_t)(from - base), value);
        else if ((chunk != NULL) == value)
            return from;
        if (at < QCBMI_BITSET_CHUNK_BITS)
            return u64_min(base + at, end);
        from = base + QCBMI_BITSET_CHUNK_BITS;
    }
    return end;
}

uint64_t qcbmi_bitset_next_set(const struct qcbmi_bitset *set, uint64_t from)
{
    return find(set, from, set->n_bits, true);
}

uint64_t qcbmi_bitset_first_in(const struct qcbmi_bitset *set, uint64_t first, uint64_t end)
{
    uint64_t stop = end < set->n_bits ? end : set->n_bits, hit;

    if (first >= stop)
        return end;
    if (stop - first <= 64) { /* find() looks at the rest of the chunk */
        for (hit = first; hit < stop && !qcbmi_bitset_get(set, hit);)
            hit++;
        return hit < stop ? hit : end;
    }
    hit = find(set, first, stop, true);
    return hit < stop ? hit : end;
}

uint64_t qcbmi_bitset_next_clear(const struct qcbmi_bitset *set, uint64_t from)
{
    return find(set, from, set->n_bits, false);
}

enum qcbmi_bitset_state qcbmi_bitset_state(const struct qcbmi_bitset *set, uint64_t first, uint64_t end)
{
    bool value;

    assert(first <= end && end <= set->n_bits);
    if (first == end)
        return QCBMI_BITS_CLEAR;
    value = qcbmi_bitset_get(set, first);
    if (find(set, first, end, !value) < end)
        return QCBMI_BITS_MIXED;
    return value ? QCBMI_BITS_SET : QCBMI_BITS_CLEAR;
}
