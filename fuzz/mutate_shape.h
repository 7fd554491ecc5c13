/* mutate_shape.h - where the structures of an image lie, for those who change them
 * SPDX-License-Identifier: MIT */
#ifndef FUZZ_MUTATE_SHAPE_H
#define FUZZ_MUTATE_SHAPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
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

static inline uint64_t shape_rnd(struct shape *s, uint64_t below)
{
    s->rng += UINT64_C(0x9e3779b97f4a7c15); /* splitmix64 */
    uint64_t z = s->rng;

    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return below ? (z ^ z >> 31) % below : 0;
}

static inline uint64_t shape_load(const struct shape *s, uint64_t off, unsigned width)
{
    uint64_t v = 0;

    if (off > s->size || s->size - off < width)
        return 0;
    for (unsigned i = 0; i < width; i++)
        v = v << 8 | s->data[off + i];
    return v;
}

static inline void shape_store(struct shape *s, uint64_t off, unsigned width, uint64_t v)
{
    if (off > s->size || s->size - off < width)
        return;
    for (unsigned i = 0; i < width; i++)
        s->data[off + i] = (uint8_t)(v >> 8 * (width - 1 - i));
}

static inline uint64_t shape_clusters(const struct shape *s)
{
    return (s->size + s->cs - 1) / s->cs;
}

/* ---- where things lie ---- */

static inline void shape_find_bitmaps(struct shape *s)
{
    uint64_t at = s->version == 3 ? shape_load(s, 100, 4) : 72;

    s->bitmaps_ext = 0;
    for (unsigned i = 0; i < 32 && at + 8 <= s->cs; i++) {
        uint64_t type = shape_load(s, at, 4), len = shape_load(s, at + 4, 4);

        if (type == 0)
            return;
        if (type == BITMAPS_EXT) {
            s->bitmaps_ext = at + 8;
            s->directory_len = shape_load(s, at + 16, 8);
            s->directory = shape_load(s, at + 24, 8);
        }
        at += 8 + (len + 7) / 8 * 8;
    }
}

static inline bool shape_look(struct shape *s)
{
    uint64_t incompatible;

    if (s->size < 112 || shape_load(s, 0, 4) != UINT32_C(0x514649fb))
        return false;
    s->version = (uint32_t)shape_load(s, 4, 4);
    s->cluster_bits = (uint32_t)shape_load(s, 20, 4);
    if (s->cluster_bits < 9 || s->cluster_bits > 21)
        return false;
    s->cs = UINT64_C(1) << s->cluster_bits;
    s->disk = shape_load(s, 24, 8);
    s->l1_n = (uint32_t)shape_load(s, 36, 4);
    s->l1 = shape_load(s, 40, 8);
    s->reftable = shape_load(s, 48, 8);
    s->reftable_n = (uint32_t)shape_load(s, 56, 4);
    s->n_snapshots = (uint32_t)shape_load(s, 60, 4);
    s->snapshots = shape_load(s, 64, 8);
    incompatible = s->version == 3 ? shape_load(s, 72, 8) : 0;
    s->refcount_order = s->version == 3 ? (uint32_t)shape_load(s, 96, 4) & 7 : 4;
    s->entry = incompatible & 16 ? 16 : 8;
    shape_find_bitmaps(s);
    return true;
}

/* Directory entry @i. */
static inline uint64_t shape_bitmap_entry(const struct shape *s, uint64_t i)
{
    uint64_t at = s->directory;

    for (; i > 0; i--)
        at += (24 + shape_load(s, at + 18, 2) + shape_load(s, at + 20, 4) + 7) / 8 * 8;
    return at;
}

static inline uint64_t shape_snapshot_entry(const struct shape *s, uint64_t i)
{
    uint64_t at = s->snapshots;

    for (; i > 0; i--)
        at += (40 + shape_load(s, at + 12, 2) + shape_load(s, at + 14, 2) + shape_load(s, at + 36, 4) + 7) / 8 * 8;
    return at;
}

/* Mostly mend what would keep the image from opening: header, bitmaps, refcounts. */
void mutate_mend(struct shape *s);

#endif
