/* mutate_qcow2.c - changes of an image that know where its structures lie
 * SPDX-License-Identifier: MIT
 *
 * Blind changes of an image mostly end in the header check. These pick a structure, change one field of it to a value
 * that is likely to matter, and then mostly mend what would keep the image from opening: the code behind that is
 * reached. Nothing is taken from the library, so that a fault of its parsers is not a fault of the mutator, too. */
#include "mutate_qcow2.h"

#include <stdlib.h>
#include <string.h>

#include "mutate_shape.h"

/* ---- values that matter ---- */

static uint64_t some_cluster(struct shape *s)
{
    switch (shape_rnd(s, 9)) {
    case 0:
        return s->l1;
    case 1:
        return s->reftable;
    case 2:
        return shape_load(s, s->reftable, 8);
    case 3:
        return shape_load(s, s->l1, 8) & OFFSET_MASK; /* an L2 table */
    case 4:
        return s->bitmaps_ext ? s->directory : s->snapshots;
    case 5:
        return shape_clusters(s) * s->cs; /* right behind the end */
    case 6:
        return 0;
    default:
        return shape_rnd(s, shape_clusters(s)) * s->cs;
    }
}

static uint64_t table_value(struct shape *s, uint64_t old)
{
    switch (shape_rnd(s, 14)) {
    case 0:
        return 0;
    case 1:
        return 1;
    case 2:
        return UINT64_MAX >> shape_rnd(s, 64);
    case 3:
        return old ^ UINT64_C(1) << 63;
    case 4:
        return old ^ UINT64_C(1) << 62;
    case 5:
        return old ^ 1;
    case 6:
        return old ^ UINT64_C(1) << shape_rnd(s, 64);
    case 7:
        return some_cluster(s) | 512 * shape_rnd(s, 3);
    case 8: /* compressed: some sectors */
        return UINT64_C(1) << 62 | shape_rnd(s, 3) << (62 - (s->cluster_bits - 8)) | shape_rnd(s, s->size + 600);
    case 9:
        return old + s->cs;
    case 10:
        if (shape_rnd(s, 2)) /* in the hole that fuzz_check.c puts behind the image */
            return some_cluster(s) + (1 + shape_rnd(s, 3)) * 4096 * s->cs;
        return (UINT64_C(1) << 55) + some_cluster(s);
    default:
        return some_cluster(s) | (shape_rnd(s, 2) ? UINT64_C(1) << 63 : 0) | (shape_rnd(s, 4) == 0);
    }
}

static uint64_t field_value(struct shape *s, uint64_t old)
{
    switch (shape_rnd(s, 9)) {
    case 0:
        return shape_rnd(s, 4);
    case 1:
        return UINT64_MAX - shape_rnd(s, 3);
    case 2:
        return old + 1;
    case 3:
        return old - 1;
    case 4:
        return old ^ UINT64_C(1) << shape_rnd(s, 64);
    case 5:
        return UINT64_C(1) << shape_rnd(s, 64);
    case 6:
        return some_cluster(s);
    case 7:
        return s->size + shape_rnd(s, 3) - 1;
    default:
        return shape_rnd(s, 256);
    }
}

static void change_field(struct shape *s, uint64_t off, unsigned width)
{
    shape_store(s, off, width, field_value(s, shape_load(s, off, width)));
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
    size_t i = (size_t)shape_rnd(s, sizeof(fields) / sizeof(*fields));

    change_field(s, fields[i].off, fields[i].width);
    if (shape_rnd(s, 4) == 0) /* a size around a multiple of what matters */
        shape_store(s, 24, 8, shape_rnd(s, 64) * s->cs + shape_rnd(s, 3) * 512 + shape_rnd(s, 3) - 1);
}

