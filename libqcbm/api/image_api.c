/* image_api.c - open, close, and what can be asked of an open image
 * SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bits.h"
#include "base/checked.h"
#include "base/page.h"
#include "base/progress.h"
#include "base/sized.h"
#include "bitmap/bitmap_edit.h"
#include "bitmap/bitmap_list.h"
#include "bitmap/bitmap_load.h"
#include "format/probe.h"
#include "image/data.h"
#include "image/snapshots.h"
#include "io/open.h"

static int check_flags(unsigned flags, struct qcbm_error *err)
{
    if ((flags & QCBM_OPEN_WRITE) && (flags & (QCBM_OPEN_FORCE_SHARE | QCBM_OPEN_INFO)))
        return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET, "force-share is for reading only");
    return 0;
}

int qcbm_open(const char *path, unsigned flags, struct qcbm_image **out, struct qcbm_error *err)
{
    struct qcbmi_io io;
    int ret = check_flags(flags, err);

    *out = NULL;
    if (ret == 0)
        ret = qcbmi_open(&io, path, flags & QCBM_OPEN_WRITE, err);
    return ret < 0 ? ret : qcbmi_handle_open(&io, path, flags, out, err);
}

int qcbm_open_fd(int fd, unsigned flags, struct qcbm_image **out, struct qcbm_error *err)
{
    struct qcbmi_io io;
    int ret = qcbmi_open_fd(&io, fd, flags & QCBM_OPEN_WRITE, err);

    *out = NULL;
    if (ret == 0)
        ret = check_flags(flags, err);
    if (ret < 0) {
        qcbmi_io_close(&io);
        return ret;
    }
    return qcbmi_handle_open(&io, NULL, flags, out, err);
}

/* Closes @io. */
static int probe(struct qcbmi_io *io, const char *name, const char **format, struct qcbm_error *err)
{
    uint8_t head[QCBMI_PROBE_BYTES] = { 0 };
    int ret = qcbmi_io_read(io, 0, head, u64_min(io->size, sizeof(head)), "first sector", err);

    qcbmi_io_close(io);
    *format = ret == 0 ? qcbmi_probe(head, name) : NULL;
    return ret;
}

int qcbm_probe(const char *path, const char **format, struct qcbm_error *err)
{
    struct qcbmi_io io;
    int ret = qcbmi_open(&io, path, false, err);

    *format = NULL;
    return ret < 0 ? ret : probe(&io, path, format, err);
}

int qcbm_probe_io(const struct qcbm_io_ops *ops, void *self, const char *name, const char **format,
                  struct qcbm_error *err)
{
    struct qcbm_io_ops room;
    struct qcbmi_io io;
    int ret = qcbmi_io_borrow(&io, &room, ops, self, err);

    *format = NULL;
    return ret < 0 ? ret : probe(&io, name ? name : "", format, err);
}

bool qcbm_same_file(const char *a, const char *b)
{
    struct qcbmi_file_id id_a, id_b;

    return qcbmi_identify(a, &id_a, NULL) == 0 && qcbmi_identify(b, &id_b, NULL) == 0 && qcbmi_same_file(&id_a, &id_b);
}

const char *qcbm_local_name(const char *name)
{
    return qcbmi_name_local(name);
}

int qcbm_open_io(const struct qcbm_io_ops *ops, void *self, unsigned flags, struct qcbm_image **out,
                 struct qcbm_error *err)
{
    struct qcbmi_io io;
    int ret = qcbmi_io_init(&io, ops, self, flags & QCBM_OPEN_WRITE, err);

    *out = NULL;
    if (ret == 0) {
        ret = check_flags(flags, err);
        if (ret < 0)
            qcbmi_io_close(&io);
    }
    return ret < 0 ? ret : qcbmi_handle_open(&io, NULL, flags, out, err);
}

int qcbm_set_name(struct qcbm_image *img, const char *name, struct qcbm_error *err)
{
    char *copy = qcbmi_memdup_nul(name, strlen(name), err);

    if (!copy)
        return QCBM_E_NOMEM;
    free(img->image->name);
    img->image->name = copy;
    return 0;
}

/* @ops is copied, since callers may have made theirs for an older library. */
static int take_below(struct qcbmi_below *to, const struct qcbm_below *from, struct qcbm_error *err)
{
    struct qcbmi_io io;
    int ret = from->ops ? qcbmi_io_borrow(&io, &to->ops, from->ops, from->self, err) : 0;

    if (ret < 0)
        return ret;
    to->self = from->self;
    to->name = qcbmi_memdup_nul(from->name, strlen(from->name), err);
    return to->name ? 0 : QCBM_E_NOMEM;
}

/* What is open below @img stays as it is, with the names and backends that it was opened by; what the image itself has
 * open to read its disk is opened again. */
