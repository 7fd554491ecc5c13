/* bitmap_setops.c - bits of an edited bitmap from bits: merge, intersect, subtract, copy, ranges, another granularity
 * SPDX-License-Identifier: MIT
 *
 * What a bitmap says is rounded one way only: a granule may become clean if all of its bytes are known to be clean. */
#include <string.h>

#include "base/checked.h"
#include "bitmap/bitmap_edit.h"
#include "bitmap/bitmap_load.h"

/* ---- where bits come from ---- */

struct source {
    const struct qcbmi_dirtymap *map;
    const struct qcbmi_image *img;
    unsigned gran_bits;
    uint32_t flags;
    bool live;                    /* read with force-share */
    bool grown;                   /* its disk was smaller, and what lies behind its end becomes dirty */
    struct qcbmi_dirtymap loaded; /* if the edit does not have the bits in memory */
};

/* Bitmap @name as the edit has it so far. */
static int own_source(struct qcbm_edit *edit, const char *name, struct source *out, struct qcbm_error *err)
{
    struct qcbmi_edit_bitmap *b;
    int ret = qcbmi_edit_find_consistent(edit, name, &b, err);

    if (ret < 0)
        return ret;
    out->img = edit->img;
    out->gran_bits = b->gran_bits;
    out->flags = b->flags;
    out->map = b->bits_changed ? &b->map : &out->loaded;
    return b->bits_changed ? 0 : qcbmi_bitmap_load(edit->img, b->stored, &out->loaded, err);
}

static int foreign_source(struct qcbm_image *handle, const char *name, struct source *out, struct qcbm_error *err)
{
    const struct qcbmi_bitmap *b;
    int ret = qcbmi_bitmap_find_readable(handle, name, &b, err);

    if (ret < 0)
        return ret;
    out->img = handle->image;
    out->live = out->img->open_flags & QCBM_OPEN_FORCE_SHARE;
    out->gran_bits = b->d.granularity_bits;
    out->flags = b->d.flags;
    out->map = &out->loaded;
    return qcbmi_bitmap_load(handle->image, b, &out->loaded, err);
}

static int load_source(struct qcbm_edit *edit, struct qcbm_image *handle, const char *name, struct source *out,
                       struct qcbm_error *err)
{
    return !handle || handle == edit->handle ? own_source(edit, name, out, err)
                                             : foreign_source(handle, name, out, err);
}

static bool is_same(const struct qcbm_edit *edit, const char *dst, const struct qcbm_image *src_img, const char *src)
{
    return (!src_img || src_img == edit->handle) && strcmp(dst, src) == 0;
}

/* QEMU merges bitmaps of disks whose sizes differ by less than a sector. What clears bits must not: it would clear the
 * one that stands for bytes of which the source knows nothing. */
static int check_same_disk(const struct qcbm_edit *edit, const struct source *from, struct qcbm_error *err)
{
    if (from->img->g.size == edit->img->g.size)
        return 0;
    return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET,
                      "the images have different virtual sizes (%" PRIu64 ", source %" PRIu64 ")", edit->img->g.size,
                      from->img->g.size);
}

/* A disk that has become smaller is another case: what lay behind its end cannot be told. */
static int check_grown(const struct qcbm_edit *edit, struct source *from, struct qcbm_error *err)
{
    from->grown = from->img->g.size < edit->img->g.size;
    if (from->img->g.size <= edit->img->g.size)
        return 0;
    return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET,
                      "the disk has become smaller (%" PRIu64 " bytes, source %" PRIu64 "), and not grown",
                      edit->img->g.size, from->img->g.size);
}

/* ---- two bitmaps into one ---- */

typedef int combine_fn(struct qcbmi_dirtymap *to, const struct qcbmi_dirtymap *from, struct qcbm_error *err);

static int apply(struct qcbm_edit *edit, struct qcbmi_edit_bitmap *to, const struct source *from, combine_fn *fn,
                 struct qcbm_error *err)
{
    struct qcbmi_dirtymap map = { 0 };
    int ret = qcbmi_edit_copy_bits(edit, to, &map, err);

    if (ret == 0)
        ret = fn(&map, from->map, err);
    if (ret == 0 && from->grown)
        ret = qcbmi_dirtymap_set_tail(&map, from->map->size, err);
    if (ret == 0) {
        qcbmi_edit_take_map(to, &map);
        edit->of_live_data |= from->live;
    }
    qcbmi_dirtymap_free(&map);
    return ret;
}