static void change_extension(struct shape *s)
{
    static const uint32_t types[] = { 0,          0xe2792aca, 0x6803f857, BITMAPS_EXT,
                                      0x0537be77, 0x44415441, 0x71634250, 0x12345678 };
    uint64_t at = s->version == 3 ? shape_load(s, 100, 4) : 72;

    for (uint64_t n = shape_rnd(s, 4); n > 0 && shape_load(s, at, 4); n--)
        at += 8 + (shape_load(s, at + 4, 4) + 7) / 8 * 8;
    switch (shape_rnd(s, 4)) {
    case 0:
        shape_store(s, at, 4, types[shape_rnd(s, 8)]);
        break;
    case 1:
        change_field(s, at + 4, 4);
        break;
    case 2:
        change_field(s, at + 8 + shape_rnd(s, 6) * 4, 4);
        break;
    default: /* a new one in front of END */
        while (shape_load(s, at, 4) && at < s->cs)
            at += 8 + (shape_load(s, at + 4, 4) + 7) / 8 * 8;
        shape_store(s, at, 4, types[shape_rnd(s, 8)]);
        shape_store(s, at + 4, 4, shape_rnd(s, 3) * 8);
    }
}

static void change_entry(struct shape *s, uint64_t table, uint64_t n, unsigned width)
{
    uint64_t at = table + shape_rnd(s, n) * width;

    shape_store(s, at, 8, table_value(s, shape_load(s, at, 8)));
    if (width == 16 && shape_rnd(s, 2)) /* subclusters */
        shape_store(s, at + 8, 8,
                    shape_rnd(s, 3) ? UINT64_C(1) << shape_rnd(s, 64) | UINT64_C(1) << shape_rnd(s, 64)
                                    : shape_rnd(s, UINT64_MAX));
}

static void change_l2(struct shape *s, uint64_t l1, uint64_t n)
{
    uint64_t start = shape_rnd(s, n), table = 0;

    for (uint64_t i = 0; i < n && i < 256 && !table; i++)
        table = shape_load(s, l1 + 8 * ((start + i) % n), 8) & OFFSET_MASK;
    if (table)
        change_entry(s, table, shape_rnd(s, 2) ? 8 : s->cs / s->entry, (unsigned)s->entry);
}

static void change_refcounts(struct shape *s)
{
    uint64_t n = (uint64_t)s->reftable_n * s->cs / 8, block = shape_load(s, s->reftable, 8);

    if (shape_rnd(s, 3) == 0 || !block)
        change_entry(s, s->reftable, shape_rnd(s, 2) ? 2 : n, 8);
    else
        change_field(s, block + (shape_rnd(s, shape_clusters(s) + 4) << s->refcount_order) / 8,
                     shape_rnd(s, 2) ? 1 : 2);
}

static void change_bitmap(struct shape *s)
{
    uint64_t at = shape_bitmap_entry(s, shape_rnd(s, shape_load(s, s->bitmaps_ext, 4) % 8)),
             table = shape_load(s, at, 8);
    uint64_t n = shape_load(s, at + 8, 4) % 4096 + 1;
    static const uint8_t fields[][2] = { { 0, 8 },  { 8, 4 },  { 15, 1 }, { 12, 4 }, { 16, 1 },
                                         { 17, 1 }, { 18, 2 }, { 20, 4 }, { 24, 1 } };
    size_t f = (size_t)shape_rnd(s, 9);

    switch (shape_rnd(s, 5)) {
    case 0:
        change_field(s, at + fields[f][0], fields[f][1]);
        break;
    case 1:
        shape_store(s, at + 17, 1, 9 + shape_rnd(s, 10));
        break;
    case 2:
        change_field(s, (shape_load(s, table + 8 * shape_rnd(s, n), 8) & OFFSET_MASK) + shape_rnd(s, s->cs), 1);
        break;
    case 3:
        change_field(s, s->bitmaps_ext + 8 * shape_rnd(s, 3), 8);
        break;
    default:
        change_entry(s, table, n, 8);
    }
}