static int replace_below(struct qcbm_image *handle, struct qcbmi_below *below, size_t n, struct qcbm_error *err)
{
    struct qcbmi_image *img = handle->image;
    struct qcbmi_below_past *past = img->n_below ? qcbmi_alloc_array(1, sizeof(*past), err) : NULL;

    if (img->n_below && !past)
        return QCBM_E_NOMEM;
    if (past) {
        *past = (struct qcbmi_below_past){ img->below_past, img->below, img->n_below };
        img->below_past = past;
    }
    qcbmi_data_close(handle->data);
    handle->data = NULL;
    img->below = below;
    img->n_below = n;
    return 0;
}

int qcbm_set_below(struct qcbm_image *img, const struct qcbm_below *layers, size_t elem_size, size_t n,
                   struct qcbm_error *err)
{
    struct qcbmi_below *below = n ? qcbmi_alloc_array(n, sizeof(*below), err) : NULL;
    int ret = !n || below ? qcbmi_check_size(elem_size, err) : QCBM_E_NOMEM;

    for (size_t i = 0; ret == 0 && i < n; i++) {
        struct qcbm_below layer;

        qcbmi_give(&layer, sizeof(layer), (const char *)layers + i * elem_size, elem_size);
        ret = take_below(&below[i], &layer, err);
    }
    if (ret == 0)
        ret = replace_below(img, below, n, err);
    if (ret < 0)
        qcbmi_below_free(below, below ? n : 0);
    return ret;
}

void qcbm_set_trace(struct qcbm_image *img, qcbm_trace_fn *fn, void *opaque)
{
    struct qcbmi_image *image = img->image;

    image->trace = (struct qcbmi_trace){ fn, opaque };
    qcbmi_io_trace_as(&image->io, &image->trace, image->path ? image->path : "");
}

void qcbm_set_threads(struct qcbm_image *img, unsigned n)
{
    img->image->threads = n;
}

void qcbm_close(struct qcbm_image *img)
{
    qcbmi_handle_close(img);
}

static void features_of(const struct qcbmi_image *img, struct qcbm_image_info *i)
{
    i->version = img->h.version;
    i->cluster_size = img->g.cluster_size;
    i->refcount_bits = img->g.refcount_bits;
    i->crypt_method = img->h.crypt_method;
    i->compression_type = img->h.compression_type;
    i->header_length = img->h.header_length;
    i->incompatible_features = img->h.incompatible;
    i->compatible_features = img->h.compatible;
    i->autoclear_features = img->h.autoclear;
}

int qcbm_image_get_info(const struct qcbm_image *handle, struct qcbm_image_info *out, size_t size)
{
    const struct qcbmi_image *img = handle->image;
    const struct q2_extension *crypto = q2_extension_find(&img->exts, Q2_EXT_CRYPTO);
    struct qcbm_image_info i = { .virtual_size = img->h.size, .file_size = img->io.size };
    struct qcbmi_io io = img->io;
    uint64_t available;

    features_of(img, &i);
    if (qcbmi_io_space(&io, &available, &i.disk_size, NULL) < 0)
        i.disk_size = QCBM_NO_OFFSET;
    i.snapshot_count = img->h.n_snapshots;
    i.bitmap_count = handle->bitmaps->n;
    i.bitmaps_stale = handle->bitmaps->stale;
    i.stale_bitmap_count = handle->bitmaps->was ? handle->bitmaps->was->n : 0;
    i.backing_file = img->backing_file;
    i.backing_format = img->backing_format;
    i.data_file = img->data_file;
    i.full_backing = img->full_backing;
    i.full_data_file = img->full_data_file;
    i.tag = *img->tag ? img->tag : NULL;
    if (crypto) {
        i.crypt_header_offset = be64_load(crypto->data);
        i.crypt_header_length = be64_load(crypto->data + 8);
    }
    i.is_device = img->io.traits.is_device;
    i.extent_size_hint = img->io.traits.extent_size_hint;
    return qcbmi_give_checked(out, size, &i, sizeof(i));
}

int qcbm_snapshots_load(struct qcbm_image *img, uint32_t *count, struct qcbm_error *err)
{
    int ret = qcbmi_snapshots_load(img->image, err);

    *count = img->image->n_snapshots_loaded;
    return ret;
}

