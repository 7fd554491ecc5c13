/* states.c - the states that a power cut can leave, built from a recording of writes, growth and flushes
 * SPDX-License-Identifier: MIT */
#include "states.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define SECTOR 512u
#define TEARS 32u /* places at most at which one write is torn */

struct state {
    uint8_t *bytes;
    size_t len, room;
};

struct walk {
    const struct states_source *src;
    states_fn *fn;
    void *opaque;
    struct states_count *count;
    uint64_t *seen; /* hash table of the states given so far; 0 = free */
    size_t slots;
    bool stopped;
    struct state base, s;              /* what is durable; the state under construction */
    const struct record_event *events; /* without a flush between them, on top of base */
    size_t n;
};

static void *must(void *p)
{
    if (!p)
        abort();
    return p;
}

static bool add_hash(uint64_t *table, size_t slots, uint64_t hash)
{
    size_t at = (size_t)hash & (slots - 1);

    while (table[at] && table[at] != hash)
        at = (at + 1) & (slots - 1);
    if (table[at])
        return false;
    table[at] = hash;
    return true;
}

static bool is_first(struct walk *w)
{
    uint64_t hash = XXH3_64bits_withSeed(w->s.bytes, w->s.len, w->s.len) | 1;
    uint64_t *larger;

    if (2 * w->count->distinct >= w->slots) {
        larger = must(calloc(2 * w->slots, sizeof(*larger)));
        for (size_t i = 0; i < w->slots; i++)
            if (w->seen[i])
                add_hash(larger, 2 * w->slots, w->seen[i]);
        free(w->seen);
        w->seen = larger;
        w->slots *= 2;
    }
    return add_hash(w->seen, w->slots, hash);
}

static void give(struct walk *w, const char *what)
{
    if (w->stopped)
        return;
    w->count->built++;
    if (!is_first(w))
        return;
    w->count->distinct++;
    w->stopped = w->fn(w->opaque, w->s.bytes, w->s.len, what) != 0;
}

static void extend(struct state *s, size_t len)
{
    if (len <= s->len)
        return;
    if (len > s->room) {
        s->room = 2 * len;
        s->bytes = must(realloc(s->bytes, s->room));
    }
    memset(s->bytes + s->len, 0, len - s->len);
    s->len = len;
}

static void load(struct state *s, const uint8_t *bytes, size_t len)
{
    s->len = 0;
    extend(s, len);
    if (len)
        memcpy(s->bytes, bytes, len);
    s->len = len;
}

static void reset(struct walk *w)
{
    load(&w->s, w->base.bytes, w->base.len);
}

/* The part of @e that lies in sectors [@first, @end), counted from the sector in which it starts. */
static void apply_part(struct state *s, const struct record_event *e, size_t first, size_t end)
{
    uint64_t base = e->off / SECTOR * SECTOR, from, to;

    if (e->kind == RECORD_FLUSH)
        return;
    if (e->kind == RECORD_GROW) {
        extend(s, (size_t)e->off);
        return;
    }
    if (e->kind == RECORD_CUT) {
        s->len = e->off < s->len ? (size_t)e->off : s->len;
        return;
    }
    from = base + first * SECTOR > e->off ? base + first * SECTOR : e->off;
    to = base + end * SECTOR < e->off + e->len ? base + end * SECTOR : e->off + e->len;
    if (from >= to)
        return;
    extend(s, (size_t)to);
    memcpy(s->bytes + from, e->bytes + (from - e->off), (size_t)(to - from));
}

static size_t sectors_of(const struct record_event *e)
{
    if (e->kind != RECORD_WRITE)
        return 1;
    return (size_t)((e->off + e->len + SECTOR - 1) / SECTOR - e->off / SECTOR);
}

static void apply(struct state *s, const struct record_event *e)
{
    apply_part(s, e, 0, SIZE_MAX / SECTOR / 2);
}

static void prefixes(struct walk *w)
{
    char what[96];

    for (size_t k = 0; k <= w->n; k++) {
        reset(w);
        for (size_t i = 0; i < k; i++)
            apply(&w->s, &w->events[i]);
        snprintf(what, sizeof(what), "first %zu of %zu writes", k, w->n);
        give(w, what);
        if (k == w->n || w->events[k].kind != RECORD_WRITE || w->events[k].off + w->events[k].len <= w->s.len)
            continue;
        extend(&w->s, (size_t)w->events[k].off + w->events[k].len);
        snprintf(what, sizeof(what), "first %zu of %zu writes, and the length of the next", k, w->n);
        give(w, what);
    }
}

