/* measure.c - how large a copy of an image would be, as qemu-img measure reckons
 * SPDX-License-Identifier: MIT */
#include "ops/measure.h"
#include "base/progress.h"

#include "base/checked.h"
#include "base/sized.h"
#include "bitmap/bitmap_list.h"
#include "ops/map.h"

struct target {
    uint64_t cluster_size, l2_entry_size, refcount_bits;
    unsigned version, flags;
    const struct qcbm_progress *progress;
};

static int fail_option(struct qcbm_error *err, const char *text)
{
    return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET, "%s", text);
}

static bool is_power_of_two(uint64_t v)
{
    return v && (v & (v - 1)) == 0;
}

static int read_options(const struct qcbm_measure_options *from, struct target *t, struct qcbm_error *err)
{
    struct qcbm_measure_options o = QCBM_MEASURE_OPTIONS_INIT;
    int ret = qcbmi_take_options(&o, sizeof(o), from, err);

    if (ret < 0)
        return ret;
    t->cluster_size = o.cluster_size ? o.cluster_size : 65536;
    t->refcount_bits = o.refcount_bits ? o.refcount_bits : 16;
    t->version = o.version ? o.version : 3;
    t->flags = o.flags;
    t->l2_entry_size = o.extended_l2 ? 16 : 8;
    t->progress = o.progress;
    if (!is_power_of_two(t->cluster_size) || t->cluster_size < 512 || t->cluster_size > 2 << 20)
        return fail_option(err, "Cluster size must be a power of two between 512 and 2048k");
    if (o.extended_l2 && t->cluster_size < 16384)
        return fail_option(err, "Extended L2 entries are only supported with cluster sizes of at least 16384 bytes");
    if (t->version < 2 || t->version > 3)
        return fail_option(err, "the version of an image is 2 or 3");
    if (o.extended_l2 && t->version < 3)
        return fail_option(err, "Extended L2 entries are only supported with compatibility level 1.1 and above");
    if (!is_power_of_two(t->refcount_bits) || t->refcount_bits > 64)
        return fail_option(err, "Refcount width must be a power of two and may not exceed 64 bits");
    if (t->version < 3 && t->refcount_bits != 16)
        return fail_option(err, "Different refcount widths than 16 bits require compatibility level 1.1 or above");
    return 0;
}

/* Clusters of refcount blocks and table for @clusters others and for themselves: more blocks may need more blocks. */
static uint64_t refcount_clusters(uint64_t clusters, const struct target *t)
{
    uint64_t per_block = t->cluster_size * 8 / t->refcount_bits, all = clusters, before;

    do {
        before = all;
        uint64_t blocks = div_up(all, per_block);
        all = clusters + blocks + div_up(blocks, t->cluster_size / 8);
    } while (all != before);
    return all - clusters;
}

/* Metadata of an image whose @virtual_size bytes, a multiple of the cluster, are all mapped. */
static uint64_t metadata_bytes(uint64_t virtual_size, const struct target *t)
{
    uint64_t l2_tables = div_up(virtual_size / t->cluster_size, t->cluster_size / t->l2_entry_size);
    uint64_t clusters = 1 + l2_tables + div_up(l2_tables * 8, t->cluster_size);

    return t->cluster_size * (clusters + refcount_clusters(clusters + virtual_size / t->cluster_size, t));
}

static int check_size(uint64_t size, const struct target *t, uint64_t *virtual_size, struct qcbm_error *err)
{
    if (size <= INT64_MAX - t->cluster_size) {
        *virtual_size = align_up(size, t->cluster_size);
        if (div_up(*virtual_size / t->cluster_size, t->cluster_size / t->l2_entry_size) * 8 <= Q2_MAX_L1_BYTES)
            return 0;
    }
    return qcbmi_fail(err, QCBM_E_LIMIT, QCBM_NO_OFFSET,
                      "The image size is too large (try using a larger cluster size)");
}

/* ---- a source ---- */

struct count {
    uint64_t cluster_size, clusters;
    uint64_t next; /* clusters before it are counted */
    uint64_t size; /* of the disk */
    struct qcbmi_progress progress;
};

/* A cluster of the target is needed as soon as one byte of it is data. */
static int count_entry(void *opaque, const struct qcbm_map_entry *e)
{
    struct count *c = opaque;

    if (e->data && !e->zero) {
        uint64_t first = u64_max(e->start / c->cluster_size, c->next);

        c->next = div_up(e->start + e->length, c->cluster_size);
        c->clusters += c->next > first ? c->next - first : 0;
    }
    return qcbmi_progress_at(&c->progress, e->start + e->length, NULL);
}