int qcbm_snapshot_get(const struct qcbm_image *handle, uint32_t index, struct qcbm_snapshot_info *out, size_t size)
{
    const struct qcbmi_image *img = handle->image;
    const struct q2_snapshot *s;
    struct qcbm_snapshot_info i = { 0 };

    if (index >= img->n_snapshots_loaded)
        return QCBM_E_ARG;
    s = &img->snapshots[index];
    i.id = img->snapshot_strings[2 * index];
    i.name = img->snapshot_strings[2 * index + 1];
    i.l1_offset = s->l1_offset;
    i.l1_entries = s->l1_entries;
    i.date_sec = s->date_sec;
    i.date_nsec = s->date_nsec;
    i.vm_clock_nsec = s->vm_clock_nsec;
    i.vm_state_size = s->vm_state_size;
    i.disk_size = s->disk_size == UINT64_MAX ? img->h.size : s->disk_size;
    i.icount = s->icount;
    i.entry_offset = img->h.snapshots_offset + (uint64_t)(s->extra - Q2_SNAPSHOT_FIXED - img->snapshot_table);
    return qcbmi_give_checked(out, size, &i, sizeof(i));
}

uint32_t qcbm_finding_count(const struct qcbm_image *img)
{
    return (uint32_t)img->findings.n;
}

int qcbm_finding_get(const struct qcbm_image *img, uint32_t index, struct qcbm_finding *out, size_t size)
{
    if (index >= img->findings.n)
        return QCBM_E_ARG;
    return qcbmi_give_checked(out, size, &img->findings.list[index], sizeof(struct qcbm_finding));
}

int qcbm_findings_fill(const struct qcbm_image *img, uint64_t from, struct qcbm_finding *array, size_t elem_size,
                       size_t n, size_t *got, uint64_t *next, struct qcbm_error *err)
{
    struct qcbmi_page page;
    int ret = qcbmi_page_begin(&page, array, elem_size, n, from, err);

    for (uint64_t i = from; ret == 0 && page.got < n && i < img->findings.n; i++)
        qcbmi_page_put(&page, &img->findings.list[i], sizeof(struct qcbm_finding), i + 1);
    *got = page.got;
    *next = page.next;
    return ret;
}

static struct qcbm_bitmap_info bitmap_info(const struct qcbmi_bitmap *b)
{
    struct qcbm_bitmap_info i = { .name = b->name, .name_len = b->d.name_len, .flags = b->d.flags };

    if (b->d.granularity_bits >= Q2_MIN_GRANULARITY_BITS && b->d.granularity_bits <= Q2_MAX_GRANULARITY_BITS)
        i.granularity = UINT64_C(1) << b->d.granularity_bits;
    i.extra_data_size = b->d.extra_len;
    i.extra_data = b->d.extra_len ? b->d.extra : NULL;
    i.entry_offset = b->entry_offset;
    i.table_offset = b->d.table_offset;
    i.table_entries = b->d.table_entries;
    i.in_use = b->d.flags & Q2_BITMAP_IN_USE;
    i.enabled = b->d.flags & Q2_BITMAP_AUTO;
    return i;
}

int qcbm_bitmap_get(const struct qcbm_image *img, uint32_t index, struct qcbm_bitmap_info *out, size_t size)
{
    const struct qcbmi_bitmap *b;
    struct qcbm_bitmap_info i;

    if (index >= img->bitmaps->n)
        return QCBM_E_ARG;
    b = &img->bitmaps->list[index];
    i = bitmap_info(b);
    i.usable = qcbmi_bitmap_check_entry(img->image, b, false, NULL) == 0;
    return qcbmi_give_checked(out, size, &i, sizeof(i));
}

int qcbm_stale_bitmap_get(const struct qcbm_image *img, uint32_t index, struct qcbm_bitmap_info *out, size_t size)
{
    const struct qcbmi_bitmap_list *was = img->bitmaps->was;
    struct qcbm_bitmap_info i;

    if (!was || index >= was->n)
        return QCBM_E_ARG;
    i = bitmap_info(&was->list[index]);
    return qcbmi_give_checked(out, size, &i, sizeof(i));
}

static int check_index(const struct qcbm_image *img, uint32_t index, struct qcbm_error *err)
{
    return index < img->bitmaps->n
               ? 0
               : qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET, "the image has no bitmap number %" PRIu32, index);
}

int qcbm_bitmap_check_table(struct qcbm_image *img, uint32_t index, struct qcbm_error *err)
{
    int ret = check_index(img, index, err);

    if (ret == 0)
        ret = qcbmi_bitmap_check_bits(img, &img->bitmaps->list[index], false, err);
    return ret < 0 ? ret : qcbmi_bitmap_check_table(img->image, &img->bitmaps->list[index], err);
}

struct tally {
    uint64_t n_bits, dirty;
    bool last_dirty;
    struct qcbmi_progress progress; /* in granules */
};

static void count_bytes(struct tally *t, uint64_t first, uint64_t end, const uint8_t *bytes)
{
    uint64_t i;

    for (i = 0; first + 64 * (i + 1) <= end; i++)
        t->dirty += u64_count(be64_load(bytes + 8 * i));
    for (uint64_t bit = 64 * i; first + bit < end; bit++)
        t->dirty += bytes[bit / 8] >> (bit % 8) & 1;
    if (end == t->n_bits)
        t->last_dirty = bytes[(end - 1 - first) / 8] >> ((end - 1) % 8) & 1;
}

