/* counts.c - a counter for each of very many things, most of which are 0 or 1
 * SPDX-License-Identifier: MIT */
#include "base/counts.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bits.h"
#include "base/checked.h"
#include "base/error.h"

#define CHUNK QCBMI_COUNTS_CHUNK
#define WORDS (CHUNK / 64)
#define WORTH_A_LOOK 64u /* counters that were raised, before it is asked whether all of the chunk are the same now */

/* Of the counters of a chunk; beyond one bit, 1 more than log2 of the bits. */
enum { SAME = 0, BITS = 1, W8 = 4, W16 = 5, W32 = 6, W64 = 7 };

/* Loops over counters are made once for each width, so that the compiler can do many at once. */
#define ALWAYS_INLINE inline __attribute__((always_inline))
#define WIDTH_SWITCH(width, fn, ...)                                                                                   \
    ((width) == W8    ? fn(W8, __VA_ARGS__)                                                                            \
     : (width) == W16 ? fn(W16, __VA_ARGS__)                                                                           \
     : (width) == W32 ? fn(W32, __VA_ARGS__)                                                                           \
                      : fn(W64, __VA_ARGS__))

static size_t chunk_bytes(unsigned width)
{
    return (size_t)(CHUNK / 16) << width;
}

int qcbmi_counts_init(struct qcbmi_counts *c, uint64_t first, uint64_t end, struct qcbm_error *err)
{
    uint64_t n = div_up(end - first, CHUNK);

    memset(c, 0, sizeof(*c));
    c->chunks = qcbmi_alloc_array(n, sizeof(c->chunks[0]), err);
    c->width = qcbmi_alloc_array(n, 1, err);
    if (!c->chunks || !c->width) {
        qcbmi_counts_free(c);
        return QCBM_E_NOMEM;
    }
    c->first = first;
    c->end = end;
    c->n_chunks = n;
    c->bytes = n * (sizeof(c->chunks[0]) + 1);
    return 0;
}

static void make_same(struct qcbmi_counts *c, uint64_t k, uint64_t value)
{
    if (c->width[k] != SAME) {
        c->bytes -= chunk_bytes(c->width[k]);
        free(c->chunks[k].at);
    }
    c->chunks[k].same = value;
    c->width[k] = SAME;
}

void qcbmi_counts_free(struct qcbmi_counts *c)
{
    for (uint64_t k = 0; k < c->n_chunks; k++)
        make_same(c, k, 0);
    free(c->chunks);
    free(c->width);
    memset(c, 0, sizeof(*c));
}

void qcbmi_counts_cut(struct qcbmi_counts *c, uint64_t end)
{
    uint64_t keep;

    if (end >= c->end)
        return;
    end = u64_max(end, c->first);
    keep = div_up(end - c->first, CHUNK);
    for (uint64_t k = keep; k < c->n_chunks; k++)
        make_same(c, k, 0);
    c->end = end;
}

/* ---- one counter, and neighbours of one chunk ------------------------------------------------------------ */

static ALWAYS_INLINE uint64_t get_in(unsigned width, const void *chunk, uint32_t i)
{
    switch (width) {
    case BITS:
        return ((const uint64_t *)chunk)[i / 64] >> (i % 64) & 1;
    case W8:
        return ((const uint8_t *)chunk)[i];
    case W16:
        return ((const uint16_t *)chunk)[i];
    case W32:
        return ((const uint32_t *)chunk)[i];
    default:
        return ((const uint64_t *)chunk)[i];
    }
}

/* @value fits into the width. */
static ALWAYS_INLINE void set_in(unsigned width, void *chunk, uint32_t i, uint64_t value)
{
    switch (width) {
    case BITS:
        ((uint64_t *)chunk)[i / 64] = (((uint64_t *)chunk)[i / 64] & ~(UINT64_C(1) << (i % 64))) | value << (i % 64);
        return;
    case W8:
        ((uint8_t *)chunk)[i] = (uint8_t)value;
        return;
    case W16:
        ((uint16_t *)chunk)[i] = (uint16_t)value;
        return;
    case W32:
        ((uint32_t *)chunk)[i] = (uint32_t)value;
        return;
    default:
        ((uint64_t *)chunk)[i] = value;
        return;
    }
}

