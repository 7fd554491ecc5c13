/* mutate_qcow2.c - changes of an image that know where its structures lie
 * SPDX-License-Identifier: MIT
 *
 * Blind changes of an image mostly end in the header check. These pick a structure, change one field of it to a value
 * that is likely to matter, and then mostly mend what would keep the image from opening: the code behind that is
 * reached. Nothing is taken from the library, so that a fault of its parsers is not a fault of the mutator, too. */
#include "mutate_qcow2.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define OFFSET_MASK UINT64_C(0x00fffffffffffe00)
#define BITMAPS_EXT UINT32_C(0x23852875)
#define MAX_TABLES 4096u

struct shape {
    uint8_t *data;
    size_t size, max_size;
    uint64_t rng;
    uint32_t version, cluster_bits, l1_n, reftable_n, n_snapshots, refcount_order;
    uint64_t cs, disk, l1, reftable, snapshots, entry; /* entry: bytes of an L2 entry */
    uint64_t bitmaps_ext;                              /* of its payload; 0 = none */
    uint64_t directory, directory_len;
};

/* ---- numbers ---- */

static uint64_t rnd(struct shape *s, uint64_t below)
{
    s->rng += UINT64_C(0x9e3779b97f4a7c15); /* splitmix64 */
    uint64_t z = s->rng;

    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return below ? (z ^ z >> 31) % below : 0;
}

static uint64_t load(const struct shape *s, uint64_t off, unsigned width)
{
    uint64_t v = 0;

    if (off > s->size || s->size - off < width)
        return 0;
    for (unsigned i = 0; i < width; i++)
        v = v << 8 | s->data[off + i];
    return v;
}

static void store(struct shape *s, uint64_t off, unsigned width, uint64_t v)
{
    if (off > s->size || s->size - off < width)
        return;
    for (unsigned i = 0; i < width; i++)
        s->data[off + i] = (uint8_t)(v >> 8 * (width - 1 - i));
}

static uint64_t clusters(const struct shape *s)
{
    return (s->size + s->cs - 1) / s->cs;
}

/* ---- where things lie ---- */

static void find_bitmaps(struct shape *s)
{
    uint64_t at = s->version == 3 ? load(s, 100, 4) : 72;

    s->bitmaps_ext = 0;
    for (unsigned i = 0; i < 32 && at + 8 <= s->cs; i++) {
        uint64_t type = load(s, at, 4), len = load(s, at + 4, 4);

        if (type == 0)
            return;
        if (type == BITMAPS_EXT) {
            s->bitmaps_ext = at + 8;
            s->directory_len = load(s, at + 16, 8);
            s->directory = load(s, at + 24, 8);
        }
        at += 8 + (len + 7) / 8 * 8;
    }
}

static bool look(struct shape *s)
{
    uint64_t incompatible;

    if (s->size < 112 || load(s, 0, 4) != UINT32_C(0x514649fb))
        return false;
    s->version = (uint32_t)load(s, 4, 4);
    s->cluster_bits = (uint32_t)load(s, 20, 4);
    if (s->cluster_bits < 9 || s->cluster_bits > 21)
        return false;
    s->cs = UINT64_C(1) << s->cluster_bits;
    s->disk = load(s, 24, 8);
    s->l1_n = (uint32_t)load(s, 36, 4);
    s->l1 = load(s, 40, 8);
    s->reftable = load(s, 48, 8);
    s->reftable_n = (uint32_t)load(s, 56, 4);
    s->n_snapshots = (uint32_t)load(s, 60, 4);
    s->snapshots = load(s, 64, 8);
    incompatible = s->version == 3 ? load(s, 72, 8) : 0;
    s->refcount_order = s->version == 3 ? (uint32_t)load(s, 96, 4) & 7 : 4;
    s->entry = incompatible & 16 ? 16 : 8;
    find_bitmaps(s);
    return true;
}

/* ---- values that matter ---- */

static uint64_t some_cluster(struct shape *s)
{
    switch (rnd(s, 9)) {
    case 0:
        return s->l1;
    case 1:
        return s->reftable;
    case 2:
        return load(s, s->reftable, 8);
    case 3:
        return load(s, s->l1, 8) & OFFSET_MASK; /* an L2 table */
    case 4:
        return s->bitmaps_ext ? s->directory : s->snapshots;
    case 5:
        return clusters(s) * s->cs; /* right behind the end */
    case 6:
        return 0;
    default:
        return rnd(s, clusters(s)) * s->cs;
    }
}

