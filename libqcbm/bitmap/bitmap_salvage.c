/* bitmap_salvage.c - what a damaged bitmap directory still says
 * SPDX-License-Identifier: MIT
 *
 * An entry has no mark of its own. It is known by fields that few other bytes have all at once: an aligned offset,
 * counts within limits, reserved bits of zero, a type, a name. Where the entries of a directory add up to it, each of
 * them stands where the one before it ends, and may be wrong in any field; where they do not, the walk goes on at the
 * next place that looks like an entry. */
#include "bitmap/bitmap_salvage.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"

#define LIKELY 6u /* of the 8 signs of an entry */
#define MAX_DIRECTORY (UINT64_C(16) << 20)

struct salvage {
    const struct qcbmi_image *img;
    struct qcbmi_bitmap_list *list;
    size_t capacity;
    size_t len;      /* bytes of list->directory */
    size_t end;      /* of them those that the extension speaks of */
    uint32_t wanted; /* entries that the extension speaks of, 0 if that number makes no sense */
    struct qcbm_error *err;
};

static bool name_is_fit(const uint8_t *name, size_t len)
{
    return len && len <= Q2_MAX_BITMAP_NAME && !memchr(name, 0, len);
}

/* How much the bytes of @d look like an entry. */
static unsigned signs(const struct salvage *s, const struct q2_bitmap_dirent *d, const uint8_t *padding,
                      size_t n_padding)
{
    const struct q2_geometry *g = &s->img->g;
    unsigned n = 0;

    n += d->table_offset && is_aligned(d->table_offset, g->cluster_size) && d->table_offset < s->img->io.size;
    n += d->table_entries && (uint64_t)d->table_entries * g->cluster_size <= Q2_MAX_BITMAP_BYTES;
    n += !(d->flags & ~(Q2_BITMAP_IN_USE | Q2_BITMAP_AUTO | Q2_BITMAP_EXTRA_COMPATIBLE));
    n += d->type == Q2_BITMAP_TYPE_DIRTY;
    n += d->granularity_bits >= Q2_MIN_GRANULARITY_BITS && d->granularity_bits <= Q2_MAX_GRANULARITY_BITS;
    n += d->extra_len == 0;
    n += name_is_fit(d->name, d->name_len);
    n += bytes_zero_prefix(padding, n_padding) == n_padding;
    return n;
}

/* The entry at @at if there is room for one; its length and signs. */
static bool look(const struct salvage *s, size_t at, struct q2_bitmap_dirent *d, size_t *len, unsigned *n_signs)
{
    const uint8_t *bytes = s->list->directory + at, *end;
    struct q2_cursor in;

    if (s->len - at < Q2_BITMAP_DIRENT_FIXED)
        return false;
    q2_cursor_init(&in, bytes, s->len - at);
    if (q2_bitmap_dirent_parse(&in, 0, d, NULL) < 0)
        return false;
    end = d->name + d->name_len;
    *len = (size_t)(in.at - bytes);
    *n_signs = signs(s, d, end, (size_t)(in.at - end));
    return true;
}

static int add(struct salvage *s, const struct q2_bitmap_dirent *d, size_t at, size_t len)
{
    struct qcbmi_bitmap_list *list = s->list;
    struct qcbmi_bitmap *b;
    int ret = qcbmi_grow_array(&list->list, &s->capacity, list->n, sizeof(*b), s->err);

    if (ret < 0)
        return ret;
    b = &list->list[list->n];
    *b = (struct qcbmi_bitmap){ .d = *d, .entry_offset = list->ext.directory_offset + at, .entry_len = len };
    b->name = qcbmi_memdup_nul(d->name, d->name_len, s->err);
    if (!b->name)
        return QCBM_E_NOMEM;
    list->n++;
    return 0;
}

/* Do entries add up to the directory, whatever is in them? Zeros, which are three of the signs, are none. */
static bool adds_up(const struct salvage *s, uint32_t *count)
{
    struct q2_bitmap_dirent d;
    size_t at = 0, len = 0;
    unsigned n;

    for (*count = 0; at < s->end; at += len, ++*count)
        if (!look(s, at, &d, &len, &n) || len > s->end - at || n < 4 || (n < LIKELY && !s->wanted))
            return false;
    return s->end > 0 && *count <= Q2_MAX_BITMAPS;
}

