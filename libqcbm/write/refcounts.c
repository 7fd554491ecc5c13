/* refcounts.c - look up refcounts, stage changes of them, emit the sectors that changed
 * SPDX-License-Identifier: MIT */
#include "write/refcounts.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/checked.h"

static int check_table_entry(const struct qcbm_image *img, uint64_t index, uint64_t raw, struct qcbm_error *err)
{
    const char *rule = NULL;

    if (raw & Q2_REFTABLE_RESERVED)
        rule = "has reserved bits set";
    else if (!is_aligned(raw, img->g.cluster_size))
        rule = "is not cluster-aligned";
    else if (!range_fits(raw, img->g.cluster_size, qcbmi_image_end(img)))
        rule = "passes the end of the file";
    if (!rule)
        return 0;
    return qcbmi_fail(err, QCBM_E_UNSAFE, img->h.reftable_offset + 8 * index,
                      "refcount table entry %" PRIu64 ": 0x%016" PRIx64 " %s", index, raw, rule);
}

int qcbmi_reftable_read(struct qcbm_image *img, uint64_t **table, uint64_t *n, struct qcbm_error *err)
{
    uint64_t bytes = (uint64_t)img->h.reftable_clusters << img->g.cluster_bits;
    uint64_t *t;
    int ret;

    *table = NULL;
    *n = bytes / 8;
    if (*n == 0)
        return qcbmi_fail(err, QCBM_E_UNSAFE, 56, "the image has no refcount table");
    t = qcbmi_alloc_array(*n, 8, err);
    if (!t)
        return QCBM_E_NOMEM;
    ret = qcbmi_io_read_slack(&img->io, img->h.reftable_offset, t, bytes, img->g.cluster_size, "refcount table", err);
    for (uint64_t i = 0; ret == 0 && i < *n; i++) {
        t[i] = be64_load((const uint8_t *)&t[i]);
        ret = t[i] ? check_table_entry(img, i, t[i], err) : 0;
    }
    if (ret < 0) {
        free(t);
        return ret;
    }
    *table = t;
    return 0;
}

int qcbmi_refcounts_init(struct qcbmi_refcounts *r, struct qcbm_image *img, struct qcbm_error *err)
{
    r->img = img;
    return qcbmi_reftable_read(img, &r->table, &r->n_table, err);
}

static void free_block(struct qcbmi_refblock *b)
{
    free(b->bytes);
    free(b->dirty);
}

void qcbmi_refcounts_free(struct qcbmi_refcounts *r)
{
    for (size_t i = 0; i < r->n_blocks; i++)
        free_block(&r->blocks[i]);
    free(r->blocks);
    free(r->table);
    memset(r, 0, sizeof(*r));
}