static uint64_t table_value(struct shape *s, uint64_t old)
{
    switch (rnd(s, 14)) {
    case 0:
        return 0;
    case 1:
        return 1;
    case 2:
        return UINT64_MAX >> rnd(s, 64);
    case 3:
        return old ^ UINT64_C(1) << 63;
    case 4:
        return old ^ UINT64_C(1) << 62;
    case 5:
        return old ^ 1;
    case 6:
        return old ^ UINT64_C(1) << rnd(s, 64);
    case 7:
        return some_cluster(s) | 512 * rnd(s, 3);
    case 8: /* compressed: some sectors */
        return UINT64_C(1) << 62 | rnd(s, 3) << (62 - (s->cluster_bits - 8)) | rnd(s, s->size + 600);
    case 9:
        return old + s->cs;
    case 10:
        if (rnd(s, 2)) /* in the hole that fuzz_check.c puts behind the image */
            return some_cluster(s) + (1 + rnd(s, 3)) * 4096 * s->cs;
        return (UINT64_C(1) << 55) + some_cluster(s);
    default:
        return some_cluster(s) | (rnd(s, 2) ? UINT64_C(1) << 63 : 0) | (rnd(s, 4) == 0);
    }
}

static uint64_t field_value(struct shape *s, uint64_t old)
{
    switch (rnd(s, 9)) {
    case 0:
        return rnd(s, 4);
    case 1:
        return UINT64_MAX - rnd(s, 3);
    case 2:
        return old + 1;
    case 3:
        return old - 1;
    case 4:
        return old ^ UINT64_C(1) << rnd(s, 64);
    case 5:
        return UINT64_C(1) << rnd(s, 64);
    case 6:
        return some_cluster(s);
    case 7:
        return s->size + rnd(s, 3) - 1;
    default:
        return rnd(s, 256);
    }
}

static void change_field(struct shape *s, uint64_t off, unsigned width)
{
    store(s, off, width, field_value(s, load(s, off, width)));
}

/* ---- one change in each kind of structure ---- */

static void change_header(struct shape *s)
{
    static const struct {
        uint8_t off, width;
    } fields[] = {
        { 4, 4 },  { 8, 8 },  { 16, 4 }, { 20, 4 }, { 24, 8 }, { 24, 8 },  { 32, 4 },
        { 36, 4 }, { 40, 8 }, { 48, 8 }, { 56, 4 }, { 60, 4 }, { 64, 8 },  { 72, 8 },
        { 79, 1 }, { 80, 8 }, { 95, 1 }, { 96, 4 }, { 99, 1 }, { 100, 4 }, { 104, 1 },
    };
    size_t i = (size_t)rnd(s, sizeof(fields) / sizeof(*fields));

    change_field(s, fields[i].off, fields[i].width);
    if (rnd(s, 4) == 0) /* a size around a multiple of what matters */
        store(s, 24, 8, rnd(s, 64) * s->cs + rnd(s, 3) * 512 + rnd(s, 3) - 1);
}

static void change_extension(struct shape *s)
{
    static const uint32_t types[] = { 0,          0xe2792aca, 0x6803f857, BITMAPS_EXT,
                                      0x0537be77, 0x44415441, 0x71634250, 0x12345678 };
    uint64_t at = s->version == 3 ? load(s, 100, 4) : 72;

    for (uint64_t n = rnd(s, 4); n > 0 && load(s, at, 4); n--)
        at += 8 + (load(s, at + 4, 4) + 7) / 8 * 8;
    switch (rnd(s, 4)) {
    case 0:
        store(s, at, 4, types[rnd(s, 8)]);
        break;
    case 1:
        change_field(s, at + 4, 4);
        break;
    case 2:
        change_field(s, at + 8 + rnd(s, 6) * 4, 4);
        break;
    default: /* a new one in front of END */
        while (load(s, at, 4) && at < s->cs)
            at += 8 + (load(s, at + 4, 4) + 7) / 8 * 8;
        store(s, at, 4, types[rnd(s, 8)]);
        store(s, at + 4, 4, rnd(s, 3) * 8);
    }
}

static void change_entry(struct shape *s, uint64_t table, uint64_t n, unsigned width)
{
    uint64_t at = table + rnd(s, n) * width;

    store(s, at, 8, table_value(s, load(s, at, 8)));
    if (width == 16 && rnd(s, 2)) /* subclusters */
        store(s, at + 8, 8, rnd(s, 3) ? UINT64_C(1) << rnd(s, 64) | UINT64_C(1) << rnd(s, 64) : rnd(s, UINT64_MAX));
}