static int check_same_size(const struct qcbm_edit *edit, const struct source *from, struct qcbm_error *err)
{
    if (from->map->size == edit->img->g.sector_size_down)
        return 0;
    return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET,
                      "Bitmaps are of different sizes (destination size is %" PRIu64 ", source size is %" PRIu64
                      ") and can't be merged",
                      edit->img->g.sector_size_down, from->map->size);
}

/* Does it add anything? */
static bool has_any(const struct source *from)
{
    return from->grown || qcbmi_bitset_next_set(&from->map->bits, 0) < from->map->bits.n_bits;
}

static int merge(struct qcbm_edit *edit, const char *dst, struct qcbm_image *src_img, const char *src, bool grown,
                 struct qcbm_error *err)
{
    struct source from = { 0 };
    struct qcbmi_edit_bitmap *to;
    int ret = qcbmi_edit_find_consistent(edit, dst, &to, err);

    if (ret == 0 && is_same(edit, dst, src_img, src))
        return 0;
    if (ret == 0)
        ret = load_source(edit, src_img, src, &from, err);
    if (ret == 0)
        ret = grown ? check_grown(edit, &from, err) : check_same_size(edit, &from, err);
    if (ret == 0 && has_any(&from))
        ret = apply(edit, to, &from, qcbmi_dirtymap_merge, err);
    qcbmi_dirtymap_free(&from.loaded);
    return ret;
}

int qcbm_edit_merge(struct qcbm_edit *edit, const char *dst, struct qcbm_image *src_img, const char *src,
                    struct qcbm_error *err)
{
    return merge(edit, dst, src_img, src, false, err);
}

int qcbm_edit_merge_grown(struct qcbm_edit *edit, const char *dst, struct qcbm_image *src_img, const char *src,
                          struct qcbm_error *err)
{
    return merge(edit, dst, src_img, src, true, err);
}

static int combine(struct qcbm_edit *edit, const char *dst, struct qcbm_image *src_img, const char *src, combine_fn *fn,
                   struct qcbm_error *err)
{
    struct source from = { 0 };
    struct qcbmi_edit_bitmap *to;
    int ret = qcbmi_edit_find_consistent(edit, dst, &to, err);

    if (ret == 0)
        ret = load_source(edit, src_img, src, &from, err);
    if (ret == 0)
        ret = check_same_disk(edit, &from, err);
    if (ret == 0)
        ret = apply(edit, to, &from, fn, err);
    qcbmi_dirtymap_free(&from.loaded);
    return ret;
}

int qcbm_edit_intersect(struct qcbm_edit *edit, const char *dst, struct qcbm_image *src_img, const char *src,
                        struct qcbm_error *err)
{
    struct qcbmi_edit_bitmap *to;

    if (is_same(edit, dst, src_img, src))
        return qcbmi_edit_find_consistent(edit, dst, &to, err);
    return combine(edit, dst, src_img, src, qcbmi_dirtymap_intersect, err);
}

int qcbm_edit_subtract(struct qcbm_edit *edit, const char *dst, struct qcbm_image *src_img, const char *src,
                       struct qcbm_error *err)
{
    if (is_same(edit, dst, src_img, src))
        return qcbm_edit_clear(edit, dst, err);
    return combine(edit, dst, src_img, src, qcbmi_dirtymap_subtract, err);
}

/* The bits of @from in a map of the size of the edited image. */
static int copy_bits(const struct qcbm_edit *edit, const struct source *from, struct qcbmi_dirtymap *map,
                     struct qcbm_error *err)
{
    int ret = qcbmi_edit_check_size(edit, from->gran_bits, err);

    if (ret == 0)
        ret = qcbmi_dirtymap_init(map, edit->img->g.sector_size_down, from->gran_bits, err);
    if (ret == 0)
        ret = qcbmi_dirtymap_merge(map, from->map, err);
    return ret == 0 && from->grown ? qcbmi_dirtymap_set_tail(map, from->map->size, err) : ret;
}

static int copy(struct qcbm_edit *edit, const char *name, struct qcbm_image *src_img, const char *src, bool grown,
                struct qcbm_error *err)
{
    struct qcbmi_dirtymap own = { 0 }, *map = &own;
    struct source from = { 0 };
    int ret = load_source(edit, src_img, src, &from, err);

    if (ret == 0)
        ret = grown ? check_grown(edit, &from, err) : check_same_disk(edit, &from, err);
    if (from.map == &from.loaded && !from.grown) /* nobody else has these bits */
        map = &from.loaded;
    else if (ret == 0)
        ret = copy_bits(edit, &from, &own, err);
    if (ret == 0)
        ret = qcbmi_edit_insert(edit, name, from.gran_bits, from.flags & Q2_BITMAP_AUTO, false, map, err);
    edit->of_live_data |= ret == 0 && from.live;
    qcbmi_dirtymap_free(&own);
    qcbmi_dirtymap_free(&from.loaded);
    return ret;
}