/* What the bitmaps take in full, whatever their bits. QEMU counts inconsistent ones, though it does not copy them. */
static uint64_t bitmaps_bytes(const struct qcbm_image *handle, const struct target *t)
{
    uint64_t bytes = 0, directory = 0;

    for (uint32_t i = 0; i < handle->bitmaps->n; i++) {
        const struct qcbmi_bitmap *b = &handle->bitmaps->list[i];

        if (b->bad || handle->bitmaps->stale)
            continue;
        uint64_t bits = div_up(handle->image->g.sector_size_down, UINT64_C(1) << b->d.granularity_bits);
        uint64_t clusters = div_up(div_up(bits, 8), t->cluster_size);
        bytes += t->cluster_size * (clusters + div_up(clusters * 8, t->cluster_size));
        directory += q2_bitmap_dirent_len(0, b->d.name_len);
    }
    return bytes + align_up(directory, t->cluster_size);
}

static int measure_source(struct qcbm_image *top, const struct qcbmi_chain *chain, const struct target *t,
                          struct qcbm_measure *m, struct qcbm_error *err)
{
    struct count c = { .cluster_size = t->cluster_size,
                       .size = align_down(chain->layers[0].size, Q2_SECTOR),
                       .progress = { .to = t->progress } };
    int ret;

    c.progress.total = c.size;
    ret = qcbmi_map_chain(top, chain, 0, UINT64_MAX, count_entry, &c, err);
    m->required = c.clusters * t->cluster_size;
    m->has_bitmaps = top && t->version >= 3 && top->image->g.version >= 3;
    if (m->has_bitmaps)
        m->bitmaps = bitmaps_bytes(top, t);
    return ret;
}

/* @chain: NULL for a new image of @size bytes. */
static int measure(struct qcbm_image *top, const struct qcbmi_chain *chain, uint64_t size,
                   const struct qcbm_measure_options *options, struct qcbm_measure *m, struct qcbm_error *err)
{
    uint64_t virtual_size = 0, metadata;
    struct target t;
    int ret = read_options(options, &t, err);

    if (ret == 0)
        ret = check_size(size, &t, &virtual_size, err);
    if (ret == 0 && chain)
        ret = measure_source(top, chain, &t, m, err);
    if (ret < 0)
        return ret;
    if (t.flags & QCBM_MEASURE_PREALLOCATED)
        m->required = virtual_size;
    metadata = metadata_bytes(virtual_size, &t);
    m->required += metadata;
    m->fully_allocated = metadata + virtual_size;
    return 0;
}

int qcbmi_measure_chain(struct qcbm_image *top, const struct qcbmi_chain *chain,
                        const struct qcbm_measure_options *options, struct qcbm_measure *out, size_t out_size,
                        struct qcbm_error *err)
{
    struct qcbm_measure m = { 0 };
    int ret = qcbmi_check_size(out_size, err);

    if (ret == 0)
        ret = measure(top, chain, align_down(chain->layers[0].size, Q2_SECTOR), options, &m, err);
    if (ret == 0)
        qcbmi_give(out, out_size, &m, sizeof(m));
    return ret;
}

int qcbm_measure(struct qcbm_image *img, uint64_t size, const struct qcbm_measure_options *options,
                 struct qcbm_measure *out, size_t out_size, struct qcbm_error *err)
{
    struct qcbm_measure_options o = QCBM_MEASURE_OPTIONS_INIT;
    struct qcbmi_chain_options how = { 0 };
    struct qcbmi_chain chain = { 0 };
    struct qcbm_measure m = { 0 };
    int ret = qcbmi_check_size(out_size, err);

    if (ret == 0)
        ret = qcbmi_take_options(&o, sizeof(o), options, err);
    if (ret < 0)
        return ret;
    if (!img) {
        ret = measure(NULL, NULL, size, options, &m, err);
        if (ret == 0)
            qcbmi_give(out, out_size, &m, sizeof(m));
        return ret;
    }
    how.force_share = o.flags & QCBM_MEASURE_FORCE_SHARE;
    ret = qcbmi_chain_open(img->image, &how, &chain, err);
    if (ret == 0)
        ret = qcbmi_measure_chain(img, &chain, options, out, out_size, err);
    qcbmi_chain_close(&chain);
    return ret;
}
