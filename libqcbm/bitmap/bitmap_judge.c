/* bitmap_judge.c - what the bits of a bitmap are worth in a damaged image
 * SPDX-License-Identifier: MIT */
#include "bitmap/bitmap_judge.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "bitmap/bitmap_load.h"

#define MAX_MEMORY (UINT64_C(32) << 20) /* hundreds of all-dirty bitmaps of the largest disk ask for gigabytes */

void qcbmi_judge_free(struct qcbmi_judge *j)
{
    qcbmi_owners_free(&j->owners);
    qcbmi_bitset_free(&j->named);
    qcbmi_bitset_free(&j->twice);
    qcbmi_refcounts_free(&j->counts);
    qcbmi_holes_free(&j->holes);
}

/* ---- who names what ---- */

static bool is_anothers(const struct qcbmi_judge *j, uint64_t first, uint64_t end)
{
    const struct qcbmi_owners *o = &j->owners;

    return qcbmi_bitset_first_in(&o->meta, first, end) < end || qcbmi_bitset_first_in(&o->l2, first, end) < end ||
           qcbmi_bitset_first_in(&o->data, first, end) < end;
}

/* Clusters of [@off, @off + @len), as far as the file goes; *@again: some were named before. */
static int name(struct qcbmi_judge *j, uint64_t off, uint64_t len, bool *again, struct qcbm_error *err)
{
    unsigned cb = j->img->g.cluster_bits;
    uint64_t end = u64_min(div_up(off + len, j->img->g.cluster_size), j->owners.n_clusters);
    int ret = 0;

    *again = false;
    for (uint64_t c = off >> cb; ret == 0 && c < end; c++) {
        bool before = qcbmi_bitset_get(&j->named, c);

        *again |= before;
        if (before || is_anothers(j, c, c + 1))
            ret = qcbmi_bitset_set(&j->twice, c, c + 1, err);
        if (ret == 0)
            ret = qcbmi_bitset_set(&j->named, c, c + 1, err);
    }
    return ret;
}

static int name_data(void *opaque, uint64_t offset, struct qcbm_error *err)
{
    struct qcbmi_judge *j = opaque;
    bool again;

    return name(j, offset, j->img->g.cluster_size, &again, err);
}

/* A table that was named before is not followed again, so each part of the file is read once. */
static int name_all(struct qcbmi_judge *j, struct qcbm_error *err)
{
    const struct qcbmi_bitmap_list *list = j->list;
    bool again = false;
    int ret = 0;

    if (list->directory)
        ret = name(j, list->ext.directory_offset, u64_min(list->ext.directory_size, Q2_MAX_BITMAP_DIRECTORY), &again,
                   err);
    for (uint32_t i = 0; ret == 0 && i < list->n; i++) {
        const struct qcbmi_bitmap *b = &list->list[i];
        uint64_t n_bad;

        if (!qcbmi_bitmap_table_in_file(j->img, b))
            continue;
        ret = name(j, b->d.table_offset, 8 * (uint64_t)b->d.table_entries, &again, err);
        if (ret == 0 && !again)
            ret = qcbmi_bitmap_clusters(j->img, &j->holes, b, name_data, j, &n_bad, err);
    }
    return ret;
}

int qcbmi_judge_begin(struct qcbmi_judge *j, struct qcbmi_image *img, const struct qcbmi_bitmap_list *list,
                      struct qcbmi_image *was, const struct qcbmi_bitset *were_shared, struct qcbm_error *err)
{
    int ret;

    j->img = img;
    j->list = list;
    j->were_shared = were_shared;
    qcbmi_holes_init(&j->holes, &img->io);
    ret = qcbmi_owners_scan_metadata(img, &j->owners, err);
    if (ret == 0)
        ret = qcbmi_owners_scan_data(&j->owners, NULL, err);
    if (ret == 0)
        ret = qcbmi_bitset_init(&j->named, j->owners.n_clusters, err);
    if (ret == 0)
        ret = qcbmi_bitset_init(&j->twice, j->owners.n_clusters, err);
    if (ret == 0 && qcbmi_refcounts_init(&j->counts, was, NULL) < 0) { /* refcounts that are new prove nothing less */
        qcbmi_refcounts_free(&j->counts);
        j->counts = (struct qcbmi_refcounts){ 0 };
        ret = qcbmi_refcounts_init(&j->counts, img, err);
    }
    return ret < 0 ? ret : name_all(j, err);
}

bool qcbmi_judge_is_shared(const struct qcbmi_judge *j, uint64_t first, uint64_t end)
{
    uint64_t was_end = j->were_shared ? u64_min(end, j->were_shared->n_bits) : 0;

    return qcbmi_bitset_first_in(&j->twice, first, end) < end ||
           (first < was_end && qcbmi_bitset_first_in(j->were_shared, first, was_end) < was_end);
}

/* ---- one bitmap ---- */

