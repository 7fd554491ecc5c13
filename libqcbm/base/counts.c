/* counts.c - a counter for each of very many things, most of which are 0 or 1
 * SPDX-License-Identifier: MIT */
#include "base/counts.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "base/error.h"

#define CHUNK QCBMI_COUNTS_CHUNK
#define WORDS (CHUNK / 64)

/* Only its address counts. */
static uint64_t qcbmi_counts_ones[1];

static size_t chunk_bytes(unsigned order)
{
    return (size_t)(CHUNK / 8) << order;
}

static bool is_stored(const void *chunk)
{
    return chunk && chunk != qcbmi_counts_ones;
}

int qcbmi_counts_init(struct qcbmi_counts *c, uint64_t first, uint64_t end, struct qcbm_error *err)
{
    uint64_t n = div_up(end - first, CHUNK);

    memset(c, 0, sizeof(*c));
    c->chunks = qcbmi_alloc_array(n, sizeof(c->chunks[0]), err);
    c->order = qcbmi_alloc_array(n, 1, err);
    if (!c->chunks || !c->order) {
        qcbmi_counts_free(c);
        return QCBM_E_NOMEM;
    }
    c->first = first;
    c->end = end;
    c->n_chunks = n;
    c->bytes = n * (sizeof(c->chunks[0]) + 1);
    return 0;
}

static void drop_chunk(struct qcbmi_counts *c, uint64_t i)
{
    if (is_stored(c->chunks[i])) {
        c->bytes -= chunk_bytes(c->order[i]);
        free(c->chunks[i]);
    }
    c->chunks[i] = NULL;
    c->order[i] = 0;
}

void qcbmi_counts_free(struct qcbmi_counts *c)
{
    for (uint64_t i = 0; i < c->n_chunks; i++)
        drop_chunk(c, i);
    free(c->chunks);
    free(c->order);
    memset(c, 0, sizeof(*c));
}

void qcbmi_counts_cut(struct qcbmi_counts *c, uint64_t end)
{
    uint64_t keep;

    if (end >= c->end)
        return;
    end = u64_max(end, c->first);
    keep = div_up(end - c->first, CHUNK);
    for (uint64_t i = keep; i < c->n_chunks; i++)
        drop_chunk(c, i);
    c->end = end;
}

static uint64_t get_in(const void *chunk, unsigned order, uint32_t i)
{
    switch (order) {
    case 0:
        return ((const uint64_t *)chunk)[i / 64] >> (i % 64) & 1;
    case 3:
        return ((const uint8_t *)chunk)[i];
    case 4:
        return ((const uint16_t *)chunk)[i];
    case 5:
        return ((const uint32_t *)chunk)[i];
    default:
        return ((const uint64_t *)chunk)[i];
    }
}

/* @value fits into the order. */
static void set_in(void *chunk, unsigned order, uint32_t i, uint64_t value)
{
    switch (order) {
    case 0:
        ((uint64_t *)chunk)[i / 64] = (((uint64_t *)chunk)[i / 64] & ~(UINT64_C(1) << (i % 64))) | value << (i % 64);
        return;
    case 3:
        ((uint8_t *)chunk)[i] = (uint8_t)value;
        return;
    case 4:
        ((uint16_t *)chunk)[i] = (uint16_t)value;
        return;
    case 5:
        ((uint32_t *)chunk)[i] = (uint32_t)value;
        return;
    default:
        ((uint64_t *)chunk)[i] = value;
        return;
    }
}

static unsigned order_for(uint64_t value)
{
    return value <= 1 ? 0 : value <= UINT8_MAX ? 3 : value <= UINT16_MAX ? 4 : value <= UINT32_MAX ? 5 : 6;
}

static uint64_t get_chunk(const struct qcbmi_counts *c, uint64_t k, uint32_t i)
{
    if (!c->chunks[k])
        return 0;
    return c->chunks[k] == qcbmi_counts_ones ? 1 : get_in(c->chunks[k], c->order[k], i);
}

