/* bitmap_load.c - the stored bits of a bitmap: walked in order, or as a dirty map
 * SPDX-License-Identifier: MIT */
#include "bitmap/bitmap_load.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "image/refs.h"
#include "io/holes.h"

#define TABLE_WINDOW 8192u              /* table entries read at once: 64 KiB */
#define DATA_PIECE (UINT64_C(1) << 20)  /* bytes of neighbouring data clusters read at once */
#define HOLE_WORTH (UINT64_C(32) << 10) /* bytes that are dearer to read than to ask about */

struct walk {
    struct qcbmi_image *img;
    const struct qcbmi_bitmap *b;
    qcbmi_bitmap_walk_fn *fn;
    void *opaque;
    uint8_t *table; /* TABLE_WINDOW entries */
    uint8_t *data;
    uint64_t bytes; /* of the whole payload */
    bool table_only;
    uint64_t first_entry, end_entry; /* those to be walked; an end behind the table is that of the table */
    uint64_t window;                 /* the first entry in @table */
    struct qcbmi_bitmap_walk_stats stats;
};

/* How entry @i of the window that starts at entry @first reads: its kind, where data that does not lie in the file
 * counts as all ones (QEMU would read zeros there and lose the bits). */
static enum q2_bitmap_entry_kind entry_kind(const struct walk *w, uint64_t first, uint32_t i, uint64_t *off, bool *lost)
{
    uint32_t cs = w->img->g.cluster_size;
    enum q2_bitmap_entry_kind kind = q2_bitmap_table_entry(be64_load(w->table + 8 * (size_t)i), cs, off);

    *lost = kind == Q2_BME_DATA && !range_fits(*off, u64_min(cs, w->bytes - (first + i) * cs), w->img->io.size);
    return *lost ? Q2_BME_ONES : kind;
}

/* Length of the run of like entries from @i on: the same kind, data at consecutive offsets and within one piece. */
static uint32_t run_length(struct walk *w, uint64_t first, uint32_t i, uint32_t n, enum q2_bitmap_entry_kind *kind,
                           uint64_t *off)
{
    uint64_t cs = w->img->g.cluster_size, next;
    uint32_t k = 1;
    bool lost;

    *kind = entry_kind(w, first, i, off, &lost);
    w->stats.data_clusters += *kind == Q2_BME_DATA || lost;
    w->stats.lost_clusters += lost;
    while (i + k < n) {
        if (*kind == Q2_BME_DATA && (k + 1) * cs > u64_max(DATA_PIECE, cs))
            break;
        if (entry_kind(w, first, i + k, &next, &lost) != *kind || (*kind == Q2_BME_DATA && next != *off + k * cs))
            break;
        w->stats.data_clusters += *kind == Q2_BME_DATA || lost;
        w->stats.lost_clusters += lost;
        k++;
    }
    return k;
}

static int walk_run(struct walk *w, uint64_t first_entry, uint32_t n, enum q2_bitmap_entry_kind kind, uint64_t off,
                    struct qcbm_error *err)
{
    uint64_t cs = w->img->g.cluster_size;
    uint64_t first_byte = first_entry * cs, n_bytes = u64_min(n * cs, w->bytes - first_byte);
    int ret;

    if (kind == Q2_BME_BAD)
        return qcbmi_fail(err, QCBM_E_CORRUPT, w->b->d.table_offset + 8 * first_entry,
                          "bitmap table entry %" PRIu64 ": 0x%016" PRIx64 " is not 0, 1 or the offset of a cluster",
                          first_entry, be64_load(w->table + 8 * (size_t)(first_entry - w->window)));
    if (w->table_only)
        return 0;
    /* A hostile file is sparse, and names its holes. */
    if (kind == Q2_BME_DATA && n * cs >= HOLE_WORTH && qcbmi_io_is_hole(&w->img->io, off, n * cs))
        kind = Q2_BME_ZEROS;
    if (kind != Q2_BME_DATA)
        return w->fn(w->opaque, kind, first_byte, n_bytes, NULL, err);
    ret = qcbmi_io_read_slack(&w->img->io, off, w->data, n * cs, cs, "bitmap data", err);
    return ret < 0 ? ret : w->fn(w->opaque, kind, first_byte, n_bytes, w->data, err);
}