int qcbm_edit_copy(struct qcbm_edit *edit, const char *name, struct qcbm_image *src_img, const char *src,
                   struct qcbm_error *err)
{
    return copy(edit, name, src_img, src, false, err);
}

int qcbm_edit_copy_grown(struct qcbm_edit *edit, const char *name, struct qcbm_image *src_img, const char *src,
                         struct qcbm_error *err)
{
    return copy(edit, name, src_img, src, true, err);
}

/* ---- one bitmap ---- */

int qcbm_edit_regranularise(struct qcbm_edit *edit, const char *name, uint64_t granularity, struct qcbm_error *err)
{
    struct qcbmi_dirtymap map = { 0 };
    struct source from = { 0 };
    struct qcbmi_edit_bitmap *b;
    unsigned gran_bits = 0;
    int ret = qcbmi_edit_find_consistent(edit, name, &b, err);

    if (ret == 0)
        ret = qcbmi_edit_granularity(edit, granularity, &gran_bits, err);
    if (ret == 0 && gran_bits == b->gran_bits)
        return 0;
    if (ret == 0)
        ret = qcbmi_edit_check_size(edit, gran_bits, err);
    if (ret == 0)
        ret = own_source(edit, name, &from, err);
    if (ret == 0)
        ret = qcbmi_dirtymap_init(&map, edit->img->g.sector_size_down, gran_bits, err);
    if (ret == 0)
        ret = qcbmi_dirtymap_merge(&map, from.map, err);
    if (ret == 0)
        qcbmi_edit_take_map(b, &map);
    qcbmi_dirtymap_free(&map);
    qcbmi_dirtymap_free(&from.loaded);
    return ret;
}

static int find_range(struct qcbm_edit *edit, const char *name, uint64_t offset, uint64_t length,
                      struct qcbmi_edit_bitmap **out, struct qcbm_error *err)
{
    int ret = qcbmi_edit_find_consistent(edit, name, out, err);

    if (ret == 0 && !range_fits(offset, length, edit->img->g.size))
        ret =
            qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET,
                       "the range of %" PRIu64 " byte%s at %" PRIu64 " passes the end of the disk (%" PRIu64 " bytes)",
                       length, qcbmi_s(length), offset, edit->img->g.size);
    return ret;
}

typedef int range_fn(struct qcbmi_dirtymap *map, uint64_t start, uint64_t end, struct qcbm_error *err);

/* A range is changed as a whole or not at all, so bits that are in memory need no copy. */
static int change_range(struct qcbm_edit *edit, struct qcbmi_edit_bitmap *b, range_fn *fn, uint64_t start, uint64_t end,
                        struct qcbm_error *err)
{
    struct qcbmi_dirtymap map = { 0 };
    int ret;

    if (b->bits_changed)
        return fn(&b->map, start, end, err);
    ret = qcbmi_edit_copy_bits(edit, b, &map, err);
    if (ret == 0)
        ret = fn(&map, start, end, err);
    if (ret == 0)
        qcbmi_edit_take_map(b, &map);
    qcbmi_dirtymap_free(&map);
    return ret;
}

int qcbm_edit_set_range(struct qcbm_edit *edit, const char *name, uint64_t offset, uint64_t length,
                        struct qcbm_error *err)
{
    uint64_t size = edit->img->g.sector_size_down;
    struct qcbmi_edit_bitmap *b;
    int ret = find_range(edit, name, offset, length, &b, err);

    if (ret < 0 || length == 0)
        return ret;
    if (offset >= size) /* in the part of a sector that QEMU rounds off: the last granule stands for it */
        offset = size - 1;
    return change_range(edit, b, qcbmi_dirtymap_set, offset, offset + length, err);
}

int qcbm_edit_unset_range(struct qcbm_edit *edit, const char *name, uint64_t offset, uint64_t length,
                          struct qcbm_error *err)
{
    uint64_t size = edit->img->g.sector_size_down, end = offset + length;
    struct qcbmi_edit_bitmap *b;
    int ret = find_range(edit, name, offset, length, &b, err);

    if (ret < 0)
        return ret;
    if (end >= size && end < edit->img->g.size) /* as above: part of the last granule is outside */
        end = size - 1;
    return change_range(edit, b, qcbmi_dirtymap_clear_within, offset, end, err);
}