static void alone_and_missing(struct walk *w)
{
    char what[96];

    for (size_t k = 0; k < 2 * w->n; k++) {
        bool alone = k < w->n;

        reset(w);
        for (size_t i = 0; i < w->n; i++)
            if ((i == k % w->n) == alone)
                apply(&w->s, &w->events[i]);
        snprintf(what, sizeof(what), "write %zu of %zu %s", k % w->n, w->n, alone ? "alone" : "missing");
        give(w, what);
    }
}

/* Write @k torn at sector @cut: its front or its rest, and of the others none, all, or those before it. */
static void torn_at(struct walk *w, size_t k, size_t cut)
{
    static const char *const others[] = { "without the others", "with the others", "with those before" };
    char what[128];

    for (int variant = 0; variant < 6; variant++) {
        bool front = variant % 2 == 0;

        reset(w);
        for (size_t i = 0; i < w->n && variant / 2; i++)
            if (i < k || (i > k && variant / 2 == 1))
                apply(&w->s, &w->events[i]);
        apply_part(&w->s, &w->events[k], front ? 0 : cut, front ? cut : SIZE_MAX / SECTOR / 2);
        snprintf(what, sizeof(what), "write %zu of %zu torn at sector %zu, %s of it, %s", k, w->n, cut,
                 front ? "front" : "rest", others[variant / 2]);
        give(w, what);
    }
}

static void torn(struct walk *w)
{
    for (size_t k = 0; k < w->n; k++) {
        size_t sectors = sectors_of(&w->events[k]);

        for (size_t cut = 1; cut < sectors; cut += sectors / TEARS + 1)
            torn_at(w, k, cut);
    }
}

static uint64_t next_random(uint64_t *x)
{
    *x ^= *x << 13;
    *x ^= *x >> 7;
    *x ^= *x << 17;
    return *x * UINT64_C(0x2545f4914f6cdd1d) >> 32;
}

/* Each second subset takes or leaves whole writes, the others single sectors. */
static void random_subset(struct walk *w, bool whole, uint64_t x)
{
    reset(w);
    for (size_t i = 0; i < w->n; i++) {
        const struct record_event *e = &w->events[i];
        uint64_t dice = next_random(&x);

        if (e->kind == RECORD_WRITE && dice & 2)
            extend(&w->s, (size_t)e->off + e->len); /* its length may be durable before its bytes */
        if (whole && dice & 1)
            apply(&w->s, e);
        for (size_t sector = 0; !whole && sector < sectors_of(e); sector++)
            if (next_random(&x) & 1)
                apply_part(&w->s, e, sector, sector + 1);
    }
}

static void subset(struct walk *w, uint64_t chosen)
{
    reset(w);
    for (size_t i = 0; i < w->n; i++)
        for (size_t sector = 0; sector < sectors_of(&w->events[i]); sector++, chosen >>= 1)
            if (chosen & 1)
                apply_part(&w->s, &w->events[i], sector, sector + 1);
}

/* All subsets of sectors where they are few enough, else random ones. */
static void subsets(struct walk *w, uint64_t seed)
{
    uint64_t limit = w->src->random_subsets, sectors = 0;
    char what[96];
    bool all;

    for (size_t i = 0; i < w->n; i++)
        sectors += sectors_of(&w->events[i]);
    all = sectors < 32 && UINT64_C(1) << sectors <= limit;
    for (uint64_t k = 0; k < (all ? UINT64_C(1) << sectors : limit); k++) {
        if (all)
            subset(w, k);
        else
            random_subset(w, k % 2 == 0, (seed * 1000003 + k + 1) * UINT64_C(0x9e3779b97f4a7c15) | 1);
        snprintf(what, sizeof(what), "%s subset %" PRIu64 " of seed %" PRIu64, all ? "sector" : "random", k, seed);
        give(w, what);
    }
}

void states_walk(const struct states_source *src, states_fn *fn, void *opaque, struct states_count *count)
{
    struct walk w = { .src = src, .fn = fn, .opaque = opaque, .count = count, .slots = 1024 };

    *count = (struct states_count){ 0 };
    w.seen = must(calloc(w.slots, sizeof(*w.seen)));
    load(&w.base, src->start, src->start_len);
    for (size_t from = 0, to; from < src->n && !w.stopped; from = to + 1) {
        for (to = from; to < src->n && src->events[to].kind != RECORD_FLUSH;)
            to++;
        w.events = src->events + from;
        w.n = to - from;
        prefixes(&w);
        alone_and_missing(&w);
        torn(&w);
        subsets(&w, src->seed + from);
        for (size_t i = from; i < to; i++)
            apply(&w.base, &src->events[i]);
    }
    free(w.seen);
    free(w.base.bytes);
    free(w.s.bytes);
}
