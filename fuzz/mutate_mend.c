/* mutate_mend.c - what would keep a changed image from opening, mended
 * SPDX-License-Identifier: MIT */
#include "mutate_shape.h"

#include <stdlib.h>

/* ---- header and bitmaps ---- */

static void mend_bitmaps(struct shape *s)
{
    uint64_t n = shape_load(s, s->bitmaps_ext, 4), end;

    if (n == 0 || n > 64)
        shape_store(s, s->bitmaps_ext, 4, n = 1);
    shape_store(s, s->bitmaps_ext + 4, 4, 0);
    end = shape_bitmap_entry(s, n);
    if (s->directory % s->cs == 0 && end <= s->size)
        shape_store(s, s->bitmaps_ext + 8, 8, end - s->directory);
    for (uint64_t i = 0; i < n; i++) {
        uint64_t at = shape_bitmap_entry(s, i), gran = shape_load(s, at + 17, 1), bits;

        if (gran < 9 || gran > 31)
            continue;
        bits = (s->disk / 512 * 512 + (UINT64_C(1) << gran) - 1) >> gran;
        shape_store(s, at + 8, 4, ((bits + 7) / 8 + s->cs - 1) / s->cs); /* as many entries as the disk needs */
    }
    if (shape_rnd(s, 4)) /* else they are stale */
        shape_store(s, 95, 1, shape_load(s, 95, 1) | 1);
}

/* What the header check would refuse. */
static void mend_header(struct shape *s)
{
    uint64_t span = s->cs * (s->cs / s->entry);

    shape_store(s, 4, 4, s->version == 2 ? 2 : 3);
    if (s->version == 3) {
        shape_store(s, 72, 8, shape_load(s, 72, 8) & 0x1f & ~(s->cluster_bits < 14 ? UINT64_C(16) : 0));
        shape_store(s, 88, 8, shape_load(s, 88, 8) & (shape_load(s, 72, 8) & 4 ? 3 : 1));
        if (shape_load(s, 96, 4) > 6)
            shape_store(s, 96, 4, s->refcount_order % 7);
        if (shape_load(s, 100, 4) < 104 || shape_load(s, 100, 4) > s->cs)
            shape_store(s, 100, 4, 112);
        if (shape_load(s, 100, 4) > 104)
            shape_store(s, 104, 1, shape_load(s, 72, 8) >> 3 & 1);
    }
    shape_store(s, 40, 8, s->l1 / s->cs * s->cs);
    shape_store(s, 48, 8, s->reftable / s->cs * s->cs);
    shape_store(s, 64, 8, s->snapshots / s->cs * s->cs);
    if (s->disk > s->l1_n * span)
        shape_store(s, 24, 8, s->l1_n * span - shape_rnd(s, 2) * 512);
}

/* ---- refcounts as they ought to be ---- */

struct counts {
    uint32_t *of; /* per cluster */
    uint64_t n;
    unsigned tables;
};

static void count(const struct shape *s, struct counts *c, uint64_t off, uint64_t len)
{
    for (uint64_t k = off / s->cs; len && k <= (off + len - 1) / s->cs && k < c->n; k++)
        c->of[k]++;
}

static void count_l2(const struct shape *s, struct counts *c, uint64_t table)
{
    count(s, c, table, 1);
    if (table % s->cs || table / s->cs >= c->n || c->tables++ > MAX_TABLES)
        return;
    for (uint64_t i = 0; i < s->cs / s->entry; i++) {
        uint64_t raw = shape_load(s, table + i * s->entry, 8), off = raw & OFFSET_MASK;
        unsigned x = 62 - (s->cluster_bits - 8);

        if (raw >> 62 & 1) {
            off = raw & ((UINT64_C(1) << x) - 1);
            count(s, c, off, (((raw & ((UINT64_C(1) << 62) - 1)) >> x) + 1) * 512 - off % 512);
        } else if (off && !(s->version == 3 && shape_load(s, 72, 8) & 4)) {
            count(s, c, off, 1);
        }
    }
}

static void count_l1(const struct shape *s, struct counts *c, uint64_t l1, uint64_t n)
{
    count(s, c, l1, n * 8);
    for (uint64_t i = 0; i < n && l1 + 8 * i < s->size; i++) {
        uint64_t table = shape_load(s, l1 + 8 * i, 8) & OFFSET_MASK;

        if (table)
            count_l2(s, c, table);
    }
}

static void count_all(const struct shape *s, struct counts *c)
{
    uint64_t n_blocks = (uint64_t)s->reftable_n * s->cs / 8;

    count(s, c, 0, 1);
    count_l1(s, c, s->l1, s->l1_n);
    count(s, c, s->reftable, (uint64_t)s->reftable_n * s->cs);
    for (uint64_t i = 0; i < n_blocks && s->reftable + 8 * i < s->size; i++)
        if (shape_load(s, s->reftable + 8 * i, 8))
            count(s, c, shape_load(s, s->reftable + 8 * i, 8), 1);
    for (uint64_t i = 0; i < s->n_snapshots && i < 8; i++) {
        uint64_t at = shape_snapshot_entry(s, i);

        count_l1(s, c, shape_load(s, at, 8), shape_load(s, at + 8, 4));
    }
    if (s->n_snapshots)
        count(s, c, s->snapshots, shape_snapshot_entry(s, s->n_snapshots % 64) - s->snapshots);
    if (!s->bitmaps_ext)
        return;
    count(s, c, s->directory, s->directory_len);
    for (uint64_t i = 0; i < shape_load(s, s->bitmaps_ext, 4) && i < 64; i++) {
        uint64_t at = shape_bitmap_entry(s, i), table = shape_load(s, at, 8), n = shape_load(s, at + 8, 4);

        count(s, c, table, n * 8);
        for (uint64_t k = 0; k < n && table + 8 * k < s->size; k++)
            if (shape_load(s, table + 8 * k, 8) & OFFSET_MASK)
                count(s, c, shape_load(s, table + 8 * k, 8) & OFFSET_MASK, 1);
    }
}

static void store_refcount(struct shape *s, uint64_t cluster, uint64_t value)
{
    uint64_t bits = UINT64_C(1) << s->refcount_order, per_block = s->cs * 8 / bits;
    uint64_t block = shape_load(s, s->reftable + 8 * (cluster / per_block), 8), i = cluster % per_block;
    uint64_t max = bits == 64 ? UINT64_MAX : (UINT64_C(1) << bits) - 1;

    value = value < max ? value : max;
    if (!block || block % s->cs || block == s->reftable || block == s->l1)
        return;
    if (bits >= 8) {
        shape_store(s, block + i * (bits / 8), (unsigned)bits / 8, value);
    } else {
        uint64_t at = block + i * bits / 8, shift = i * bits % 8;

        shape_store(s, at, 1, (shape_load(s, at, 1) & ~(max << shift)) | value << shift);
    }
}

static void mend_refcounts(struct shape *s)
{
    struct counts c = { .n = shape_clusters(s) };

    if (s->refcount_order > 6)
        return;
    c.of = calloc((size_t)c.n + 1, sizeof(*c.of));
    if (!c.of)
        return;
    count_all(s, &c);
    for (uint64_t k = 0; k < c.n; k++)
        store_refcount(s, k, c.of[k]);
    free(c.of);
}

void mutate_mend(struct shape *s)
{
    if (shape_rnd(s, 16) == 0)
        return;
    mend_header(s);
    if (shape_look(s) && s->bitmaps_ext && shape_rnd(s, 4))
        mend_bitmaps(s);
    if (shape_rnd(s, 2) && shape_look(s))
        mend_refcounts(s);
}
