/* extents.c - extents, streamed: of a stored bitmap, of what layers hold, of what differs between two states
 * SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/checked.h"
#include "base/page.h"
#include "base/sized.h"
#include "bitmap/bitmap_list.h"
#include "bitmap/bitmap_load.h"
#include "ops/bitmap_collect.h"
#include "ops/extents_held.h"
#include "ops/extents_states.h"
#include "ops/since.h"

struct emit {
    qcbm_extent_fn *fn;
    void *opaque;
    struct qcbmi_guest_map *map; /* tells zeros; NULL = not asked for */
    unsigned gran_bits;
    uint64_t start, end;    /* guest bytes that are asked for, and are not yet in runs */
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

/* Guest bytes that are all dirty or all clean, but zeros or not. */
static int add_range(struct emit *e, uint64_t start, uint64_t end, bool dirty, struct qcbm_error *err)
{
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

/* Granules [@first, @last) are all dirty or all clean. */
static int add_granules(struct emit *e, uint64_t first, uint64_t last, bool dirty, struct qcbm_error *err)
{
    uint64_t start = u64_max(first << e->gran_bits, e->start), end = u64_min(last << e->gran_bits, e->end);

    e->start = u64_max(e->start, end);
    return add_range(e, start, end, dirty, err);
}

/* 64 bits from bit @at on, the first one lowest; those from @n on are 0. */
static uint64_t word_at(const uint8_t *bytes, uint64_t at, uint64_t n)
{
    uint8_t rest[8] = { 0 };

    if (n - at >= 64)
        return le64_load(bytes + at / 8);
    memcpy(rest, bytes + at / 8, (size_t)div_up(n - at, 8));
    return le64_load(rest);
}

/* Bits that differ from the one before them end a run; a word without any costs a step. */
static int add_bits(struct emit *e, uint64_t first, uint64_t end, const uint8_t *bytes, struct qcbm_error *err)
{
    uint64_t n = end - first, start = 0;
    bool dirty = bytes[0] & 1;
    int ret = 0;

    for (uint64_t at = 0; at < n; at += 64) {
        uint64_t word = word_at(bytes, at, n), flips = word ^ (word << 1 | dirty);

        if (n - at < 64)
            flips &= (UINT64_C(1) << (n - at)) - 1;
        for (; flips; flips &= flips - 1) {
            uint64_t k = at + (unsigned)__builtin_ctzll(flips);

            ret = add_granules(e, first + start, first + k, dirty, err);
            if (ret < 0)
                return ret;
            start = k;
            dirty = !dirty;
        }
    }
    return add_granules(e, first + start, end, dirty, err);
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

/* The clusters of bits from e->start on; with @step, a few at first and more with each turn: a page ends soon, and its
 * cost must not be that of what lies behind it. */
static int walk_bitmap(struct emit *e, struct qcbmi_image *img, const struct qcbmi_bitmap *b, uint64_t step,
                       struct qcbm_error *err)
{
    uint64_t per_cluster = 8 * (uint64_t)img->g.cluster_size;
    int ret = 0;

    while (ret == 0 && e->start < e->end) {
        uint64_t bit = e->start >> e->gran_bits, end_bit = div_up(e->end, UINT64_C(1) << e->gran_bits);

        if (step && step < div_up(end_bit, per_cluster) - bit / per_cluster)
            end_bit = (bit / per_cluster + step) * per_cluster;
        ret = qcbmi_bitmap_walk_part(img, b, bit, end_bit, extents_piece, e, err);
        step *= 2;
    }
    return ret < 0 ? ret : give_out(e, err);
}

/* ---- what extents are asked for of ---- */

struct qcbm_extents {
    struct qcbm_image *img;
    uint64_t generation;          /* of the image; a commit makes another list of bitmaps */
    const struct qcbmi_bitmap *b; /* NULL: of layers or states */
    uint64_t size;                /* of the disk, in whole sectors */
    uint64_t start, end;          /* guest bytes that can be asked for */
    bool zero;
    bool alone; /* one layer, no other open: where it holds nothing, zeros are known only if nothing is below */
    struct qcbmi_chain chain;
    struct qcbmi_guest_map map; /* if zeros are to be told */
    struct qcbmi_held held;     /* of layers */
    struct qcbmi_states states; /* .end is NULL, if of anything else */
    bool collected;             /* of the bitmaps of all layers, which are: */
    struct qcbmi_dirtymap all;
};

static int walk_map(struct emit *e, const struct qcbmi_dirtymap *map, struct qcbm_error *err)
{
    int ret = 0;

    while (ret == 0 && e->start < e->end) {
        uint64_t start, end;

        if (!qcbmi_dirtymap_next(map, e->start, &start, &end))
            start = end = e->end;
        start = u64_min(start, e->end);
        ret = add_range(e, e->start, start, false, err);
        if (ret == 0)
            ret = add_range(e, start, u64_min(end, e->end), true, err);
        e->start = u64_min(end, e->end);
    }
    return ret < 0 ? ret : give_out(e, err);
}

/* Layers tell their own zeros with what they hold. */
static int walk_layers(struct emit *e, struct qcbm_extents *x, struct qcbm_error *err)
{
    bool nothing_below = !x->img->image->backing_file;
    int ret = 0;

    while (ret == 0 && e->start < e->end) {
        struct qcbmi_held_piece p;

        ret = qcbmi_held_at(&x->held, e->start, &p, err);
        if (ret < 0)
            break;
        p.end = u64_min(p.end, e->end);
        p.zero = x->zero && (p.held ? p.zero : nothing_below);
        ret =
            x->alone ? add_piece(e, e->start, p.end, p.held, p.zero, err) : add_range(e, e->start, p.end, p.held, err);
        e->start = p.end;
    }
    return ret < 0 ? ret : give_out(e, err);
}

static int begin_map(struct qcbm_extents *x, struct qcbm_error *err)
{
    return qcbmi_guest_map_init(&x->map, &x->chain, QCBMI_GUEST_ALL | QCBMI_GUEST_STRICT, err);
}

/* Zeros of all that @top, the image or a state of it, reads. */
static int begin_zeros(struct qcbm_extents *x, struct qcbmi_image *top, unsigned flags, struct qcbm_error *err)
{
    struct qcbmi_chain_options options = { .force_share = flags & QCBM_EXTENTS_FORCE_SHARE };
    int ret = x->zero ? qcbmi_chain_open(top, &options, &x->chain, err) : 0;

    return ret == 0 && x->zero ? begin_map(x, err) : ret;
}

static void clear(struct qcbm_extents *x)
{
    qcbmi_held_free(&x->held);
    qcbmi_guest_map_free(&x->map);
    qcbmi_chain_close(&x->chain);
    qcbmi_states_free(&x->states);
    qcbmi_dirtymap_free(&x->all);
}

/* What is asked for of a disk of @size bytes. */
static void take_range(struct qcbm_extents *x, uint64_t size, const struct qcbm_extents_options *o)
{
    x->size = align_down(size, Q2_SECTOR);
    x->start = u64_min(o->offset, x->size);
    x->end = x->start + u64_min(o->length, x->size - x->start);
}

/* What all of them have, of @options in *@o. */
static int begin_any(struct qcbm_extents *x, struct qcbm_image *img, const struct qcbm_extents_options *options,
                     struct qcbm_extents_options *o, struct qcbm_error *err)
{
    int ret;

    *o = (struct qcbm_extents_options)QCBM_EXTENTS_OPTIONS_INIT;
    ret = qcbmi_take_options(o, sizeof(*o), options, err);
    memset(x, 0, sizeof(*x));
    x->img = img;
    x->generation = img->image->generation;
    x->zero = o->flags & QCBM_EXTENTS_ZERO;
    take_range(x, img->image->g.size, o);
    return ret;
}

/* Clear it on failure, too. */
static int begin_bitmap(struct qcbm_extents *x, struct qcbm_image *img, const char *name,
                        const struct qcbm_extents_options *options, struct qcbm_error *err)
{
    struct qcbm_extents_options o;
    int ret = begin_any(x, img, options, &o, err);

    if (ret == 0)
        ret = qcbmi_bitmap_find_readable(img, name, &x->b, err);
    if (ret == 0)
        ret = qcbmi_bitmap_check_table(img->image, x->b, err); /* before the first extent is given out */
    x->collected = ret == 0 && (o.flags & QCBM_EXTENTS_CHAIN);
    if (x->collected)
        ret = qcbmi_bitmap_collect(img, name, &x->all, err);
    return ret < 0 ? ret : begin_zeros(x, img->image, o.flags, err);
}

/* Clear it on failure, too. */
static int begin_layers(struct qcbm_extents *x, struct qcbm_image *img, const char *since,
                        const struct qcbm_extents_options *options, struct qcbm_error *err)
{
    struct qcbmi_chain_options chain = { .max_layers = 1 };
    struct qcbm_extents_options o;
    size_t n_above = 1;
    int ret = begin_any(x, img, options, &o, err);

    if (ret < 0)
        return ret;
    x->alone = !since;
    chain.force_share = o.flags & QCBM_EXTENTS_FORCE_SHARE;
    ret = since ? qcbmi_since_open(img->image, since, &chain, x->zero, &x->chain, &n_above, err)
                : qcbmi_chain_open(img->image, &chain, &x->chain, err);
    if (ret == 0)
        ret = qcbmi_held_begin(&x->held, &x->chain, n_above, err);
    return ret == 0 && since && x->zero ? begin_map(x, err) : ret;
}

/* Clear it on failure, too. */
static int begin_states(struct qcbm_extents *x, struct qcbm_image *img, const char *from, const char *to,
                        const struct qcbm_extents_options *options, struct qcbm_error *err)
{
    struct qcbm_extents_options o;
    int ret = begin_any(x, img, options, &o, err);

    if (ret == 0)
        ret = qcbmi_states_begin(&x->states, img->image, from, to, err);
    if (ret < 0)
        return ret;
    take_range(x, x->states.end->g.size, &o);
    return begin_zeros(x, x->states.end, o.flags, err);
}

static int extents_from(struct qcbm_extents *x, uint64_t from, uint64_t step, qcbm_extent_fn *fn, void *opaque,
                        struct qcbm_error *err)
{
    struct emit e = { .fn = fn, .opaque = opaque, .map = x->map.layers ? &x->map : NULL, .end = x->end };

    e.start = u64_max(from, x->start);
    if (x->states.end)
        return walk_map(&e, &x->states.map, err);
    if (x->collected)
        return walk_map(&e, &x->all, err);
    if (!x->b)
        return walk_layers(&e, x, err);
    e.gran_bits = x->b->d.granularity_bits;
    return walk_bitmap(&e, x->img->image, x->b, step, err);
}

int qcbm_bitmap_extents_of(struct qcbm_image *img, const char *name, const struct qcbm_extents_options *options,
                           qcbm_extent_fn *fn, void *opaque, struct qcbm_error *err)
{
    struct qcbm_extents x;
    int ret = begin_bitmap(&x, img, name, options, err);

    if (ret == 0)
        ret = extents_from(&x, x.start, 0, fn, opaque, err);
    clear(&x);
    return ret;
}

int qcbm_bitmap_extents(struct qcbm_image *img, const char *name, unsigned flags, qcbm_extent_fn *fn, void *opaque,
                        struct qcbm_error *err)
{
    struct qcbm_extents_options o = QCBM_EXTENTS_OPTIONS_INIT;

    o.flags = flags;
    return qcbm_bitmap_extents_of(img, name, &o, fn, opaque, err);
}

/* ---- page by page ---- */

/* What was begun becomes the caller's, if @ret is 0. */
static int give(struct qcbm_extents *x, int ret, struct qcbm_extents **out)
{
    *out = ret < 0 ? NULL : x;
    if (ret < 0)
        qcbm_extents_close(x);
    return ret;
}

int qcbm_extents_open(struct qcbm_image *img, const char *name, const struct qcbm_extents_options *options,
                      struct qcbm_extents **out, struct qcbm_error *err)
{
    struct qcbm_extents *x = qcbmi_alloc_array(1, sizeof(*x), err);

    return give(x, x ? begin_bitmap(x, img, name, options, err) : QCBM_E_NOMEM, out);
}

int qcbm_extents_open_layers(struct qcbm_image *img, const char *since, const struct qcbm_extents_options *options,
                             struct qcbm_extents **out, struct qcbm_error *err)
{
    struct qcbm_extents *x = qcbmi_alloc_array(1, sizeof(*x), err);

    return give(x, x ? begin_layers(x, img, since, options, err) : QCBM_E_NOMEM, out);
}

int qcbm_extents_open_snapshots(struct qcbm_image *img, const char *from, const char *to,
                                const struct qcbm_extents_options *options, struct qcbm_extents **out,
                                struct qcbm_error *err)
{
    struct qcbm_extents *x = qcbmi_alloc_array(1, sizeof(*x), err);

    return give(x, x ? begin_states(x, img, from, to, options, err) : QCBM_E_NOMEM, out);
}

uint64_t qcbm_extents_size(const struct qcbm_extents *x)
{
    return x->size;
}

void qcbm_extents_close(struct qcbm_extents *x)
{
    if (!x)
        return;
    clear(x);
    free(x);
}

static int put_extent(void *opaque, const struct qcbm_extent *extent)
{
    return qcbmi_page_put(opaque, extent, sizeof(*extent), extent->offset + extent->length);
}

int qcbm_extents_fill(struct qcbm_extents *x, uint64_t from, struct qcbm_extent *array, size_t elem_size, size_t n,
                      size_t *got, uint64_t *next, struct qcbm_error *err)
{
    struct qcbm_error why;
    struct qcbmi_page page;
    int ret = qcbmi_page_begin(&page, array, elem_size, n, from, err);

    *got = 0;
    *next = from;
    if (ret < 0)
        return ret;
    if (x->generation != x->img->image->generation)
        return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET, "the image was changed since its extents were opened");
    if (n > 0)
        ret = extents_from(x, from, 1, put_extent, &page, &why);
    *got = page.got;
    *next = page.next;
    return qcbmi_page_end(&page, ret, &why, err);
}