static int is_counted(struct qcbmi_judge *j, uint64_t cluster, bool *out, struct qcbm_error *err)
{
    uint64_t value = 0;
    int ret = 0;

    if (qcbmi_refcounts_has_block(&j->counts, cluster / j->img->g.refblock_entries))
        ret = qcbmi_refcounts_get(&j->counts, cluster, &value, err);
    *out = value > 0;
    return ret;
}

struct look {
    struct qcbmi_judge *j;
    struct qcbmi_judged *out;
    struct q2_bitmap_size size;
    uint8_t *buf;   /* a cluster */
    bool load;      /* into the map; else only what is doubtful is looked for */
    bool uncounted; /* a cluster in use counts as free */
    struct qcbm_error *err;
};

/* Bytes [@first, @first + @n) of the payload are unknown. */
static int assume(struct look *l, uint64_t first, uint64_t n, const char *why)
{
    struct qcbmi_judged *out = l->out;
    unsigned gran_bits = out->map.gran_bits;
    uint64_t start = (8 * first) << gran_bits, end = u64_min(8 * (first + n), l->size.bits) << gran_bits;

    out->why = out->why ? out->why : why;
    out->is = QCBMI_JUDGED_SUPERSET;
    if (!l->load)
        return 0;
    out->assumed += u64_min(end, out->map.size) - start;
    return qcbmi_bitset_set(&out->map.bits, 8 * first, u64_min(8 * (first + n), l->size.bits), l->err);
}

static int load_data(struct look *l, uint64_t off, uint64_t first, uint64_t n, bool counted)
{
    struct qcbmi_judge *j = l->j;
    int ret = qcbmi_io_read(&j->img->io, off, l->buf, n, "bitmap data", l->err);

    if (ret < 0)
        return ret;
    /* No program stores clean bits in a cluster: these were given up, and read as zeros since. */
    if (!counted && bytes_zero_prefix(l->buf, n) == n)
        return assume(l, first, n, "a cluster of its bits counts as free, and was emptied");
    return qcbmi_bitset_store_bytes(&l->out->map.bits, first, l->buf, (size_t)n, l->err);
}

static int look_at_data(struct look *l, uint64_t off, uint64_t first, uint64_t n)
{
    struct qcbmi_judge *j = l->j;
    uint64_t cluster = off >> j->img->g.cluster_bits;
    bool counted = false;
    int ret;

    if (!range_fits(off, n, j->img->io.size))
        return assume(l, first, n, "bits lie past the end of the file");
    if (qcbmi_judge_is_shared(j, cluster, cluster + 1))
        return assume(l, first, n, "a cluster of its bits is also somebody else's");
    ret = is_counted(j, cluster, &counted, l->err);
    l->uncounted |= !counted;
    return ret < 0 || !l->load ? ret : load_data(l, off, first, n, counted);
}

static int look_at_entry(void *opaque, uint64_t raw, uint64_t index)
{
    struct look *l = opaque;
    uint64_t cs = l->j->img->g.cluster_size, first = index * cs, n = u64_min(cs, l->size.bytes - first), off;

    switch (q2_bitmap_table_entry(raw, l->j->img->g.cluster_size, &off)) {
    case Q2_BME_ZEROS:
        return 0;
    case Q2_BME_ONES:
        return l->load ? qcbmi_bitset_set(&l->out->map.bits, 8 * first, u64_min(8 * (first + n), l->size.bits), l->err)
                       : 0;
    case Q2_BME_BAD:
        return assume(l, first, n, "entries of its table make no sense");
    default:
        return look_at_data(l, off, first, n);
    }
}

static int look_at_table(struct look *l, const struct qcbmi_bitmap *b, bool load)
{
    struct qcbmi_judge *j = l->j;
    struct qcbmi_table_walk walk = { j->img, &j->holes, "bitmap table", l, NULL, look_at_entry };

    l->load = load;
    return qcbmi_table_walk(&walk, b->d.table_offset, l->size.entries, l->err);
}

static int note_any(void *opaque, uint64_t raw, uint64_t index)
{
    (void)index;
    *(bool *)opaque |= raw != 0;
    return 0;
}

/* A table that counts as free and is empty is that of a clean bitmap, or one that was given up. */
static int table_is_emptied(struct look *l, const struct qcbmi_bitmap *b, bool *out)
{
    struct qcbmi_judge *j = l->j;
    uint64_t first = b->d.table_offset >> j->img->g.cluster_bits;
    uint64_t end = div_up(b->d.table_offset + 8 * l->size.entries, j->img->g.cluster_size);
    bool counted = true, any = false;
    struct qcbmi_table_walk walk = { j->img, &j->holes, "bitmap table", &any, NULL, note_any };
    int ret = 0;

    for (; ret == 0 && counted && first < end; first++)
        ret = is_counted(j, first, &counted, l->err);
    l->uncounted |= !counted;
    if (ret == 0 && !counted)
        ret = qcbmi_table_walk(&walk, b->d.table_offset, l->size.entries, l->err);
    *out = !counted && !any;
    return ret;
}