static void change_l2(struct shape *s, uint64_t l1, uint64_t n)
{
    uint64_t start = rnd(s, n), table = 0;

    for (uint64_t i = 0; i < n && i < 256 && !table; i++)
        table = load(s, l1 + 8 * ((start + i) % n), 8) & OFFSET_MASK;
    if (table)
        change_entry(s, table, rnd(s, 2) ? 8 : s->cs / s->entry, (unsigned)s->entry);
}

static void change_refcounts(struct shape *s)
{
    uint64_t n = (uint64_t)s->reftable_n * s->cs / 8, block = load(s, s->reftable, 8);

    if (rnd(s, 3) == 0 || !block)
        change_entry(s, s->reftable, rnd(s, 2) ? 2 : n, 8);
    else
        change_field(s, block + (rnd(s, clusters(s) + 4) << s->refcount_order) / 8, rnd(s, 2) ? 1 : 2);
}

/* Directory entry @i. */
static uint64_t bitmap_entry(const struct shape *s, uint64_t i)
{
    uint64_t at = s->directory;

    for (; i > 0; i--)
        at += (24 + load(s, at + 18, 2) + load(s, at + 20, 4) + 7) / 8 * 8;
    return at;
}

static void change_bitmap(struct shape *s)
{
    uint64_t at = bitmap_entry(s, rnd(s, load(s, s->bitmaps_ext, 4) % 8)), table = load(s, at, 8);
    uint64_t n = load(s, at + 8, 4) % 4096 + 1;
    static const uint8_t fields[][2] = { { 0, 8 },  { 8, 4 },  { 15, 1 }, { 12, 4 }, { 16, 1 },
                                         { 17, 1 }, { 18, 2 }, { 20, 4 }, { 24, 1 } };
    size_t f = (size_t)rnd(s, 9);

    switch (rnd(s, 5)) {
    case 0:
        change_field(s, at + fields[f][0], fields[f][1]);
        break;
    case 1:
        store(s, at + 17, 1, 9 + rnd(s, 10));
        break;
    case 2:
        change_field(s, (load(s, table + 8 * rnd(s, n), 8) & OFFSET_MASK) + rnd(s, s->cs), 1);
        break;
    case 3:
        change_field(s, s->bitmaps_ext + 8 * rnd(s, 3), 8);
        break;
    default:
        change_entry(s, table, n, 8);
    }
}

static uint64_t snapshot_entry(const struct shape *s, uint64_t i)
{
    uint64_t at = s->snapshots;

    for (; i > 0; i--)
        at += (40 + load(s, at + 12, 2) + load(s, at + 14, 2) + load(s, at + 36, 4) + 7) / 8 * 8;
    return at;
}

static void change_snapshot(struct shape *s)
{
    uint64_t at = snapshot_entry(s, rnd(s, s->n_snapshots % 8)), n = load(s, at + 8, 4) % 4096 + 1;
    static const uint8_t fields[][2] = { { 0, 8 },  { 8, 4 },  { 12, 2 }, { 14, 2 },
                                         { 32, 4 }, { 36, 4 }, { 40, 8 }, { 48, 8 } };
    size_t f = (size_t)rnd(s, 8);

    switch (rnd(s, 3)) {
    case 0:
        change_field(s, at + fields[f][0], fields[f][1]);
        break;
    case 1:
        change_entry(s, load(s, at, 8), n, 8);
        break;
    default:
        change_l2(s, load(s, at, 8), n);
    }
}

static void change_size(struct shape *s)
{
    size_t size = s->size;

    switch (rnd(s, 4)) {
    case 0:
        size -= size > 512 ? (size_t)rnd(s, 512) : 0;
        break;
    case 1:
        size = (size_t)((1 + rnd(s, clusters(s))) * s->cs);
        break;
    case 2:
        size += (size_t)s->cs;
        break;
    default:
        size = (size_t)(clusters(s) * s->cs);
    }
    if (size > s->max_size || size < 112)
        return;
    if (size > s->size)
        memset(s->data + s->size, 0, size - s->size);
    s->size = size;
}

static void copy_cluster(struct shape *s)
{
    uint64_t from = rnd(s, clusters(s)) * s->cs, to = (1 + rnd(s, clusters(s))) * s->cs;

    if (from + s->cs <= s->size && to + s->cs <= s->size)
        memmove(s->data + to, s->data + from, (size_t)s->cs);
}