/* Bytes [@at, @end), in which no entry makes sense, are one nevertheless if they end as one does: in a name. */
static int add_from_gap(struct salvage *s, size_t at, size_t end)
{
    struct q2_bitmap_dirent d = { 0 };
    const uint8_t *bytes = s->list->directory + at;
    size_t n = end - at, name;
    struct q2_cursor in;

    if (n <= Q2_BITMAP_DIRENT_FIXED)
        return 0;
    q2_cursor_init(&in, bytes, n);
    d.table_offset = q2_take_u64(&in);
    d.table_entries = q2_take_u32(&in);
    d.flags = q2_take_u32(&in);
    d.type = q2_take_u8(&in);
    d.granularity_bits = q2_take_u8(&in);
    d.name = bytes + Q2_BITMAP_DIRENT_FIXED;
    name = strnlen((const char *)d.name, n - Q2_BITMAP_DIRENT_FIXED);
    d.name_len = (uint16_t)u64_min(name, UINT16_MAX);
    if (!name_is_fit(d.name, name) || q2_bitmap_dirent_len(0, d.name_len) != n || !qcbmi_is_printable(d.name, name))
        return 0;
    return add(s, &d, at, n);
}

static bool has_all(const struct salvage *s)
{
    return s->wanted && s->list->n >= s->wanted;
}

/* Place by place. Behind the end of the directory lies what older ones left: only what is missing is taken there, and
 * only if nothing speaks against it. */
static int walk(struct salvage *s)
{
    size_t at = 0, gap = 0, len = 0;
    int ret = 0;

    while (ret == 0 && at < s->len && s->list->n < Q2_MAX_BITMAPS && !(at >= s->end && (!s->wanted || has_all(s)))) {
        struct q2_bitmap_dirent d;
        unsigned n = 0, need = at == gap && at < s->end ? LIKELY : 8;

        if (!look(s, at, &d, &len, &n) || n < need) {
            at += 8;
            continue;
        }
        ret = gap < at && gap < s->end ? add_from_gap(s, gap, at) : 0;
        if (ret == 0)
            ret = add(s, &d, at, len);
        gap = at += len;
    }
    return ret == 0 && gap < s->end && !has_all(s) ? add_from_gap(s, gap, s->end) : ret;
}

static int take_all(struct salvage *s)
{
    size_t at = 0, len = 0;
    int ret = 0;

    for (; ret == 0 && at < s->end; at += len) {
        struct q2_bitmap_dirent d;
        unsigned n;

        (void)look(s, at, &d, &len, &n);
        ret = add(s, &d, at, len);
    }
    return ret;
}

/* A damaged directory lies in memory several times over. Honest ones have kilobytes. */
static int check_length(const struct salvage *s, uint64_t len)
{
    return len <= MAX_DIRECTORY
               ? 0
               : qcbmi_fail(s->err, QCBM_E_LIMIT, s->list->ext.directory_offset,
                            "a damaged bitmap directory of %" PRIu64 " bytes cannot be mended: at most %" PRIu64, len,
                            MAX_DIRECTORY);
}

/* The directory, as long as it says it is, and what lies in its last cluster behind it. */
static int read_directory(struct salvage *s, struct qcbmi_image *img)
{
    const struct q2_bitmaps_ext *ext = &s->list->ext;
    uint64_t cs = img->g.cluster_size, off = ext->directory_offset, said = ext->directory_size, len;

    if (off < cs || off >= img->io.size || !is_aligned(off, 8))
        return 0;
    if (said == 0 || said > Q2_MAX_BITMAP_DIRECTORY)
        said = cs;
    len = u64_min(align_up(said, cs), img->io.size - off);
    if (check_length(s, len) < 0)
        return QCBM_E_LIMIT;
    s->list->directory = qcbmi_alloc_array(len, 1, s->err);
    if (!s->list->directory)
        return QCBM_E_NOMEM;
    s->len = (size_t)len;
    s->end = (size_t)u64_min(said, len);
    return qcbmi_io_read(&img->io, off, s->list->directory, len, "bitmap directory", s->err);
}

int qcbmi_bitmap_salvage(const struct qcbm_image *handle, struct qcbmi_bitmap_list **out, uint32_t *lost,
                         struct qcbm_error *err)
{
    const struct qcbmi_bitmap_list *old = handle->bitmaps;
    struct salvage s = { .img = handle->image, .err = err };
    uint32_t count;
    bool whole;
    int ret;

    *lost = 0;
    *out = s.list = qcbmi_alloc_array(1, sizeof(*s.list), err);
    if (!s.list)
        return QCBM_E_NOMEM;
    s.list->has_ext = old->has_ext;
    s.list->stale = old->stale;
    s.list->ext_offset = old->ext_offset;
    s.list->ext_len = old->ext_len;
    s.list->ext = old->ext;
    s.wanted = old->ext.n_bitmaps <= Q2_MAX_BITMAPS ? old->ext.n_bitmaps : 0;
    ret = old->has_ext ? read_directory(&s, handle->image) : 0;
    whole = ret == 0 && adds_up(&s, &count);
    if (ret == 0)
        ret = whole ? take_all(&s) : walk(&s);
    if (ret == 0 && old->has_ext && !whole && s.wanted == 0)
        *lost = QCBMI_SALVAGE_UNKNOWN;
    else if (ret == 0 && !whole && s.list->n < s.wanted)
        *lost = s.wanted - s.list->n;
    return ret;
}