/* Store chunk @k with counters of @order, with the values that it has. */
static int widen(struct qcbmi_counts *c, uint64_t k, unsigned order, struct qcbm_error *err)
{
    void *wide;

    if (is_stored(c->chunks[k]) && c->order[k] >= order)
        return 0;
    wide = calloc(1, chunk_bytes(order));
    if (!wide)
        return qcbmi_fail_nomem(err);
    for (uint32_t i = 0; c->chunks[k] && i < CHUNK; i++)
        set_in(wide, order, i, get_chunk(c, k, i));
    drop_chunk(c, k);
    c->chunks[k] = wide;
    c->order[k] = (uint8_t)order;
    c->bytes += chunk_bytes(order);
    return 0;
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

/* Raise counters that are all 0 to 1, the common case. False if one of them is not 0. */
static bool add_bits(uint64_t *words, uint32_t lo, uint32_t hi)
{
    for (uint32_t w = lo / 64; w <= (hi - 1) / 64; w++)
        if (words[w] & word_mask(w, lo, hi))
            return false;
    for (uint32_t w = lo / 64; w <= (hi - 1) / 64; w++)
        words[w] |= word_mask(w, lo, hi);
    return true;
}

static int add_one_by_one(struct qcbmi_counts *c, uint64_t k, uint32_t lo, uint32_t hi, uint64_t weight, uint64_t max,
                          uint64_t *excess, struct qcbm_error *err)
{
    for (uint32_t i = lo; i < hi; i++) {
        uint64_t old = get_chunk(c, k, i), room = max - u64_min(old, max);
        uint64_t value = old + u64_min(room, weight);
        int ret = widen(c, k, order_for(value), err);

        if (ret < 0)
            return ret;
        if (weight > room)
            *excess += weight - room;
        set_in(c->chunks[k], c->order[k], i, value);
    }
    return 0;
}

static int add_in_chunk(struct qcbmi_counts *c, uint64_t k, uint32_t lo, uint32_t hi, uint64_t weight, uint64_t max,
                        uint64_t *excess, struct qcbm_error *err)
{
    int ret;

    if (weight == 1 && max >= 1 && !c->chunks[k] && hi - lo == CHUNK) {
        c->chunks[k] = qcbmi_counts_ones;
        return 0;
    }
    if (weight == 1 && max >= 1 && c->order[k] == 0 && c->chunks[k] != qcbmi_counts_ones) {
        ret = widen(c, k, 0, err);
        if (ret < 0 || add_bits(c->chunks[k], lo, hi))
            return ret;
    }
    return add_one_by_one(c, k, lo, hi, weight, max, excess, err);
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

uint64_t qcbmi_counts_get(const struct qcbmi_counts *c, uint64_t index)
{
    if (index < c->first || index >= c->end)
        return 0;
    return get_chunk(c, (index - c->first) / CHUNK, (uint32_t)((index - c->first) % CHUNK));
}

static uint64_t ones_in_chunk(const struct qcbmi_counts *c, uint64_t k, uint32_t lo, uint32_t hi)
{
    uint64_t n = 0;

    if (!c->chunks[k])
        return 0;
    if (c->chunks[k] == qcbmi_counts_ones)
        return hi - lo;
    if (c->order[k] == 0) {
        const uint64_t *words = c->chunks[k];

        for (uint32_t w = lo / 64; w <= (hi - 1) / 64; w++)
            n += (uint64_t)__builtin_popcountll(words[w] & word_mask(w, lo, hi));
        return n;
    }
    for (uint32_t i = lo; i < hi; i++)
        n += get_in(c->chunks[k], c->order[k], i) == 1;
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

/* Do the two chunks hold the same, as far as can be told without looking at each counter? */
static bool chunks_equal(const struct qcbmi_counts *a, uint64_t ka, const struct qcbmi_counts *b, uint64_t kb)
{
    const void *x = a->chunks[ka], *y = b->chunks[kb];

    if (!is_stored(x) || !is_stored(y))
        return x == y;
    return a->order[ka] == b->order[kb] && memcmp(x, y, chunk_bytes(a->order[ka])) == 0;
}

uint64_t qcbmi_counts_next_difference(const struct qcbmi_counts *a, const struct qcbmi_counts *b, uint64_t from,
                                      uint64_t end)
{
    for (uint64_t i = from; i < end;) {
        uint64_t ka = (i - a->first) / CHUNK, kb = (i - b->first) / CHUNK;
        uint64_t stop = u64_min(end, a->first + (ka + 1) * CHUNK);

        if (!chunks_equal(a, ka, b, kb))
            for (; i < stop; i++)
                if (qcbmi_counts_get(a, i) != qcbmi_counts_get(b, i))
                    return i;
        i = stop;
    }
    return end;
}

uint64_t qcbmi_counts_next_shared(const struct qcbmi_counts *c, uint64_t from, uint64_t end)
{
    end = u64_min(end, c->end);
    for (uint64_t i = u64_max(from, c->first); i < end;) {
        uint64_t k = (i - c->first) / CHUNK;
        uint64_t stop = u64_min(end, c->first + (k + 1) * CHUNK);

        for (; c->order[k] && i < stop; i++)
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

        for (; c->chunks[k] && end > base; end--)
            if (qcbmi_counts_get(c, end - 1))
                return end;
        end = base;
    }
    return 0;
}
