/* bitset.c - sparse set of bits: chunks all clear or all set take no memory, those with few bits little
 * SPDX-License-Identifier: MIT
 *
 * Bit i of a chunk is bit i % 8 of its byte i / 8, which is also the order of bitmap data on disk. What the last chunk
 * holds at and past n_bits is left to chance; every reader stops at n_bits. */
#include "base/bitset.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/checked.h"
#include "base/error.h"

#define CHUNK_BYTES (QCBMI_BITSET_CHUNK_BITS / 8)

/* Only its address counts; it is never read or written. */
static uint8_t qcbmi_bitset_full[2] __attribute__((aligned(2)));

/* A chunk with few bits set is a list of them, in order: a hostile file is sparse and long, and names one cluster in each
 * stretch of it, so that 4 KiB for each would make gigabytes of a few megabytes. A list is told by its address. */
#define FEW 32u         /* bits that are set one by one */
#define MAX_LISTED 512u /* 1 KiB: no more than what named so many things took in the file */

struct listed {
    uint16_t n, capacity;
    uint16_t at[];
};

static bool is_listed(const uint8_t *chunk)
{
    return (uintptr_t)chunk & 1;
}

static struct listed *list_of(const uint8_t *chunk)
{
    return (struct listed *)((uintptr_t)chunk & ~(uintptr_t)1);
}

static uint8_t *chunk_of(struct listed *list)
{
    return (uint8_t *)((uintptr_t)list | 1);
}

/* Neither all clear nor all set, and not a list: CHUNK_BYTES of bits. */
static bool is_mixed(const uint8_t *chunk)
{
    return chunk && chunk != qcbmi_bitset_full && !is_listed(chunk);
}

/* How many of the list come before bit @lo. */
static uint32_t listed_before(const struct listed *list, uint32_t lo)
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
static uint32_t chunk_bits(const struct qcbmi_bitset *set, uint64_t index)
{
    return (uint32_t)u64_min(set->n_bits - index * QCBMI_BITSET_CHUNK_BITS, QCBMI_BITSET_CHUNK_BITS);
}

static void make_uniform(struct qcbmi_bitset *set, uint64_t index, bool value)
{
    if (is_listed(set->chunks[index]))
        free(list_of(set->chunks[index]));
    else if (is_mixed(set->chunks[index]))
        free(set->chunks[index]);
    set->chunks[index] = value ? qcbmi_bitset_full : NULL;
}

/* The bytes of chunk @index, to be written to; NULL without memory. */
static uint8_t *make_mixed(struct qcbmi_bitset *set, uint64_t index, struct qcbm_error *err)
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
    make_uniform(set, index, false);
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
        make_uniform(set, index, false);
}

/* Masks of the first and the last byte of the bits [lo, hi) of a chunk, lo < hi. */
static uint8_t head_mask(uint32_t lo)
{
    return (uint8_t)(0xffu << (lo & 7));
}

