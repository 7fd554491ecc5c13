/* bitset_bulk.c - very many bits of a set at once: words, bytes, another set
 * SPDX-License-Identifier: MIT */
#include <assert.h>
#include <stdlib.h>

#include "base/bits.h"
#include "base/bitset_chunk.h"
#include "base/bytes.h"

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
        ret = qcbmi_bitset_set(to, base + from->at[i], base + from->at[i] + 1, err);
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
            qcbmi_bitset_make_uniform(to, i, true);
            continue;
        }
        if (is_listed(from->chunks[i])) {
            ret = or_listed(to, i, list_of(from->chunks[i]), err);
            continue;
        }
        chunk = qcbmi_bitset_make_mixed(to, i, err);
        if (!chunk)
            return QCBM_E_NOMEM;
        if (or_chunk(chunk, from->chunks[i]))
            qcbmi_bitset_make_uniform(to, i, true);
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
        bits += u64_count(words[i / 64]);
    if (!is_mixed(chunk) && bits <= FEW)
        return or_few(set, index * QCBMI_BITSET_CHUNK_BITS + lo, words, n, err);
    chunk = qcbmi_bitset_make_mixed(set, index, err);
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
        qcbmi_bitset_make_uniform(set, index, ones);
        return 0;
    }
    chunk = qcbmi_bitset_make_mixed(set, index, err);
    if (!chunk)
        return QCBM_E_NOMEM;
    memcpy(chunk + skip, in, (size_t)div_up(n_bits, 8));
    if (uniform && skip * 8 + n_bits == bits && qcbmi_bitset_find_in(chunk, 0, !ones) >= bits)
        qcbmi_bitset_make_uniform(set, index, ones);
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

uint64_t qcbmi_bitset_first_outside(const struct qcbmi_bitset *set, const struct qcbmi_bitset *other)
{
    uint8_t bits[CHUNK_BYTES], without[CHUNK_BYTES];

    for (uint64_t i = 0; i < set->n_chunks; i++) {
        if (!set->chunks[i] || (i + 1 < other->n_chunks && other->chunks[i] == qcbmi_bitset_full))
            continue;
        qcbmi_bitset_load_bytes(set, i * CHUNK_BYTES, bits, CHUNK_BYTES);
        qcbmi_bitset_load_bytes(other, i * CHUNK_BYTES, without, CHUNK_BYTES);
        for (uint32_t at = 0; at < CHUNK_BYTES; at += 8) {
            uint64_t outside = le64_load(bits + at) & ~le64_load(without + at);

            if (outside)
                return i * QCBMI_BITSET_CHUNK_BITS + at * 8 + (uint64_t)__builtin_ctzll(outside);
        }
    }
    return set->n_bits;
}

int qcbmi_bitset_extend(struct qcbmi_bitset *set, uint64_t n_bits, struct qcbm_error *err)
{
    uint64_t old = set->n_bits;
    struct qcbmi_bitset wide;
    int ret = qcbmi_bitset_init(&wide, n_bits, err);

    assert(n_bits >= old);
    if (ret < 0)
        return ret;
    memcpy(wide.chunks, set->chunks, set->n_chunks * sizeof(set->chunks[0]));
    free(set->chunks);
    *set = wide;
    /* what the chunk that was the last one has behind the old end was left to chance */
    return qcbmi_bitset_clear(set, old, u64_min(n_bits, align_up(old, QCBMI_BITSET_CHUNK_BITS)), err);
}