static int walk_window(struct walk *w, uint64_t first_entry, uint32_t n, struct qcbm_error *err)
{
    int ret;

    w->window = first_entry;
    ret = qcbmi_io_read_slack(&w->img->io, w->b->d.table_offset + 8 * first_entry, w->table, 8 * (uint64_t)n,
                              w->img->g.cluster_size, "bitmap table", err);

    for (uint32_t i = 0; ret == 0 && i < n;) {
        enum q2_bitmap_entry_kind kind;
        uint64_t off;
        uint32_t k = run_length(w, first_entry, i, n, &kind, &off);

        /* Honest tables name a cluster once; a table that names clusters over and over costs no more than the file. */
        if (w->stats.data_clusters > qcbmi_image_end(w->img) / w->img->g.cluster_size + w->stats.lost_clusters)
            return qcbmi_fail(err, QCBM_E_CORRUPT, w->b->d.table_offset,
                              "bitmap table names more clusters than the file has");
        ret = walk_run(w, first_entry + i, k, kind, off, err);
        i += k;
    }
    return ret;
}

static int walk_all(struct walk *w, struct qcbm_error *err)
{
    const struct qcbmi_bitmap *b = w->b;
    struct qcbmi_image *img = w->img;
    struct q2_bitmap_size size;
    uint64_t end;
    int ret;

    ret = q2_bitmap_size(img->g.sector_size_down, b->d.granularity_bits, img->g.cluster_size, &size, err);
    if (ret < 0)
        return ret;
    if (!range_fits(b->d.table_offset, 8 * size.entries, img->io.size))
        return qcbmi_fail(err, QCBM_E_CORRUPT, b->entry_offset,
                          "bitmap table: %" PRIu64 " entries at 0x%" PRIx64 " pass the end of the file", size.entries,
                          b->d.table_offset);
    w->bytes = size.bytes;
    if (qcbmi_io_is_hole(&img->io, b->d.table_offset, 8 * size.entries))
        return w->table_only ? 0 : w->fn(w->opaque, Q2_BME_ZEROS, 0, size.bytes, NULL, err);
    w->table = qcbmi_alloc_array(u64_min(size.entries, TABLE_WINDOW), 8, err);
    w->data = qcbmi_alloc_array(u64_max(u64_min(DATA_PIECE, size.entries * img->g.cluster_size), img->g.cluster_size),
                                1, err);
    ret = w->table && w->data ? 0 : QCBM_E_NOMEM;
    end = u64_min(w->end_entry, size.entries);
    for (uint64_t i = w->first_entry; ret == 0 && i < end; i += TABLE_WINDOW)
        ret = walk_window(w, i, (uint32_t)u64_min(TABLE_WINDOW, end - i), err);
    free(w->table);
    free(w->data);
    return ret;
}

int qcbmi_bitmap_walk(struct qcbmi_image *img, const struct qcbmi_bitmap *b, qcbmi_bitmap_walk_fn *fn, void *opaque,
                      struct qcbmi_bitmap_walk_stats *stats, struct qcbm_error *err)
{
    struct walk w = { .img = img, .b = b, .fn = fn, .opaque = opaque, .end_entry = UINT64_MAX };
    int ret = walk_all(&w, err);

    if (stats)
        *stats = w.stats;
    return ret;
}

int qcbmi_bitmap_walk_part(struct qcbmi_image *img, const struct qcbmi_bitmap *b, uint64_t first_bit, uint64_t end_bit,
                           qcbmi_bitmap_walk_fn *fn, void *opaque, struct qcbm_error *err)
{
    uint64_t per = 8 * (uint64_t)img->g.cluster_size;
    struct walk w = { .img = img, .b = b, .fn = fn, .opaque = opaque };

    w.first_entry = first_bit / per;
    w.end_entry = div_up(end_bit, per);
    return walk_all(&w, err);
}

int qcbmi_bitmap_check_table(struct qcbmi_image *img, const struct qcbmi_bitmap *b, struct qcbm_error *err)
{
    struct walk w = { .img = img, .b = b, .table_only = true, .end_entry = UINT64_MAX };

    return walk_all(&w, err);
}