static uint8_t tail_mask(uint32_t hi)
{
    return (uint8_t)(0xffu >> (7 - ((hi - 1) & 7)));
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

/* By pairs, fours and bytes: what the compiler calls for processors without such an instruction is slower. */
static uint32_t count_word(uint64_t word)
{
    word -= word >> 1 & UINT64_C(0x5555555555555555);
    word = (word & UINT64_C(0x3333333333333333)) + (word >> 2 & UINT64_C(0x3333333333333333));
    word = (word + (word >> 4)) & UINT64_C(0x0f0f0f0f0f0f0f0f);
    return (uint32_t)(word * UINT64_C(0x0101010101010101) >> 56);
}

static uint32_t count_bytes(const uint8_t *p, size_t len)
{
    uint32_t n = 0;
    uint64_t word;

    for (; len >= sizeof(word); p += sizeof(word), len -= sizeof(word)) {
        memcpy(&word, p, sizeof(word));
        n += count_word(word);
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

/* First bit >= @lo of a mixed chunk that equals @value, QCBMI_BITSET_CHUNK_BITS if there is none. */
static uint32_t find_bit(const uint8_t *chunk, uint32_t lo, bool value)
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
        make_uniform(set, i, false);
}

/* Memory for a change of bits [@lo, @hi) of a chunk, which then cannot fail. */
static int reserve(struct qcbmi_bitset *set, uint64_t index, uint32_t lo, uint32_t hi, bool value,
                   struct qcbm_error *err)
{
    if (fits_list(set, index, lo, hi, value))
        return !value || make_room(set, index, hi - lo, err) ? 0 : QCBM_E_NOMEM;
    return make_mixed(set, index, err) ? 0 : QCBM_E_NOMEM;
}

/* Of a range only the first and the last chunk can need memory. The last one gets it before the first is changed, so that
 * all of the range changes or nothing. */
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
            make_uniform(set, index, true);
        return 0;
    }
    put_bits(set->chunks[index], lo, hi, value);
    /* Whoever fills a chunk from front to back leaves it uniform here; one look gives its memory back. */
    if (hi == bits && find_bit(set->chunks[index], 0, !value) >= bits)
        make_uniform(set, index, value);
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
            make_uniform(set, index, value);
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

/* As find_bit(), in a list. */
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
            at = find_bit(chunk, (uint32_t)(from - base), value);
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

/* dst |= src; are all bits of dst set now? */
static bool or_chunk(uint8_t *dst, const uint8_t *src)
{
    uint64_t all = UINT64_MAX, a, b;

    for (size_t i = 0; i < CHUNK_BYTES; i += sizeof(a)) {
        memcpy(&a, dst + i, sizeof(a));
        memcpy(&b, src + i, sizeof(b));
        a |= b;
        all &= a;
        memcpy(dst + i, &a, sizeof(a));
    }
    return all == UINT64_MAX;
}

static int or_listed(struct qcbmi_bitset *to, uint64_t index, const struct listed *from, struct qcbm_error *err)
{
    uint64_t base = index * QCBMI_BITSET_CHUNK_BITS;
    int ret = 0;

    for (uint32_t i = 0; ret == 0 && i < from->n && base + from->at[i] < to->n_bits; i++)
        ret = change_range(to, base + from->at[i], base + from->at[i] + 1, true, err);
    return ret;
}

int qcbmi_bitset_or(struct qcbmi_bitset *to, const struct qcbmi_bitset *from, struct qcbm_error *err)
{
    int ret = 0;

    assert(to->n_bits == from->n_bits);
    for (uint64_t i = 0; ret == 0 && i < to->n_chunks; i++) {
        uint8_t *chunk;

        if (!from->chunks[i] || to->chunks[i] == qcbmi_bitset_full)
            continue;
        if (from->chunks[i] == qcbmi_bitset_full) {
            make_uniform(to, i, true);
            continue;
        }
        if (is_listed(from->chunks[i])) {
            ret = or_listed(to, i, list_of(from->chunks[i]), err);
            continue;
        }
        chunk = make_mixed(to, i, err);
        if (!chunk)
            return QCBM_E_NOMEM;
        if (or_chunk(chunk, from->chunks[i]))
            make_uniform(to, i, true);
    }
    return ret;
}

/* What words of bits are: all clear, all set up to bit @n, or something else. */
static enum qcbmi_bitset_state words_state(const uint64_t *words, uint32_t n)
{
    uint32_t whole = n / 64;
    uint64_t tail = n % 64 ? UINT64_MAX >> (64 - n % 64) : 0, any = 0, all = UINT64_MAX;

    for (uint32_t i = 0; i < whole; i++) {
        any |= words[i];
        all &= words[i];
    }
    if (tail) {
        any |= words[whole] & tail;
        all &= words[whole] | ~tail;
    }
    return any == 0 ? QCBMI_BITS_CLEAR : all == UINT64_MAX ? QCBMI_BITS_SET : QCBMI_BITS_MIXED;
}

/* Bit after bit: as long as they are few, a list is less than what a chunk takes. */
static int or_few(struct qcbmi_bitset *set, uint64_t first, const uint64_t *words, uint32_t n, struct qcbm_error *err)
{
    int ret = 0;

    for (uint32_t i = 0; ret == 0 && i < n; i += 64)
        for (uint64_t rest = words[i / 64]; ret == 0 && rest; rest &= rest - 1) {
            uint32_t bit = i + (uint32_t)__builtin_ctzll(rest);

            ret = bit < n ? qcbmi_bitset_set(set, first + bit, first + bit + 1, err) : 0;
        }
    return ret;
}

/* @n bits of chunk @index from bit @lo on, not all of them alike. */
static int or_part(struct qcbmi_bitset *set, uint64_t index, uint32_t lo, const uint64_t *words, uint32_t n,
                   struct qcbm_error *err)
{
    uint8_t *chunk = set->chunks[index], *at;
    uint32_t bits = 0;

    if (chunk == qcbmi_bitset_full)
        return 0;
    for (uint32_t i = 0; !is_mixed(chunk) && bits <= FEW && i < n; i += 64)
        bits += (uint32_t)__builtin_popcountll(words[i / 64]);
    if (!is_mixed(chunk) && bits <= FEW)
        return or_few(set, index * QCBMI_BITSET_CHUNK_BITS + lo, words, n, err);
    chunk = make_mixed(set, index, err);
    if (!chunk)
        return QCBM_E_NOMEM;
    at = chunk + lo / 8;
    for (uint32_t i = 0; i < n / 64; i++)
        le64_store(at + i * 8, le64_load(at + i * 8) | words[i]);
    if (n % 64)
        le64_store(at + n / 64 * 8, le64_load(at + n / 64 * 8) | (words[n / 64] & UINT64_MAX >> (64 - n % 64)));
    return 0;
}

int qcbmi_bitset_or_words(struct qcbmi_bitset *set, uint64_t first, const uint64_t *words, uint64_t n,
                          struct qcbm_error *err)
{
    uint64_t end = first < set->n_bits ? first + u64_min(n, set->n_bits - first) : first;
    int ret = 0;

    assert(first % 64 == 0);
    while (ret == 0 && first < end) {
        uint64_t index = first / QCBMI_BITSET_CHUNK_BITS, base = index * QCBMI_BITSET_CHUNK_BITS;
        uint32_t count = (uint32_t)(u64_min(end, base + QCBMI_BITSET_CHUNK_BITS) - first);
        enum qcbmi_bitset_state state = words_state(words, count);

        if (state == QCBMI_BITS_SET)
            ret = qcbmi_bitset_set(set, first, first + count, err);
        else if (state == QCBMI_BITS_MIXED)
            ret = or_part(set, index, (uint32_t)(first - base), words, count, err);
        first += count;
        words += count / 64;
    }
    return ret;
}

/* Zero what lies at and past n_bits in @out, whose first byte is byte @first_byte of the set. */
static void mask_tail(const struct qcbmi_bitset *set, uint64_t first_byte, uint8_t *out, size_t len)
{
    uint64_t whole = set->n_bits / 8, keep;

    if (first_byte >= whole)
        keep = 0;
    else
        keep = u64_min(whole - first_byte, len);
    if (keep == len)
        return;
    if (first_byte + keep == whole) {
        out[keep] = (uint8_t)(out[keep] & ((1u << (set->n_bits & 7)) - 1));
        keep++;
    }
    memset(out + keep, 0, len - (size_t)keep);
}

/* Bytes [@skip, @skip + @n) of the chunk that @list is. */
static void load_listed(const struct listed *list, size_t skip, uint8_t *out, size_t n)
{
    memset(out, 0, n);
    for (uint32_t i = listed_before(list, (uint32_t)skip * 8); i < list->n && list->at[i] / 8 < skip + n; i++)
        out[list->at[i] / 8 - skip] |= (uint8_t)(1u << (list->at[i] % 8));
}

void qcbmi_bitset_load_bytes(const struct qcbmi_bitset *set, uint64_t first_byte, uint8_t *out, size_t len)
{
    uint64_t at = first_byte;
    size_t done = 0;

    while (done < len && at / CHUNK_BYTES < set->n_chunks) {
        const uint8_t *chunk = set->chunks[at / CHUNK_BYTES];
        size_t skip = (size_t)(at % CHUNK_BYTES);
        size_t n = (size_t)u64_min(CHUNK_BYTES - skip, len - done);

        if (is_listed(chunk))
            load_listed(list_of(chunk), skip, out + done, n);
        else if (is_mixed(chunk))
            memcpy(out + done, chunk + skip, n);
        else
            memset(out + done, chunk ? 0xff : 0, n);
        done += n;
        at += n;
    }
    memset(out + done, 0, len - done);
    mask_tail(set, first_byte, out, len);
}

/* Are the first @n_bits bits of @in all @value? */
static bool bits_are(const uint8_t *in, uint64_t n_bits, bool value)
{
    const uint8_t want = value ? 0xff : 0;
    size_t whole = (size_t)(n_bits / 8);

    /* equal neighbours from end to end, and the first one right */
    if (whole && (in[0] != want || memcmp(in, in + 1, whole - 1) != 0))
        return false;
    return n_bits % 8 == 0 || ((in[whole] ^ want) & tail_mask((uint32_t)(n_bits & 7))) == 0;
}

/* Replace @n_bits bits of chunk @index from byte @skip on. */
static int store_chunk(struct qcbmi_bitset *set, uint64_t index, size_t skip, const uint8_t *in, uint32_t n_bits,
                       struct qcbm_error *err)
{
    bool ones = bits_are(in, n_bits, true);
    bool uniform = ones || bits_are(in, n_bits, false);
    uint32_t bits = chunk_bits(set, index);
    uint8_t *chunk;

    if (uniform && set->chunks[index] == (ones ? qcbmi_bitset_full : NULL))
        return 0;
    if (uniform && n_bits == bits) {
        make_uniform(set, index, ones);
        return 0;
    }
    chunk = make_mixed(set, index, err);
    if (!chunk)
        return QCBM_E_NOMEM;
    memcpy(chunk + skip, in, (size_t)div_up(n_bits, 8));
    if (uniform && skip * 8 + n_bits == bits && find_bit(chunk, 0, !ones) >= bits)
        make_uniform(set, index, ones);
    return 0;
}

int qcbmi_bitset_store_bytes(struct qcbmi_bitset *set, uint64_t first_byte, const uint8_t *in, size_t len,
                             struct qcbm_error *err)
{
    uint64_t end_byte = div_up(set->n_bits, 8);

    while (len && first_byte < end_byte) {
        uint64_t index = first_byte / CHUNK_BYTES;
        size_t skip = (size_t)(first_byte % CHUNK_BYTES);
        size_t n = (size_t)u64_min(CHUNK_BYTES - skip, len);
        uint32_t bits = (uint32_t)u64_min(chunk_bits(set, index) - skip * 8, (uint64_t)n * 8);
        int ret = store_chunk(set, index, skip, in, bits, err);

        if (ret < 0)
            return ret;
        first_byte += n;
        in += n;
        len -= n;
    }
    return 0;
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
