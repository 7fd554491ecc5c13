/* extents.c - the dirty extents of a stored bitmap, streamed
 * SPDX-License-Identifier: MIT */
#include "base/checked.h"
#include "base/sized.h"
#include "bitmap/bitmap_list.h"
#include "bitmap/bitmap_load.h"
#include "image/guest_map.h"

struct emit {
    qcbm_extent_fn *fn;
    void *opaque;
    struct qcbmi_guest_map *map; /* tells zeros; NULL = not asked for */
    unsigned gran_bits;
    uint64_t start, end;    /* guest bytes that are asked for */
    struct qcbm_extent run; /* not yet given out; length 0 = none */
};

static int give_out(struct emit *e, struct qcbm_error *err)
{
    if (e->run.length && e->fn(e->opaque, &e->run))
        return qcbmi_fail_stopped(err);
    e->run.length = 0;
    return 0;
}

/* The next piece, of one state; joined with the run before it if that is alike. */
static int add_piece(struct emit *e, uint64_t start, uint64_t end, bool dirty, bool zero, struct qcbm_error *err)
{
    int ret;

    if (e->run.length && e->run.dirty == dirty && e->run.zero == zero) {
        e->run.length += end - start;
        return 0;
    }
    ret = give_out(e, err);
    e->run = (struct qcbm_extent){ start, end - start, dirty, zero };
    return ret;
}

/* Granules [@first, @last) are all dirty or all clean. */
static int add_granules(struct emit *e, uint64_t first, uint64_t last, bool dirty, struct qcbm_error *err)
{
    uint64_t start = u64_max(first << e->gran_bits, e->start), end = u64_min(last << e->gran_bits, e->end);

    if (!e->map)
        return start < end ? add_piece(e, start, end, dirty, false, err) : 0;
    while (start < end) {
        struct qcbmi_guest_piece p;
        int ret = qcbmi_guest_map_at(e->map, start, &p, err);

        if (ret == 0)
            ret = add_piece(e, start, u64_min(p.end, end), dirty, qcbmi_guest_piece_is_zero(&p), err);
        if (ret < 0)
            return ret;
        start = p.end;
    }
    return 0;
}

static int add_bits(struct emit *e, uint64_t first, uint64_t end, const uint8_t *bytes, struct qcbm_error *err)
{
    uint64_t n = end - first;
    int ret = 0;

    for (uint64_t i = 0, k; ret == 0 && i < n; i = k) {
        bool dirty = bytes[i / 8] >> (i % 8) & 1;
        uint8_t uniform = dirty ? 0xff : 0;

        for (k = i + 1; k < n;) {
            if (k % 8 == 0 && n - k >= 8 && bytes[k / 8] == uniform)
                k += 8;
            else if ((bytes[k / 8] >> (k % 8) & 1) == dirty)
                k++;
            else
                break;
        }
        ret = add_granules(e, first + i, first + k, dirty, err);
    }
    return ret;
}

static int extents_piece(void *opaque, enum q2_bitmap_entry_kind kind, uint64_t first_byte, uint64_t n_bytes,
                         const uint8_t *bytes, struct qcbm_error *err)
{
    struct emit *e = opaque;
    uint64_t first = 8 * first_byte,
             end = u64_min(8 * (first_byte + n_bytes), div_up(e->end, UINT64_C(1) << e->gran_bits));

    if (first >= end)
        return 0;
    if (kind == Q2_BME_DATA)
        return add_bits(e, first, end, bytes, err);
    return add_granules(e, first, end, kind == Q2_BME_ONES, err);
}

/* The part of the disk that is asked for. */
static void clip(struct emit *e, const struct qcbm_extents_options *o, uint64_t size)
{
    e->start = u64_min(o->offset, size);
    e->end = e->start + u64_min(o->length, size - e->start);
}

static int walk(struct emit *e, struct qcbmi_image *img, const struct qcbmi_bitmap *b, struct qcbm_error *err)
{
    uint64_t end_bit = div_up(e->end, UINT64_C(1) << e->gran_bits);
    int ret = 0;

    if (e->start < e->end)
        ret = qcbmi_bitmap_walk_part(img, b, e->start >> e->gran_bits, end_bit, extents_piece, e, err);
    return ret < 0 ? ret : give_out(e, err);
}

int qcbm_bitmap_extents_of(struct qcbm_image *img, const char *name, const struct qcbm_extents_options *options,
                           qcbm_extent_fn *fn, void *opaque, struct qcbm_error *err)
{
    struct qcbm_extents_options o = QCBM_EXTENTS_OPTIONS_INIT;
    struct emit e = { .fn = fn, .opaque = opaque };
    struct qcbmi_chain_options chain_options = { 0 };
    struct qcbmi_chain chain = { 0 };
    struct qcbmi_guest_map map = { 0 };
    const struct qcbmi_bitmap *b;
    int ret = qcbmi_take_options(&o, sizeof(o), options, err);

    if (ret == 0)
        ret = qcbmi_bitmap_find_readable(img, name, &b, err);
    if (ret == 0)
        ret = qcbmi_bitmap_check_table(img->image, b, err); /* before the first extent is given out */
    if (ret < 0)
        return ret;
    clip(&e, &o, img->image->g.sector_size_down);
    e.gran_bits = b->d.granularity_bits;
    chain_options.force_share = o.flags & QCBM_EXTENTS_FORCE_SHARE;
    if (o.flags & QCBM_EXTENTS_ZERO) {
        ret = qcbmi_chain_open(img->image, &chain_options, &chain, err);
        if (ret == 0)
            ret = qcbmi_guest_map_init(&map, &chain, QCBMI_GUEST_ALL | QCBMI_GUEST_STRICT, err);
        e.map = &map;
    }
    if (ret == 0)
        ret = walk(&e, img->image, b, err);
    qcbmi_guest_map_free(&map);
    qcbmi_chain_close(&chain);
    return ret;
}

int qcbm_bitmap_extents(struct qcbm_image *img, const char *name, unsigned flags, qcbm_extent_fn *fn, void *opaque,
                        struct qcbm_error *err)
{
    struct qcbm_extents_options o = QCBM_EXTENTS_OPTIONS_INIT;

    o.flags = flags;
    return qcbm_bitmap_extents_of(img, name, &o, fn, opaque, err);
}