/* A new L2 table at the end, for an L1 entry: a copy of another, or empty. */
static void add_table(struct shape *s)
{
    uint64_t at = clusters(s) * s->cs, from = load(s, s->l1, 8) & OFFSET_MASK;

    if (at + s->cs > s->max_size || s->l1_n == 0)
        return;
    memset(s->data + s->size, 0, (size_t)(at + s->cs) - s->size);
    s->size = (size_t)(at + s->cs);
    if (from + s->cs <= at && rnd(s, 2))
        memcpy(s->data + at, s->data + from, (size_t)s->cs);
    store(s, s->l1 + 8 * rnd(s, s->l1_n), 8, at | UINT64_C(1) << 63);
}

/* What fuzz_edit.c reads its changes from. */
static void set_trailer(struct shape *s)
{
    if (s->size > 8 && memcmp(s->data + s->size - 8, "qcbmE", 5) != 0) {
        if (s->max_size - s->size < 8)
            return;
        s->size += 8;
    }
    memcpy(s->data + s->size - 8, "qcbmE", 5);
    store(s, s->size - 3, 3, rnd(s, 1 << 24));
}

static void change(struct shape *s)
{
    switch (rnd(s, 16)) {
    case 0:
        change_header(s);
        break;
    case 1:
        change_extension(s);
        break;
    case 2:
        change_entry(s, s->l1, s->l1_n, 8);
        break;
    case 3:
    case 4:
    case 5:
        change_l2(s, s->l1, s->l1_n);
        break;
    case 6:
    case 7:
        change_refcounts(s);
        break;
    case 8:
    case 9:
    case 10:
        s->bitmaps_ext ? change_bitmap(s) : change_extension(s);
        break;
    case 11:
    case 12:
        s->n_snapshots ? change_snapshot(s) : change_l2(s, s->l1, s->l1_n);
        break;
    case 13:
        change_size(s);
        break;
    case 14:
        rnd(s, 2) ? copy_cluster(s) : add_table(s);
        break;
    default:
        set_trailer(s);
    }
}

/* ---- mending ---- */

static void mend_bitmaps(struct shape *s)
{
    uint64_t n = load(s, s->bitmaps_ext, 4), end;

    if (n == 0 || n > 64)
        store(s, s->bitmaps_ext, 4, n = 1);
    store(s, s->bitmaps_ext + 4, 4, 0);
    end = bitmap_entry(s, n);
    if (s->directory % s->cs == 0 && end <= s->size)
        store(s, s->bitmaps_ext + 8, 8, end - s->directory);
    for (uint64_t i = 0; i < n; i++) {
        uint64_t at = bitmap_entry(s, i), gran = load(s, at + 17, 1), bits;

        if (gran < 9 || gran > 31)
            continue;
        bits = (s->disk / 512 * 512 + (UINT64_C(1) << gran) - 1) >> gran;
        store(s, at + 8, 4, ((bits + 7) / 8 + s->cs - 1) / s->cs); /* as many entries as the disk needs */
    }
    if (rnd(s, 4)) /* else they are stale */
        store(s, 95, 1, load(s, 95, 1) | 1);
}

/* What the header check would refuse. */
static void mend_header(struct shape *s)
{
    uint64_t span = s->cs * (s->cs / s->entry);

    store(s, 4, 4, s->version == 2 ? 2 : 3);
    if (s->version == 3) {
        store(s, 72, 8, load(s, 72, 8) & 0x1f & ~(s->cluster_bits < 14 ? UINT64_C(16) : 0));
        store(s, 88, 8, load(s, 88, 8) & (load(s, 72, 8) & 4 ? 3 : 1));
        if (load(s, 96, 4) > 6)
            store(s, 96, 4, s->refcount_order % 7);
        if (load(s, 100, 4) < 104 || load(s, 100, 4) > s->cs)
            store(s, 100, 4, 112);
        if (load(s, 100, 4) > 104)
            store(s, 104, 1, load(s, 72, 8) >> 3 & 1);
    }
    store(s, 40, 8, s->l1 / s->cs * s->cs);
    store(s, 48, 8, s->reftable / s->cs * s->cs);
    store(s, 64, 8, s->snapshots / s->cs * s->cs);
    if (s->disk > s->l1_n * span)
        store(s, 24, 8, s->l1_n * span - rnd(s, 2) * 512);
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
        uint64_t raw = load(s, table + i * s->entry, 8), off = raw & OFFSET_MASK;
        unsigned x = 62 - (s->cluster_bits - 8);

        if (raw >> 62 & 1) {
            off = raw & ((UINT64_C(1) << x) - 1);
            count(s, c, off, (((raw & ((UINT64_C(1) << 62) - 1)) >> x) + 1) * 512 - off % 512);
        } else if (off && !(s->version == 3 && load(s, 72, 8) & 4)) {
            count(s, c, off, 1);
        }
    }
}