static uint64_t get_chunk(const struct qcbmi_counts *c, uint64_t k, uint32_t i)
{
    return c->width[k] == SAME ? c->chunks[k].same : get_in(c->width[k], c->chunks[k].at, i);
}

static ALWAYS_INLINE uint64_t bound_in(unsigned width, const void *chunk, uint32_t lo, uint32_t hi)
{
    uint64_t bits = 0;

    for (uint32_t i = lo; i < hi; i++)
        bits |= get_in(width, chunk, i);
    return bits;
}

static ALWAYS_INLINE void raise_in(unsigned width, void *chunk, uint32_t lo, uint32_t hi, uint64_t weight)
{
    for (uint32_t i = lo; i < hi; i++)
        set_in(width, chunk, i, get_in(width, chunk, i) + weight);
}

static ALWAYS_INLINE uint64_t ones_in(unsigned width, const void *chunk, uint32_t lo, uint32_t hi)
{
    uint32_t n = 0;

    for (uint32_t i = lo; i < hi; i++)
        n += get_in(width, chunk, i) == 1;
    return n;
}

/* The bits of word @w that lie in [@lo, @hi). */
static uint64_t word_mask(uint32_t w, uint32_t lo, uint32_t hi)
{
    uint64_t mask = UINT64_MAX;

    if (lo > w * 64)
        mask &= UINT64_MAX << (lo - w * 64);
    if (hi < w * 64 + 64)
        mask &= UINT64_MAX >> (w * 64 + 64 - hi);
    return mask;
}

/* A word of a chunk whose counters are bits, or all the same and 0 or 1. */
static uint64_t bits_at(const struct qcbmi_counts *c, uint64_t k, uint32_t w)
{
    return c->width[k] == SAME ? 0 - c->chunks[k].same : ((const uint64_t *)c->chunks[k].at)[w];
}

/* None of them is above it. It is exact where they are bits or all the same; else it has the bits of each. */
static uint64_t bound(const struct qcbmi_counts *c, uint64_t k, uint32_t lo, uint32_t hi)
{
    if (c->width[k] == SAME)
        return c->chunks[k].same;
    if (c->width[k] != BITS)
        return WIDTH_SWITCH(c->width[k], bound_in, c->chunks[k].at, lo, hi);
    for (uint32_t w = lo / 64; w <= (hi - 1) / 64; w++)
        if (bits_at(c, k, w) & word_mask(w, lo, hi))
            return 1;
    return 0;
}

/* ---- adding ---------------------------------------------------------------------------------------------- */

static unsigned width_for(uint64_t value)
{
    return value <= 1 ? BITS : value <= UINT8_MAX ? W8 : value <= UINT16_MAX ? W16 : value <= UINT32_MAX ? W32 : W64;
}

/* Store chunk @k with counters of @width at least, with the values that it has. */
static int widen(struct qcbmi_counts *c, uint64_t k, unsigned width, struct qcbm_error *err)
{
    void *wide;

    if (c->width[k] >= width)
        return 0;
    wide = calloc(1, chunk_bytes(width));
    if (!wide)
        return qcbmi_fail_nomem(err);
    for (uint32_t i = 0; (c->width[k] != SAME || c->chunks[k].same) && i < CHUNK; i++)
        set_in(width, wide, i, get_chunk(c, k, i));
    make_same(c, k, 0);
    c->chunks[k].at = wide;
    c->width[k] = (uint8_t)width;
    c->bytes += chunk_bytes(width);
    return 0;
}

/* All counters of a chunk are the same again, once what was missing has come: it need not be stored. */
static void settle(struct qcbmi_counts *c, uint64_t k)
{
    const uint8_t *bytes = c->chunks[k].at;
    size_t step = c->width[k] == BITS ? 1 : chunk_bytes(c->width[k]) / CHUNK;

    if ((c->width[k] != BITS || *bytes == 0 || *bytes == UINT8_MAX) &&
        memcmp(bytes, bytes + step, chunk_bytes(c->width[k]) - step) == 0)
        make_same(c, k, get_chunk(c, k, 0));
}