/* Why nothing of it can be believed, or NULL. */
static const char *why_nothing(const struct look *l, const struct qcbmi_bitmap *b)
{
    const struct qcbmi_judge *j = l->j;
    uint64_t first = b->d.table_offset >> j->img->g.cluster_bits;
    uint64_t end = div_up(b->d.table_offset + 8 * (uint64_t)b->d.table_entries, j->img->g.cluster_size);

    if (j->list->stale) /* which may have given clusters up, too: allocation tells nothing of that */
        return "a program that does not know bitmaps wrote to the image since";
    if (b->d.type != Q2_BITMAP_TYPE_DIRTY)
        return "its type is unknown";
    if (b->d.extra_len && !(b->d.flags & Q2_BITMAP_EXTRA_COMPATIBLE))
        return "it has extra data that must be understood";
    if (l->size.entries == 0)
        return "its granularity makes no sense";
    if (!qcbmi_bitmap_table_in_file(j->img, b) || b->d.table_offset < j->img->g.cluster_size)
        return "its table does not lie in the file";
    if (b->d.table_entries != l->size.entries)
        return "its table does not fit the virtual size";
    if (qcbmi_judge_is_shared(j, first, end))
        return "its table is also somebody else's";
    return NULL;
}

static int judge_nothing(struct look *l, const char *why)
{
    struct qcbmi_judged *out = l->out;

    out->is = QCBMI_JUDGED_NOTHING;
    out->why = why;
    out->assumed = out->map.size;
    return qcbmi_bitset_set(&out->map.bits, 0, out->map.bits.n_bits, l->err);
}

/* The granularity that is stored if it is possible, else QEMU's default. */
static int size_of(struct look *l, const struct qcbmi_bitmap *b)
{
    const struct q2_geometry *g = &l->j->img->g;
    unsigned bits = b->d.granularity_bits;
    bool fits = bits >= Q2_MIN_GRANULARITY_BITS && bits <= Q2_MAX_GRANULARITY_BITS &&
                q2_bitmap_size(g->sector_size_down, bits, g->cluster_size, &l->size, NULL) == 0;

    if (!fits) {
        l->size = (struct q2_bitmap_size){ 0 };
        for (bits = (unsigned)__builtin_ctzll(q2_default_granularity(g)); bits < Q2_MAX_GRANULARITY_BITS; bits++) {
            struct q2_bitmap_size size;

            if (q2_bitmap_size(g->sector_size_down, bits, g->cluster_size, &size, NULL) == 0)
                break;
        }
    }
    return qcbmi_dirtymap_init(&l->out->map, g->sector_size_down, bits, l->err);
}

static int judge_table(struct look *l, const struct qcbmi_bitmap *b)
{
    struct qcbmi_judged *out = l->out;
    bool emptied;
    int ret = table_is_emptied(l, b, &emptied);

    if (ret == 0 && emptied)
        return judge_nothing(l, "its table counts as free, and was emptied");
    if (ret == 0)
        ret = look_at_table(l, b, false);
    if (ret < 0)
        return ret;
    if (out->is == QCBMI_JUDGED_SOUND && l->uncounted)
        out->why = "clusters of it count as free";
    if (out->is == QCBMI_JUDGED_SOUND && b->bad)
        out->why = "QEMU refuses its entry";
    if (!out->why)
        return 0;
    out->is = QCBMI_JUDGED_EXACT; /* unless that is found to be wrong */
    return look_at_table(l, b, true);
}

/* What is not sound stays in memory until it is written. */
static int keep(struct qcbmi_judge *j, const struct qcbmi_judged *out, struct qcbm_error *err)
{
    if (out->is == QCBMI_JUDGED_SOUND)
        return 0;
    j->bytes += out->map.bits.n_chunks * sizeof(out->map.bits.chunks[0]);
    return j->bytes <= MAX_MEMORY
               ? 0
               : qcbmi_fail(err, QCBM_E_LIMIT, j->list->ext.directory_offset,
                            "more bitmaps are damaged than can be mended in %" PRIu64 " MiB of memory",
                            MAX_MEMORY >> 20);
}

int qcbmi_judge_bitmap(struct qcbmi_judge *j, uint32_t i, struct qcbmi_judged *out, struct qcbm_error *err)
{
    const struct qcbmi_bitmap *b = &j->list->list[i];
    struct look l = { .j = j, .out = out, .err = err };
    const char *why;
    int ret;

    *out = (struct qcbmi_judged){ 0 };
    l.buf = qcbmi_alloc_array(j->img->g.cluster_size, 1, err);
    ret = l.buf ? size_of(&l, b) : QCBM_E_NOMEM;
    why = ret == 0 ? why_nothing(&l, b) : NULL;
    if (ret == 0)
        ret = why ? judge_nothing(&l, why) : judge_table(&l, b);
    free(l.buf);
    return ret < 0 ? ret : keep(j, out, err);
}