/* Place of block @index in the sorted array: where it is, or where it would go. */
static size_t place_of(const struct qcbmi_refcounts *r, uint64_t index)
{
    size_t lo = 0, hi = r->n_blocks;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;

        if (r->blocks[mid].index < index)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static bool is_touched(const struct qcbmi_refcounts *r, uint64_t index)
{
    size_t at = place_of(r, index);

    return at < r->n_blocks && r->blocks[at].index == index;
}

bool qcbmi_refcounts_has_block(const struct qcbmi_refcounts *r, uint64_t index)
{
    return (index < r->n_table && r->table[index]) || is_touched(r, index);
}

/* Insert a zeroed block; *@out is valid until the next insertion. */
static int insert_block(struct qcbmi_refcounts *r, uint64_t index, uint64_t offset, struct qcbmi_refblock **out,
                        struct qcbm_error *err)
{
    size_t at = place_of(r, index);
    struct qcbmi_refblock b = { .index = index, .offset = offset };

    b.bytes = qcbmi_alloc_array(r->img->g.cluster_size, 1, err);
    b.dirty = qcbmi_alloc_array(r->img->g.cluster_size / Q2_SECTOR, 1, err);
    if (!b.bytes || !b.dirty || qcbmi_grow_array(&r->blocks, &r->capacity, r->n_blocks, sizeof(b), err) < 0) {
        free_block(&b);
        return QCBM_E_NOMEM;
    }
    memmove(r->blocks + at + 1, r->blocks + at, (r->n_blocks - at) * sizeof(b));
    r->blocks[at] = b;
    r->n_blocks++;
    *out = &r->blocks[at];
    return 0;
}

int qcbmi_refcounts_add_block(struct qcbmi_refcounts *r, uint64_t index, uint64_t offset, struct qcbm_error *err)
{
    struct qcbmi_refblock *b;
    int ret = insert_block(r, index, offset, &b, err);

    if (ret == 0)
        b->fresh = true;
    return ret;
}

static int touch_block(struct qcbmi_refcounts *r, uint64_t index, struct qcbmi_refblock **out, struct qcbm_error *err)
{
    int ret;

    if (is_touched(r, index)) {
        *out = &r->blocks[place_of(r, index)];
        return 0;
    }
    if (index >= r->n_table || !r->table[index])
        return qcbmi_fail(err, QCBM_E_UNSAFE, QCBM_NO_OFFSET, "refcount block %" PRIu64 " does not exist", index);
    ret = insert_block(r, index, r->table[index], out, err);
    if (ret == 0)
        ret = qcbmi_io_read_slack(&r->img->io, (*out)->offset, (*out)->bytes, r->img->g.cluster_size,
                                  r->img->g.cluster_size, "refcount block", err);
    return ret;
}

int qcbmi_refcounts_get(struct qcbmi_refcounts *r, uint64_t cluster, uint64_t *value, struct qcbm_error *err)
{
    uint64_t per = r->img->g.refblock_entries;
    struct qcbmi_refblock *b;
    int ret = touch_block(r, cluster / per, &b, err);

    if (ret == 0)
        *value = q2_refcount_get(b->bytes, cluster % per, r->img->g.refcount_order);
    return ret;
}

int qcbmi_refcounts_set(struct qcbmi_refcounts *r, uint64_t cluster, uint64_t value, struct qcbm_error *err)
{
    uint64_t per = r->img->g.refblock_entries, entry = cluster % per;
    struct qcbmi_refblock *b;
    int ret = touch_block(r, cluster / per, &b, err);

    if (ret < 0)
        return ret;
    q2_refcount_set(b->bytes, entry, r->img->g.refcount_order, value);
    b->dirty[(entry * r->img->g.refcount_bits / 8) / Q2_SECTOR] = 1;
    return 0;
}

int qcbmi_refcounts_emit_fresh(struct qcbmi_refcounts *r, struct qcbmi_plan *plan, struct qcbm_error *err)
{
    size_t cs = r->img->g.cluster_size;
    int ret = 0;

    for (size_t i = 0; ret == 0 && i < r->n_blocks; i++) {
        struct qcbmi_refblock *b = &r->blocks[i];

        if (!b->fresh)
            continue;
        ret = qcbmi_plan_write(plan, "refcount block", b->offset, b->bytes, cs, err);
        memset(b->dirty, 0, cs / Q2_SECTOR);
        b->fresh = false;
    }
    return ret;
}

int qcbmi_refcounts_emit_changes(struct qcbmi_refcounts *r, struct qcbmi_plan *plan, struct qcbm_error *err)
{
    size_t n = r->img->g.cluster_size / Q2_SECTOR;
    int ret = 0;

    for (size_t i = 0; ret == 0 && i < r->n_blocks; i++) {
        struct qcbmi_refblock *b = &r->blocks[i];

        for (size_t s = 0, e; ret == 0 && s < n; s = e) {
            for (e = s + 1; b->dirty[s] && e < n && b->dirty[e];)
                e++;
            if (b->dirty[s])
                ret = qcbmi_plan_write(plan, "refcount block", b->offset + s * Q2_SECTOR, b->bytes + s * Q2_SECTOR,
                                       (e - s) * Q2_SECTOR, err);
        }
        memset(b->dirty, 0, n);
    }
    return ret;
}