static void change_snapshot(struct shape *s)
{
    uint64_t at = shape_snapshot_entry(s, shape_rnd(s, s->n_snapshots % 8)), n = shape_load(s, at + 8, 4) % 4096 + 1;
    static const uint8_t fields[][2] = { { 0, 8 },  { 8, 4 },  { 12, 2 }, { 14, 2 },
                                         { 32, 4 }, { 36, 4 }, { 40, 8 }, { 48, 8 } };
    size_t f = (size_t)shape_rnd(s, 8);

    switch (shape_rnd(s, 3)) {
    case 0:
        change_field(s, at + fields[f][0], fields[f][1]);
        break;
    case 1:
        change_entry(s, shape_load(s, at, 8), n, 8);
        break;
    default:
        change_l2(s, shape_load(s, at, 8), n);
    }
}

static void change_size(struct shape *s)
{
    size_t size = s->size;

    switch (shape_rnd(s, 4)) {
    case 0:
        size -= size > 512 ? (size_t)shape_rnd(s, 512) : 0;
        break;
    case 1:
        size = (size_t)((1 + shape_rnd(s, shape_clusters(s))) * s->cs);
        break;
    case 2:
        size += (size_t)s->cs;
        break;
    default:
        size = (size_t)(shape_clusters(s) * s->cs);
    }
    if (size > s->max_size || size < 112)
        return;
    if (size > s->size)
        memset(s->data + s->size, 0, size - s->size);
    s->size = size;
}

static void copy_cluster(struct shape *s)
{
    uint64_t from = shape_rnd(s, shape_clusters(s)) * s->cs, to = (1 + shape_rnd(s, shape_clusters(s))) * s->cs;

    if (from + s->cs <= s->size && to + s->cs <= s->size)
        memmove(s->data + to, s->data + from, (size_t)s->cs);
}

/* A new L2 table at the end, for an L1 entry: a copy of another, or empty. */
static void add_table(struct shape *s)
{
    uint64_t at = shape_clusters(s) * s->cs, from = shape_load(s, s->l1, 8) & OFFSET_MASK;

    if (at + s->cs > s->max_size || s->l1_n == 0)
        return;
    memset(s->data + s->size, 0, (size_t)(at + s->cs) - s->size);
    s->size = (size_t)(at + s->cs);
    if (from + s->cs <= at && shape_rnd(s, 2))
        memcpy(s->data + at, s->data + from, (size_t)s->cs);
    shape_store(s, s->l1 + 8 * shape_rnd(s, s->l1_n), 8, at | UINT64_C(1) << 63);
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
    shape_store(s, s->size - 3, 3, shape_rnd(s, 1 << 24));
}

static void change(struct shape *s)
{
    switch (shape_rnd(s, 16)) {
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
        shape_rnd(s, 2) ? copy_cluster(s) : add_table(s);
        break;
    default:
        set_trailer(s);
    }
}

size_t mutate_qcow2(uint8_t *data, size_t size, size_t max_size, uint32_t seed)
{
    struct shape s = { .data = data, .size = size, .max_size = max_size, .rng = seed };

    if (!shape_look(&s)) { /* no image: let chance have a go */
        for (int i = 0; size && i < 4; i++)
            data[shape_rnd(&s, size)] = (uint8_t)shape_rnd(&s, 256);
        return size;
    }
    for (uint64_t n = 1 + shape_rnd(&s, 3); n > 0; n--)
        change(&s);
    mutate_mend(&s);
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
    if (!shape_look(&s) || b_size < s.cs || memcmp(a + 20, b + 20, 4) != 0)
        return 0;
    from = shape_rnd(&s, b_size / s.cs) * s.cs;
    to = shape_rnd(&s, a_size / s.cs) * s.cs;
    if (a_size < s.cs)
        return 0;
    memcpy(out + to, b + from, (size_t)s.cs);
    if (shape_look(&s))
        mutate_mend(&s);
    return s.size;
}