static int load_piece(void *opaque, enum q2_bitmap_entry_kind kind, uint64_t first_byte, uint64_t n_bytes,
                      const uint8_t *bytes, struct qcbm_error *err)
{
    struct qcbmi_dirtymap *map = opaque;

    if (kind == Q2_BME_DATA)
        return qcbmi_bitset_store_bytes(&map->bits, first_byte, bytes, (size_t)n_bytes, err);
    if (kind == Q2_BME_ONES)
        return qcbmi_bitset_set(&map->bits, 8 * first_byte, u64_min(8 * (first_byte + n_bytes), map->bits.n_bits), err);
    return 0;
}

int qcbmi_bitmap_load(struct qcbmi_image *img, const struct qcbmi_bitmap *b, struct qcbmi_dirtymap *map,
                      struct qcbm_error *err)
{
    int ret = qcbmi_dirtymap_init(map, img->g.sector_size_down, b->d.granularity_bits, err);

    return ret < 0 ? ret : qcbmi_bitmap_walk(img, b, load_piece, map, NULL, err);
}

bool qcbmi_bitmap_table_in_file(const struct qcbmi_image *img, const struct qcbmi_bitmap *b)
{
    return b->d.table_offset && is_aligned(b->d.table_offset, img->g.cluster_size) &&
           range_fits(b->d.table_offset, 8 * (uint64_t)b->d.table_entries, img->io.size);
}

struct cluster_walk {
    uint32_t cluster_size;
    qcbmi_bitmap_cluster_fn *fn;
    void *opaque;
    uint64_t *n_bad;
    struct qcbm_error *err;
};

static int give_cluster(void *opaque, uint64_t raw, uint64_t index)
{
    const struct cluster_walk *w = opaque;
    uint64_t off;
    enum q2_bitmap_entry_kind kind = q2_bitmap_table_entry(raw, w->cluster_size, &off);

    (void)index;
    *w->n_bad += kind == Q2_BME_BAD;
    return kind == Q2_BME_DATA ? w->fn(w->opaque, off, w->err) : 0;
}

int qcbmi_bitmap_clusters(struct qcbmi_image *img, struct qcbmi_holes *holes, const struct qcbmi_bitmap *b,
                          qcbmi_bitmap_cluster_fn *fn, void *opaque, uint64_t *n_bad, struct qcbm_error *err)
{
    struct cluster_walk w = { img->g.cluster_size, fn, opaque, n_bad, err };
    struct qcbmi_table_walk walk = { img, holes, "bitmap table", &w, NULL, give_cluster };

    *n_bad = 0;
    if (!qcbmi_bitmap_table_in_file(img, b))
        return 0;
    return qcbmi_table_walk(&walk, b->d.table_offset, b->d.table_entries, err);
}

/* Clusters of data that are named by the tables of all bitmaps: once, and more than once. */
struct sharing {
    struct qcbmi_holes holes;
    struct qcbmi_bitset seen, twice;
    unsigned cluster_bits;
    uint64_t hit; /* offset of a cluster that was named before, 0 = none */
};

static int note_data(void *opaque, uint64_t offset, struct qcbm_error *err)
{
    struct sharing *s = opaque;
    uint64_t cluster = offset >> s->cluster_bits;
    int ret = 0;

    if (cluster >= s->seen.n_bits)
        return 0;
    if (qcbmi_bitset_get(&s->seen, cluster)) {
        s->hit = offset;
        ret = qcbmi_bitset_set(&s->twice, cluster, cluster + 1, err);
    }
    return ret < 0 ? ret : qcbmi_bitset_set(&s->seen, cluster, cluster + 1, err);
}

static int find_twice(void *opaque, uint64_t offset, struct qcbm_error *err)
{
    struct sharing *s = opaque;
    uint64_t cluster = offset >> s->cluster_bits;

    (void)err;
    if (cluster < s->twice.n_bits && qcbmi_bitset_get(&s->twice, cluster))
        s->hit = offset;
    return 0;
}

/* A table that cannot be read says nothing against the others: their bits are all that is left. */
static int look_at_data(struct qcbm_image *handle, const struct qcbmi_bitmap *b, qcbmi_bitmap_cluster_fn *fn,
                        struct sharing *s, struct qcbm_error *err)
{
    uint64_t n_bad;
    int ret = 0;

