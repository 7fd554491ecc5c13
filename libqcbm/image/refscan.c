/* refscan.c - what the refcounts alone tell: how many clusters are used, and where the last one ends
 * SPDX-License-Identifier: MIT */
#include "image/refscan.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/checked.h"
#include "base/sort.h"
#include "format/q2_refcount.h"
#include "image/window.h"

struct block_ref {
    uint64_t offset, index;
};

struct scan {
    struct qcbmi_image *img;
    uint64_t limit;
    struct qcbmi_window window;
    struct qcbmi_refscan *out;
};

static int collect_blocks(struct scan *s, bool strict, struct block_ref *refs, size_t *n, struct qcbm_error *err)
{
    struct qcbmi_image *img = s->img;
    uint64_t bytes = (uint64_t)img->h.reftable_clusters << img->g.cluster_bits;
    const uint8_t *entry;

    *n = 0;
    for (uint64_t i = 0; 8 * i < bytes && i <= s->limit / img->g.refblock_entries; i++) {
        int ret = qcbmi_window_at(&s->window, &img->io, img->h.reftable_offset + 8 * i, 8, bytes - 8 * i, &entry, err);

        if (ret < 0)
            return ret;
        uint64_t offset = be64_load(entry) & Q2_REFTABLE_OFFSET_MASK;
        if (offset && is_aligned(offset, img->g.cluster_size) && offset < qcbmi_image_end(img)) {
            refs[(*n)++] = (struct block_ref){ offset, i };
        } else if (offset) {
            s->out->bad_entries++;
            if (strict)
                break;
        }
    }
    qcbmi_sort(refs, *n, sizeof(*refs), qcbmi_by_two_u64);
    return 0;
}

/* Non-zero refcounts among the first @n of a piece of a block; *@last is behind the last one. */
static uint64_t count_piece(const uint8_t *bytes, uint64_t n, uint32_t order, uint64_t *last)
{
    uint64_t count = 0;

    *last = 0;
    for (uint64_t i = 0, end; i < n; i = end) {
        end = q2_refcount_run_end(bytes, i, n, order);
        if (q2_refcount_get(bytes, i, order) == 0)
            continue;
        count += end - i;
        *last = end;
    }
    return count;
}

/* The first @n refcounts of the block at @offset. */
static int count_block(struct scan *s, uint64_t offset, uint64_t n, uint64_t *count, uint64_t *last,
                       struct qcbm_error *err)
{
    const struct q2_geometry *g = &s->img->g;
    uint64_t piece = u64_min(g->cluster_size, 4096), per_piece = piece * 8 / g->refcount_bits;
    const uint8_t *bytes;

    *count = *last = 0;
    for (uint64_t at = 0; at < g->cluster_size && at * 8 / g->refcount_bits < n; at += piece) {
        uint64_t first = at * 8 / g->refcount_bits, last_here;
        int ret = qcbmi_window_at(&s->window, &s->img->io, offset + at, piece, g->cluster_size - at, &bytes, err);

        if (ret < 0)
            return ret;
        if (qcbmi_window_is_zero(&s->window, offset + at, g->cluster_size - at))
            break;
        *count += count_piece(bytes, u64_min(per_piece, n - first), g->refcount_order, &last_here);
        if (last_here)
            *last = first + last_here;
    }
    return 0;
}

/* Sorted by offset: a block that many entries name, as a hostile table may have it, is counted once. */
static int count_blocks(struct scan *s, const struct block_ref *refs, size_t n, struct qcbm_error *err)
{
    uint64_t per_block = s->img->g.refblock_entries, count = 0, last = 0, seen_offset = 0, seen_entries = 0;
    int ret = 0;

    for (size_t i = 0; ret == 0 && i < n; i++) {
        uint64_t base = refs[i].index * per_block;
        uint64_t entries = base < s->limit ? u64_min(per_block, s->limit - base) : 0;

        if (refs[i].offset != seen_offset || entries != seen_entries)
            ret = count_block(s, refs[i].offset, entries, &count, &last, err);
        seen_offset = refs[i].offset;
        seen_entries = entries;
        s->out->used_clusters += count;
        if (last)
            s->out->end_cluster = u64_max(s->out->end_cluster, base + last);
    }
    return ret;
}

int qcbmi_refscan(struct qcbmi_image *img, uint64_t limit, bool strict, struct qcbmi_refscan *out,
                  struct qcbm_error *err)
{
    struct scan s = { .img = img, .limit = limit, .out = out };
    uint64_t n_table = ((uint64_t)img->h.reftable_clusters << img->g.cluster_bits) / 8;
    struct block_ref *refs;
    size_t n;
    int ret;

    *out = (struct qcbmi_refscan){ 0 };
    n_table = u64_min(n_table, limit / img->g.refblock_entries + 1); /* the header check bounds the first to 8 MiB */
    refs = qcbmi_alloc_array(n_table, sizeof(*refs), err);
    if (!refs)
        return QCBM_E_NOMEM;
    ret = collect_blocks(&s, strict, refs, &n, err);
    if (ret == 0)
        ret = count_blocks(&s, refs, n, err);
    qcbmi_window_free(&s.window);
    free(refs);
    return ret;
}

int qcbmi_looks_preallocated(struct qcbmi_image *img, bool *out, struct qcbm_error *err)
{
    uint64_t available, allocated = UINT64_MAX, real, threshold;
    struct qcbmi_refscan scan;
    int ret = qcbmi_io_space(&img->io, &available, &allocated, err);

    *out = false;
    if (ret < 0 || allocated == UINT64_MAX)
        return ret;
    real = allocated >> img->g.cluster_bits;
    threshold = u64_max(real * 10 / 9, real + 2);
    ret = qcbmi_refscan(img, div_up(img->io.size, img->g.cluster_size), true, &scan, err);
    *out = ret == 0 && scan.used_clusters >= threshold;
    return ret;
}