static void raise_stored(struct qcbmi_counts *c, uint64_t k, uint32_t lo, uint32_t hi, uint64_t weight)
{
    if (c->width[k] != BITS)
        WIDTH_SWITCH(c->width[k], raise_in, c->chunks[k].at, lo, hi, weight);
    else
        for (uint32_t w = lo / 64; w <= (hi - 1) / 64; w++)
            ((uint64_t *)c->chunks[k].at)[w] |= word_mask(w, lo, hi);
}

static int add_one_by_one(struct qcbmi_counts *c, uint64_t k, uint32_t lo, uint32_t hi, uint64_t weight, uint64_t max,
                          uint64_t *excess, struct qcbm_error *err)
{
    for (uint32_t i = lo; i < hi; i++) {
        uint64_t old = get_chunk(c, k, i), room = max - u64_min(old, max);
        uint64_t value = old + u64_min(room, weight);
        int ret = widen(c, k, width_for(u64_max(value, old)), err);

        if (ret < 0)
            return ret;
        if (weight > room)
            *excess += weight - room;
        set_in(c->width[k], c->chunks[k].at, i, value);
    }
    return 0;
}

static int add_in_chunk(struct qcbmi_counts *c, uint64_t k, uint32_t lo, uint32_t hi, uint64_t weight, uint64_t max,
                        uint64_t *excess, struct qcbm_error *err)
{
    uint64_t top = bound(c, k, lo, hi);
    int ret = 0;

    if (weight > max - u64_min(top, max)) {
        ret = add_one_by_one(c, k, lo, hi, weight, max, excess, err);
    } else if (c->width[k] == SAME && hi - lo == CHUNK) {
        c->chunks[k].same += weight;
    } else {
        ret = widen(c, k, width_for(top + weight), err);
        if (ret == 0)
            raise_stored(c, k, lo, hi, weight);
    }
    if (ret == 0 && hi == CHUNK && hi - lo >= WORTH_A_LOOK && c->width[k] != SAME)
        settle(c, k);
    return ret;
}

int qcbmi_counts_add(struct qcbmi_counts *c, uint64_t first, uint64_t n, uint64_t weight, uint64_t max,
                     uint64_t *excess, struct qcbm_error *err)
{
    uint64_t end = n > UINT64_MAX - first ? c->end : u64_min(first + n, c->end);
    int ret = 0;

    if (weight == 0)
        return 0;
    for (uint64_t i = u64_max(first, c->first); ret == 0 && i < end;) {
        uint64_t k = (i - c->first) / CHUNK, base = c->first + k * CHUNK;
        uint64_t stop = u64_min(end, base + CHUNK);

        ret = add_in_chunk(c, k, (uint32_t)(i - base), (uint32_t)(stop - base), weight, max, excess, err);
        i = stop;
    }
    return ret;
}

void qcbmi_counts_fetch(const struct qcbmi_counts *c, uint64_t index)
{
    uint64_t k = (index - c->first) / CHUNK, i = (index - c->first) % CHUNK;

    if (index >= c->first && index < c->end && c->width[k] != SAME)
        __builtin_prefetch((const uint8_t *)c->chunks[k].at + (c->width[k] == BITS ? i / 8 : i << (c->width[k] - W8)),
                           1);
}

/* ---- asking ---------------------------------------------------------------------------------------------- */

uint64_t qcbmi_counts_get(const struct qcbmi_counts *c, uint64_t index)
{
    if (index < c->first || index >= c->end)
        return 0;
    return get_chunk(c, (index - c->first) / CHUNK, (uint32_t)((index - c->first) % CHUNK));
}