    s->hit = 0;
    if (!b->bad && !b->shared && !b->doubted)
        ret = qcbmi_bitmap_clusters(handle->image, &s->holes, b, fn, s, &n_bad, err);
    return ret == QCBM_E_IO ? 0 : ret;
}

static void tell_shared(struct qcbm_image *handle, struct qcbmi_bitmap *b, uint32_t i, uint64_t hit)
{
    b->shared = true;
    qcbmi_fail(&b->why, QCBM_E_CORRUPT, b->d.table_offset,
               "bitmap table of directory entry %u names the cluster at 0x%" PRIx64 ", which was named before", i, hit);
    qcbmi_finding_add(&handle->findings, QCBM_PROBLEM_BITMAP_DATA_SHARED, b->d.table_offset, i, "%s", b->why.message);
}

/* Those that had a cluster first: it may be theirs, or it may be the other's. */
static int doubt_first(struct qcbm_image *handle, struct sharing *s, struct qcbm_error *err)
{
    struct qcbmi_bitmap_list *list = handle->bitmaps;
    int ret = 0;

    for (uint32_t i = 0; ret == 0 && i < list->n; i++) {
        struct qcbmi_bitmap *b = &list->list[i];

        ret = look_at_data(handle, b, find_twice, s, err);
        if (ret < 0 || !s->hit)
            continue;
        b->doubted = true;
        qcbmi_fail(&b->why, QCBM_E_CORRUPT, b->d.table_offset,
                   "bitmap table of directory entry %u names the cluster at 0x%" PRIx64
                   ", which is also that of another bitmap",
                   i, s->hit);
    }
    return ret;
}

int qcbmi_bitmap_find_shared_data(struct qcbm_image *handle, struct qcbm_error *err)
{
    struct qcbmi_image *img = handle->image;
    struct sharing s = { .cluster_bits = img->g.cluster_bits };
    uint64_t n_clusters = qcbmi_image_end(img) >> img->g.cluster_bits;
    struct qcbmi_bitmap_list *list = handle->bitmaps;
    bool any = false;
    int ret = 0;

    if (list->data_checked)
        return 0;
    qcbmi_holes_init(&s.holes, &img->io);
    ret = qcbmi_bitset_init(&s.seen, n_clusters, err);
    if (ret == 0)
        ret = qcbmi_bitset_init(&s.twice, n_clusters, err);
    for (uint32_t i = 0; ret == 0 && i < list->n; i++) {
        ret = look_at_data(handle, &list->list[i], note_data, &s, err);
        if (ret == 0 && s.hit)
            tell_shared(handle, &list->list[i], i, s.hit);
        any |= s.hit != 0;
    }
    if (ret == 0 && any)
        ret = doubt_first(handle, &s, err);
    qcbmi_bitset_free(&s.seen);
    qcbmi_bitset_free(&s.twice);
    qcbmi_holes_free(&s.holes);
    list->data_checked = ret == 0;
    return ret;
}

int qcbmi_bitmap_check_bits(struct qcbm_image *handle, const struct qcbmi_bitmap *b, bool in_use_ok,
                            struct qcbm_error *err)
{
    int ret = qcbmi_bitmap_check_entry(handle->image, b, in_use_ok, err);

    if (ret == 0)
        ret = qcbmi_bitmap_find_shared_data(handle, err);
    if (ret < 0 || (!b->shared && !b->doubted))
        return ret;
    if (err)
        *err = b->why;
    return QCBM_E_CORRUPT;
}

int qcbmi_bitmap_find_readable(struct qcbm_image *handle, const char *name, const struct qcbmi_bitmap **out,
                               struct qcbm_error *err)
{
    char text[256];

    *out = qcbmi_bitmap_find(handle->bitmaps, name);
    if (*out)
        return qcbmi_bitmap_check_bits(handle, *out, false, err);
    if (handle->bitmaps->broken && err) {
        *err = handle->bitmaps->why_broken;
        return qcbmi_prefix(err, QCBM_E_CORRUPT, "bitmap '%s' is not among the readable entries: ",
                            qcbmi_printable(text, sizeof(text), name, strlen(name)));
    }
    return qcbmi_bitmap_fail_not_found(handle, name, err);
}
