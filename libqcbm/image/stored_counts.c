/* stored_counts.c - the refcounts as they are stored, whatever is wrong with them: one by one, or all of a range
 * SPDX-License-Identifier: MIT */
#include "image/stored_counts.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/checked.h"
#include "base/sort.h"
#include "format/q2_refcount.h"
#include "image/l2_read.h"

/* QEMU reads nothing at or past it (the largest int64_t, rounded down to 1 GiB). */
#define READ_LIMIT (Q2_MAX_OFFSET & ~((UINT64_C(1) << 30) - 1))

int qcbmi_stored_counts_init(struct qcbmi_stored_counts *s, struct qcbmi_image *img, struct qcbmi_holes *holes,
                             struct qcbm_error *err)
{
    uint64_t bytes = (uint64_t)img->h.reftable_clusters << img->g.cluster_bits;
    int ret;

    *s = (struct qcbmi_stored_counts){ .img = img, .holes = holes, .n_table = bytes / 8, .block_offset = UINT64_MAX };
    s->block = qcbmi_alloc_array(img->g.cluster_size, 1, err);
    s->table = qcbmi_alloc_array(s->n_table, 8, err);
    if (!s->block || !s->table)
        return QCBM_E_NOMEM;
    ret = qcbmi_holes_read(holes, img->h.reftable_offset, s->table, bytes, NULL, "metadata", err);
    for (uint64_t i = 0; ret == 0 && i < s->n_table; i++)
        s->table[i] = be64_load((const uint8_t *)&s->table[i]);
    return ret;
}

void qcbmi_stored_counts_free(struct qcbmi_stored_counts *s)
{
    free(s->table);
    free(s->block);
    *s = (struct qcbmi_stored_counts){ 0 };
}

uint64_t qcbmi_stored_block_of(const struct qcbmi_stored_counts *s, uint64_t cluster)
{
    uint64_t index = cluster / s->img->g.refblock_entries;

    return index < s->n_table ? s->table[index] & Q2_REFTABLE_OFFSET_MASK : 0;
}

bool qcbmi_stored_is_readable(const struct qcbmi_stored_counts *s, uint64_t off)
{
    return is_aligned(off, s->img->g.cluster_size) && off < READ_LIMIT - s->img->g.cluster_size;
}

static int read_block(struct qcbmi_stored_counts *s, uint64_t off, struct qcbm_error *err)
{
    int ret = 0;

    if (off == s->block_offset)
        return 0;
    ret = qcbmi_holes_read(s->holes, off, s->block, s->img->g.cluster_size, NULL, "metadata", err);
    s->block_offset = ret < 0 ? UINT64_MAX : off;
    return ret;
}

bool qcbmi_stored_get(struct qcbmi_stored_counts *s, uint64_t cluster, uint64_t *value, struct qcbm_error *err)
{
    uint64_t off = qcbmi_stored_block_of(s, cluster);

    *value = 0;
    if (off == 0)
        return true;
    if (!qcbmi_stored_is_readable(s, off) || read_block(s, off, err) < 0)
        return false;
    *value = q2_refcount_get(s->block, cluster % s->img->g.refblock_entries, s->img->g.refcount_order);
    return true;
}

struct loading {
    struct qcbmi_stored_counts *s;
    const struct qcbmi_stored_load *load;
};

/* The refcounts of one block as far as they are wanted. */
static int add_block(void *opaque, void *none, const struct qcbmi_l2_ref *ref, const uint8_t *block,
                     struct qcbm_error *err)
{
    const struct loading *l = opaque;
    struct qcbmi_counts *to = l->load->to;
    const struct q2_geometry *g = &l->s->img->g;
    uint64_t base = ref->l1_index * g->refblock_entries, n = u64_min(g->refblock_entries, to->end - base);
    uint64_t i = base < to->first ? to->first - base : 0, ignored = 0;
    int ret = 0;

    (void)none;
    for (uint64_t k; block && ret == 0 && i < n; i = k) {
        k = q2_refcount_run_end(block, i, n, g->refcount_order);
        ret = qcbmi_counts_add(to, base + i, k - i, q2_refcount_get(block, i, g->refcount_order), UINT64_MAX, &ignored,
                               err);
    }
    return ret;
}

/* Those that are wanted into @refs, with their index in the refcount table; returns how many. */
static size_t list_blocks(const struct loading *l, uint64_t first, uint64_t end, struct qcbmi_l2_ref *refs)
{
    struct qcbmi_stored_counts *s = l->s;
    uint64_t cs = s->img->g.cluster_size, loaded = 0;
    size_t n = 0;

    for (uint64_t i = first; i < end; i++) {
        uint64_t off = s->table[i] & Q2_REFTABLE_OFFSET_MASK;

        if (off == 0)
            continue;
        if (!qcbmi_stored_is_readable(s, off)) {
            s->unreadable = true;
            continue;
        }
        loaded += cs;
        if (loaded > l->load->free && !l->load->afford(l->load->opaque, cs)) /* the same blocks over and over */
            break;
        refs[n++] = (struct qcbmi_l2_ref){ off, i };
    }
    qcbmi_sort(refs, n, sizeof(*refs), qcbmi_by_two_u64);
    return n;
}

int qcbmi_stored_counts_load(struct qcbmi_stored_counts *s, const struct qcbmi_stored_load *load,
                             struct qcbm_error *err)
{
    uint64_t per = s->img->g.refblock_entries, first = load->to->first / per;
    uint64_t end = u64_min(s->n_table, div_up(load->to->end, per));
    struct loading l = { s, load };
    struct qcbmi_l2_job job = { .stride = sizeof(struct qcbmi_l2_ref), .what = "metadata", .opaque = &l };
    struct qcbmi_l2_ref *refs;
    int ret;

    if (first >= end)
        return 0;
    refs = qcbmi_alloc_array(end - first, sizeof(*refs), err);
    if (!refs)
        return QCBM_E_NOMEM;
    job.refs = refs;
    job.n = list_blocks(&l, first, end, refs);
    job.progress = load->progress;
    job.look = add_block;
    ret = qcbmi_l2_read(s->img, &job, err);
    free(refs);
    return ret;
}
