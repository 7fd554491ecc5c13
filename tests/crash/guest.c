/* guest.c - the bytes of an image that no change of bitmaps may touch
 * SPDX-License-Identifier: MIT */
#include "guest.h"

#include <stdlib.h>
#include <string.h>

#include "look.h"

#define OFFSET_MASK UINT64_C(0x00fffffffffffe00)

static uint64_t load(const struct guest *g, uint64_t off, unsigned width)
{
    uint64_t v = 0;

    if (off + width > g->len)
        look_fail("guest", "a table passes the end of the file");
    for (unsigned i = 0; i < width; i++)
        v = v << 8 | g->bytes[off + i];
    return v;
}

static void keep(struct guest *g, uint64_t off, uint64_t len)
{
    if (off >= g->len)
        return;
    if (g->n == g->capacity) {
        g->capacity = g->capacity ? 2 * g->capacity : 64;
        g->ranges = realloc(g->ranges, g->capacity * sizeof(*g->ranges));
        if (!g->ranges)
            abort();
    }
    g->ranges[g->n++] = (struct guest_range){ (size_t)off, (size_t)(len < g->len - off ? len : g->len - off) };
}

static unsigned cluster_bits(const struct guest *g)
{
    return (unsigned)load(g, 20, 4);
}

static void keep_data(struct guest *g, uint64_t entry)
{
    unsigned bits = cluster_bits(g), shift = 62 - (bits - 8);
    uint64_t sectors;

    if (entry >> 62 & 1) {
        sectors = (entry >> shift & ((UINT64_C(1) << (bits - 8)) - 1)) + 1;
        entry &= (UINT64_C(1) << shift) - 1;
        keep(g, entry, sectors * 512 - (entry & 511));
    } else if ((entry & OFFSET_MASK) && !(load(g, 72, 8) & 4)) { /* 4: the data is in another file */
        keep(g, entry & OFFSET_MASK, UINT64_C(1) << bits);
    }
}

static void keep_tables(struct guest *g, uint64_t l1, uint64_t entries)
{
    uint64_t cluster = UINT64_C(1) << cluster_bits(g), l2;
    unsigned width = load(g, 72, 8) & 16 ? 16 : 8; /* 16: extended L2 entries */

    keep(g, l1, entries * 8);
    for (uint64_t i = 0; i < entries; i++) {
        l2 = load(g, l1 + 8 * i, 8) & OFFSET_MASK;
        if (!l2)
            continue;
        keep(g, l2, cluster);
        for (uint64_t at = l2; at + width <= l2 + cluster && at + 8 <= g->len; at += width)
            keep_data(g, load(g, at, 8));
    }
}

static void keep_snapshots(struct guest *g)
{
    uint64_t at = load(g, 64, 8), len;

    for (uint64_t n = load(g, 60, 4); n > 0; n--) {
        len = 40 + load(g, at + 36, 4) + load(g, at + 12, 2) + load(g, at + 14, 2);
        keep(g, at, len);
        keep_tables(g, load(g, at, 8), load(g, at + 8, 4));
        at += (len + 7) & ~UINT64_C(7);
    }
}

void guest_find(struct guest *g, const uint8_t *bytes, size_t len)
{
    *g = (struct guest){ .bytes = bytes, .len = len };
    if (load(g, 4, 4) != 3)
        look_fail("guest", "not a version 3 image");
    /* All of the header but the place of the backing name, the refcount table and the byte with autoclear bit 0. */
    keep(g, 0, 8);
    keep(g, 16, 48 - 16);
    keep(g, 60, 95 - 60);
    keep(g, 96, load(g, 100, 4) - 96);
    keep_tables(g, load(g, 40, 8), load(g, 36, 4));
    keep_snapshots(g);
}

bool guest_is_same(const struct guest *g, const uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < g->n; i++) {
        const struct guest_range *r = &g->ranges[i];

        if (r->off + r->len > len || memcmp(bytes + r->off, g->bytes + r->off, r->len) != 0)
            return false;
    }
    return ((bytes[95] ^ g->bytes[95]) & 0xfe) == 0;
}

void guest_free(struct guest *g)
{
    free(g->ranges);
}