static void count_l1(const struct shape *s, struct counts *c, uint64_t l1, uint64_t n)
{
    count(s, c, l1, n * 8);
    for (uint64_t i = 0; i < n && l1 + 8 * i < s->size; i++) {
        uint64_t table = load(s, l1 + 8 * i, 8) & OFFSET_MASK;

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
        if (load(s, s->reftable + 8 * i, 8))
            count(s, c, load(s, s->reftable + 8 * i, 8), 1);
    for (uint64_t i = 0; i < s->n_snapshots && i < 8; i++) {
        uint64_t at = snapshot_entry(s, i);

        count_l1(s, c, load(s, at, 8), load(s, at + 8, 4));
    }
    if (s->n_snapshots)
        count(s, c, s->snapshots, snapshot_entry(s, s->n_snapshots % 64) - s->snapshots);
    if (!s->bitmaps_ext)
        return;
    count(s, c, s->directory, s->directory_len);
    for (uint64_t i = 0; i < load(s, s->bitmaps_ext, 4) && i < 64; i++) {
        uint64_t at = bitmap_entry(s, i), table = load(s, at, 8), n = load(s, at + 8, 4);

        count(s, c, table, n * 8);
        for (uint64_t k = 0; k < n && table + 8 * k < s->size; k++)
            if (load(s, table + 8 * k, 8) & OFFSET_MASK)
                count(s, c, load(s, table + 8 * k, 8) & OFFSET_MASK, 1);
    }
}

static void store_refcount(struct shape *s, uint64_t cluster, uint64_t value)
{
    uint64_t bits = UINT64_C(1) << s->refcount_order, per_block = s->cs * 8 / bits;
    uint64_t block = load(s, s->reftable + 8 * (cluster / per_block), 8), i = cluster % per_block;
    uint64_t max = bits == 64 ? UINT64_MAX : (UINT64_C(1) << bits) - 1;

    value = value < max ? value : max;
    if (!block || block % s->cs || block == s->reftable || block == s->l1)
        return;
    if (bits >= 8) {
        store(s, block + i * (bits / 8), (unsigned)bits / 8, value);
    } else {
        uint64_t at = block + i * bits / 8, shift = i * bits % 8;

        store(s, at, 1, (load(s, at, 1) & ~(max << shift)) | value << shift);
    }
}

static void mend_refcounts(struct shape *s)
{
    struct counts c = { .n = clusters(s) };

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

static void mend(struct shape *s)
{
    if (rnd(s, 16) == 0)
        return;
    mend_header(s);
    if (look(s) && s->bitmaps_ext && rnd(s, 4))
        mend_bitmaps(s);
    if (rnd(s, 2) && look(s))
        mend_refcounts(s);
}

size_t mutate_qcow2(uint8_t *data, size_t size, size_t max_size, uint32_t seed)
{
    struct shape s = { .data = data, .size = size, .max_size = max_size, .rng = seed };

    if (!look(&s)) { /* no image: let chance have a go */
        for (int i = 0; size && i < 4; i++)
            data[rnd(&s, size)] = (uint8_t)rnd(&s, 256);
        return size;
    }
    for (uint64_t n = 1 + rnd(&s, 3); n > 0; n--)
        change(&s);
    mend(&s);
    return s.size;
}

size_t cross_qcow2(const uint8_t *a, size_t a_size, const uint8_t *b, size_t b_size, uint8_t *out, size_t max_size,
                   uint32_t seed)
{
    struct shape s = { .data = out, .size = a_size, .max_size = max_size, .rng = seed };
    uint64_t from, to;

    if (a_size > max_size || a_size < 112)
        return 0;
    memcpy(out, a, a_size);
    if (!look(&s) || b_size < s.cs || memcmp(a + 20, b + 20, 4) != 0)
        return 0;
    from = rnd(&s, b_size / s.cs) * s.cs;
    to = rnd(&s, a_size / s.cs) * s.cs;
    if (a_size < s.cs)
        return 0;
    memcpy(out + to, b + from, (size_t)s.cs);
    if (look(&s))
        mend(&s);
    return s.size;
}