static uint64_t ones_in_chunk(const struct qcbmi_counts *c, uint64_t k, uint32_t lo, uint32_t hi)
{
    uint64_t n = 0;

    if (c->width[k] == SAME)
        return c->chunks[k].same == 1 ? hi - lo : 0;
    if (c->width[k] != BITS)
        return WIDTH_SWITCH(c->width[k], ones_in, c->chunks[k].at, lo, hi);
    for (uint32_t w = lo / 64; w <= (hi - 1) / 64; w++)
        n += u64_count(bits_at(c, k, w) & word_mask(w, lo, hi));
    return n;
}

uint64_t qcbmi_counts_number_of_ones(const struct qcbmi_counts *c, uint64_t first, uint64_t end)
{
    uint64_t n = 0;

    end = u64_min(end, c->end);
    for (uint64_t i = u64_max(first, c->first); i < end;) {
        uint64_t k = (i - c->first) / CHUNK, base = c->first + k * CHUNK;
        uint64_t stop = u64_min(end, base + CHUNK);

        n += ones_in_chunk(c, k, (uint32_t)(i - base), (uint32_t)(stop - base));
        i = stop;
    }
    return n;
}

static bool holds_bits(const struct qcbmi_counts *c, uint64_t k)
{
    return c->width[k] == BITS || (c->width[k] == SAME && c->chunks[k].same <= 1);
}

/* The first of counters [@lo, @hi) of the two chunks that differs, or @hi. */
static uint32_t difference_in_chunks(const struct qcbmi_counts *a, uint64_t ka, const struct qcbmi_counts *b,
                                     uint64_t kb, uint32_t lo, uint32_t hi)
{
    unsigned width = a->width[ka];

    if (holds_bits(a, ka) && holds_bits(b, kb)) {
        for (uint32_t w = lo / 64; w <= (hi - 1) / 64; w++) {
            uint64_t other = (bits_at(a, ka, w) ^ bits_at(b, kb, w)) & word_mask(w, lo, hi);

            if (other)
                return w * 64 + (uint32_t)__builtin_ctzll(other);
        }
        return hi;
    }
    if (width == b->width[kb] && width == SAME)
        return a->chunks[ka].same == b->chunks[kb].same ? hi : lo;
    if (width == b->width[kb] && memcmp(a->chunks[ka].at, b->chunks[kb].at, chunk_bytes(width)) == 0)
        return hi;
    while (lo < hi && get_chunk(a, ka, lo) == get_chunk(b, kb, lo))
        lo++;
    return lo;
}

uint64_t qcbmi_counts_next_difference(const struct qcbmi_counts *a, const struct qcbmi_counts *b, uint64_t from,
                                      uint64_t end)
{
    for (uint64_t i = from; i < end;) {
        uint64_t ka = (i - a->first) / CHUNK, kb = (i - b->first) / CHUNK, base = a->first + ka * CHUNK;
        uint64_t stop = u64_min(end, base + CHUNK);

        i = base + difference_in_chunks(a, ka, b, kb, (uint32_t)(i - base), (uint32_t)(stop - base));
        if (i < stop)
            return i;
    }
    return end;
}

uint64_t qcbmi_counts_next_shared(const struct qcbmi_counts *c, uint64_t from, uint64_t end)
{
    end = u64_min(end, c->end);
    for (uint64_t i = u64_max(from, c->first); i < end;) {
        uint64_t k = (i - c->first) / CHUNK;
        uint64_t stop = u64_min(end, c->first + (k + 1) * CHUNK);

        for (; !holds_bits(c, k) && i < stop; i++)
            if (qcbmi_counts_get(c, i) > 1)
                return i;
        i = stop;
    }
    return end;
}

uint64_t qcbmi_counts_used_end(const struct qcbmi_counts *c, uint64_t end)
{
    end = u64_min(end, c->end);
    while (end > c->first) {
        uint64_t k = (end - 1 - c->first) / CHUNK, base = c->first + k * CHUNK;

        for (; (c->width[k] != SAME || c->chunks[k].same) && end > base; end--)
            if (qcbmi_counts_get(c, end - 1))
                return end;
        end = base;
    }
    return 0;
}