static int count_piece(void *opaque, enum q2_bitmap_entry_kind kind, uint64_t first_byte, uint64_t n_bytes,
                       const uint8_t *bytes, struct qcbm_error *err)
{
    struct tally *t = opaque;
    uint64_t first = 8 * first_byte, end = u64_min(first + 8 * n_bytes, t->n_bits);

    if (first < end && kind == Q2_BME_DATA)
        count_bytes(t, first, end, bytes);
    else if (first < end && kind == Q2_BME_ONES)
        t->dirty += end - first;
    if (kind == Q2_BME_ONES && end == t->n_bits)
        t->last_dirty = true;
    return qcbmi_progress_at(&t->progress, end, err);
}

static int count_bits(struct qcbm_image *img, uint32_t index, struct qcbm_bitmap_usage *out,
                      const struct qcbm_progress *progress, struct qcbm_error *err)
{
    const struct q2_geometry *g = &img->image->g;
    struct qcbmi_bitmap *b = &img->bitmaps->list[index];
    struct qcbmi_bitmap_walk_stats stats;
    struct q2_bitmap_size size;
    struct tally t = { 0 };
    int ret = qcbmi_bitmap_check_bits(img, b, true, err);

    if (ret == 0)
        ret = q2_bitmap_size(g->sector_size_down, b->d.granularity_bits, g->cluster_size, &size, err);
    if (ret < 0)
        return ret;
    t.n_bits = size.bits;
    t.progress = (struct qcbmi_progress){ .to = progress, .total = size.bits };
    ret = qcbmi_bitmap_walk(img->image, b, count_piece, &t, &stats, err);
    if (ret < 0)
        return ret;
    if (stats.lost_clusters && !b->loss_told)
        qcbmi_finding_add(&img->findings, QCBM_PROBLEM_BITMAP_DATA_PAST_END, b->d.table_offset, index,
                          "%" PRIu64
                          " clusters of bitmap data lie past the end of the file; they count as dirty here, QEMU "
                          "reads them as clean",
                          stats.lost_clusters);
    b->loss_told |= stats.lost_clusters != 0;
    out->granules = size.bits;
    out->dirty_granules = t.dirty;
    out->dirty_bytes = t.dirty << b->d.granularity_bits;
    if (t.last_dirty)
        out->dirty_bytes -= (size.bits << b->d.granularity_bits) - g->sector_size_down;
    out->disk_bytes =
        g->cluster_size * (stats.data_clusters - stats.lost_clusters + div_up(8 * size.entries, g->cluster_size));
    return 0;
}

int qcbm_bitmap_usage(struct qcbm_image *img, uint32_t index, struct qcbm_bitmap_usage *out, size_t size,
                      const struct qcbm_progress *progress, struct qcbm_error *err)
{
    struct qcbm_bitmap_usage usage = { 0 };
    int ret = qcbmi_check_size(size, err);

    if (ret < 0)
        return ret;
    qcbmi_give(out, size, &usage, sizeof(usage)); /* zeros, should it fail */
    ret = check_index(img, index, err);
    if (ret == 0)
        ret = count_bits(img, index, &usage, progress, err);
    if (ret == 0)
        qcbmi_give(out, size, &usage, sizeof(usage));
    return ret;
}

int qcbm_edit_look(struct qcbm_edit *edit, const char *name, struct qcbm_edit_bitmap_info *out, size_t size,
                   struct qcbm_error *err)
{
    struct qcbm_edit_bitmap_info i = { 0 };
    struct qcbm_bitmap_usage usage;
    struct qcbmi_edit_bitmap *b;
    int ret = qcbmi_check_size(size, err);

    if (ret == 0)
        ret = qcbmi_edit_find_consistent(edit, name, &b, err);
    if (ret == 0 && b->bits_changed) {
        i.granules = b->map.bits.n_bits;
        i.dirty_granules = qcbmi_bitset_count(&b->map.bits);
        i.dirty_bytes = qcbmi_dirtymap_dirty_bytes(&b->map);
    } else if (ret == 0) {
        ret = count_bits(edit->handle, (uint32_t)(b->stored - edit->handle->bitmaps->list), &usage, NULL, err);
        i.granules = usage.granules;
        i.dirty_granules = usage.dirty_granules;
        i.dirty_bytes = usage.dirty_bytes;
    }
    if (ret < 0)
        return ret;
    i.granularity = UINT64_C(1) << b->gran_bits;
    i.enabled = b->flags & Q2_BITMAP_AUTO;
    qcbmi_give(out, size, &i, sizeof(i));
    return 0;
}
