/* refcounts.c - look up refcounts, stage changes of them, emit the sectors that changed
 * SPDX-License-Identifier: MIT */
#include "write/refcounts.h"

#include <search.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/checked.h"
#include "base/sort.h"

static int check_table_entry(const struct qcbmi_image *img, uint64_t index, uint64_t raw, struct qcbm_error *err)
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

int qcbmi_reftable_read(struct qcbmi_image *img, uint64_t **table, uint64_t *n, struct qcbm_error *err)
{
    uint64_t bytes = (uint64_t)img->h.reftable_clusters << img->g.cluster_bits;
    uint64_t *t;
    int ret;

    *table = NULL;
    *n = bytes / 8;
    if (*n == 0)
        return qcbmi_fail(err, QCBM_E_UNSAFE, Q2_OFF_REFTABLE_CLUSTERS, "the image has no refcount table");
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

/* ---- blocks and sectors ---- */

struct qcbmi_refsector {
    uint64_t index;  /* of its block in the refcount table */
    uint32_t sector; /* of the block */
    bool dirty;      /* not in the plan yet */
    uint8_t bytes[Q2_SECTOR];
};

int qcbmi_refcounts_init(struct qcbmi_refcounts *r, struct qcbmi_image *img, struct qcbm_error *err)
{
    r->img = img;
    return qcbmi_reftable_read(img, &r->table, &r->n_table, err);
}

static void leave(void *unused)
{
    (void)unused;
}

void qcbmi_refcounts_free(struct qcbmi_refcounts *r)
{
    tdestroy(r->by_place, leave);
    for (size_t i = 0; i < r->n_sectors; i++)
        free(r->sectors[i]);
    free(r->sectors);
    free(r->fresh);
    free(r->table);
    qcbmi_window_free(&r->window);
    memset(r, 0, sizeof(*r));
}

static int by_place(const void *a, const void *b)
{
    const struct qcbmi_refsector *x = a, *y = b;

    int by_index = u64_compare(x->index, y->index);

    return by_index ? by_index : u64_compare(x->sector, y->sector);
}

static int by_place_indirect(const void *a, const void *b)
{
    return by_place(*(struct qcbmi_refsector *const *)a, *(struct qcbmi_refsector *const *)b);
}

/* Place of block @index among the fresh ones: where it is, or where it would go. */
static size_t place_of(const struct qcbmi_refcounts *r, uint64_t index)
{
    return qcbmi_lower_bound_u64(r->fresh, r->n_fresh, sizeof(*r->fresh), index);
}

static const struct qcbmi_refblock *fresh_block(const struct qcbmi_refcounts *r, uint64_t index)
{
    size_t at = place_of(r, index);

    return at < r->n_fresh && r->fresh[at].index == index ? &r->fresh[at] : NULL;
}

bool qcbmi_refcounts_has_block(const struct qcbmi_refcounts *r, uint64_t index)
{
    return (index < r->n_table && r->table[index]) || fresh_block(r, index);
}

int qcbmi_refcounts_add_block(struct qcbmi_refcounts *r, uint64_t index, uint64_t offset, struct qcbm_error *err)
{
    size_t at = place_of(r, index);

    if (qcbmi_grow_array(&r->fresh, &r->fresh_capacity, r->n_fresh, sizeof(*r->fresh), err) < 0)
        return QCBM_E_NOMEM;
    memmove(r->fresh + at + 1, r->fresh + at, (r->n_fresh - at) * sizeof(*r->fresh));
    r->fresh[at] = (struct qcbmi_refblock){ .index = index, .offset = offset };
    r->n_fresh++;
    return 0;
}

/* Where @cluster is counted: in which sector, and at which entry of that. */
static uint64_t locate(const struct qcbmi_refcounts *r, uint64_t cluster, struct qcbmi_refsector *key)
{
    uint64_t per_sector = Q2_SECTOR * 8 / r->img->g.refcount_bits, entry = cluster % r->img->g.refblock_entries;

    key->index = cluster / r->img->g.refblock_entries;
    key->sector = (uint32_t)(entry / per_sector);
    return entry % per_sector;
}

static struct qcbmi_refsector *changed_sector(const struct qcbmi_refcounts *r, const struct qcbmi_refsector *key)
{
    struct qcbmi_refsector **node = tfind(key, (void *const *)&r->by_place, by_place);

    return node ? *node : NULL;
}

/* The bytes of a sector that has not changed. */
static int look_at(struct qcbmi_refcounts *r, const struct qcbmi_refsector *key, const uint8_t **out,
                   struct qcbm_error *err)
{
    static const uint8_t zeros[Q2_SECTOR];
    uint64_t at = (uint64_t)key->sector * Q2_SECTOR;

    if (fresh_block(r, key->index)) {
        *out = zeros;
        return 0;
    }
    if (key->index >= r->n_table || !r->table[key->index])
        return qcbmi_fail(err, QCBM_E_UNSAFE, QCBM_NO_OFFSET, "refcount block %" PRIu64 " does not exist", key->index);
    return qcbmi_window_at(&r->window, &r->img->io, r->table[key->index] + at, Q2_SECTOR, r->img->g.cluster_size - at,
                           out, err);
}

int qcbmi_refcounts_get(struct qcbmi_refcounts *r, uint64_t cluster, uint64_t *value, struct qcbm_error *err)
{
    struct qcbmi_refsector key, *changed;
    uint64_t entry = locate(r, cluster, &key);
    const uint8_t *bytes;
    int ret = 0;

    changed = changed_sector(r, &key);
    if (changed)
        bytes = changed->bytes;
    else
        ret = look_at(r, &key, &bytes, err);
    if (ret == 0)
        *value = q2_refcount_get(bytes, entry, r->img->g.refcount_order);
    return ret;
}

static int keep(struct qcbmi_refcounts *r, struct qcbmi_refsector *sector, struct qcbm_error *err)
{
    if (qcbmi_grow_array(&r->sectors, &r->sector_capacity, r->n_sectors, sizeof(sector), err) < 0)
        return QCBM_E_NOMEM;
    if (!tsearch(sector, &r->by_place, by_place))
        return qcbmi_fail_nomem(err);
    r->sectors[r->n_sectors++] = sector;
    return 0;
}

static int begin_change(struct qcbmi_refcounts *r, const struct qcbmi_refsector *key, struct qcbmi_refsector **out,
                        struct qcbm_error *err)
{
    struct qcbmi_refsector *sector;
    const uint8_t *bytes;
    int ret;

    if (r->n_sectors == QCBMI_MAX_REFSECTORS)
        return qcbmi_fail(err, QCBM_E_LIMIT, QCBM_NO_OFFSET,
                          "refcounts in more than %u sectors of the file would change at once: change fewer bitmaps in "
                          "one go",
                          QCBMI_MAX_REFSECTORS);
    ret = look_at(r, key, &bytes, err);
    if (ret < 0)
        return ret;
    sector = qcbmi_alloc_array(1, sizeof(*sector), err);
    if (!sector)
        return QCBM_E_NOMEM;
    sector->index = key->index;
    sector->sector = key->sector;
    memcpy(sector->bytes, bytes, Q2_SECTOR);
    ret = keep(r, sector, err);
    if (ret < 0) {
        free(sector);
        return ret;
    }
    *out = sector;
    return 0;
}

int qcbmi_refcounts_set(struct qcbmi_refcounts *r, uint64_t cluster, uint64_t value, struct qcbm_error *err)
{
    struct qcbmi_refsector key, *sector;
    uint64_t entry = locate(r, cluster, &key);
    int ret = 0;

    sector = changed_sector(r, &key);
    if (!sector)
        ret = begin_change(r, &key, &sector, err);
    if (ret < 0)
        return ret;
    q2_refcount_set(sector->bytes, entry, r->img->g.refcount_order, value);
    sector->dirty = true;
    return 0;
}

/* ---- into the plan ---- */

static void sort_sectors(struct qcbmi_refcounts *r)
{
    qcbmi_sort(r->sectors, r->n_sectors, sizeof(struct qcbmi_refsector *), by_place_indirect);
}

/* The whole of a fresh block; its sectors stand from *@at on. */
static int write_block(struct qcbmi_refcounts *r, const struct qcbmi_refblock *b, size_t *at, struct qcbmi_plan *plan,
                       struct qcbm_error *err)
{
    uint8_t *bytes = qcbmi_alloc_array(r->img->g.cluster_size, 1, err);

    if (!bytes)
        return QCBM_E_NOMEM;
    while (*at < r->n_sectors && r->sectors[*at]->index < b->index)
        ++*at;
    for (; *at < r->n_sectors && r->sectors[*at]->index == b->index; ++*at) {
        memcpy(bytes + (size_t)r->sectors[*at]->sector * Q2_SECTOR, r->sectors[*at]->bytes, Q2_SECTOR);
        r->sectors[*at]->dirty = false;
    }
    return qcbmi_plan_write_owned(plan, "refcount block", b->offset, bytes, r->img->g.cluster_size, err);
}

int qcbmi_refcounts_emit_fresh(struct qcbmi_refcounts *r, struct qcbmi_plan *plan, struct qcbm_error *err)
{
    size_t at = 0;
    int ret = 0;

    sort_sectors(r);
    for (size_t i = 0; ret == 0 && i < r->n_fresh; i++) {
        if (r->fresh[i].written)
            continue;
        ret = write_block(r, &r->fresh[i], &at, plan, err);
        r->fresh[i].written = true;
    }
    return ret;
}

/* @n sectors from @first on, neighbours in one block. */
static int write_sectors(struct qcbmi_refcounts *r, size_t first, size_t n, struct qcbmi_plan *plan,
                         struct qcbm_error *err)
{
    const struct qcbmi_refsector *sector = r->sectors[first];
    const struct qcbmi_refblock *fresh = fresh_block(r, sector->index);
    uint64_t block = fresh ? fresh->offset : r->table[sector->index];
    uint8_t *bytes = qcbmi_alloc_array(n, Q2_SECTOR, err);

    if (!bytes)
        return QCBM_E_NOMEM;
    for (size_t i = 0; i < n; i++) {
        memcpy(bytes + i * Q2_SECTOR, r->sectors[first + i]->bytes, Q2_SECTOR);
        r->sectors[first + i]->dirty = false;
    }
    return qcbmi_plan_write_owned(plan, "refcount block", block + (uint64_t)sector->sector * Q2_SECTOR, bytes,
                                  n * Q2_SECTOR, err);
}

int qcbmi_refcounts_emit_changes(struct qcbmi_refcounts *r, struct qcbmi_plan *plan, struct qcbm_error *err)
{
    int ret = 0;

    sort_sectors(r);
    for (size_t i = 0, end; ret == 0 && i < r->n_sectors; i = end) {
        end = i + 1;
        if (!r->sectors[i]->dirty)
            continue;
        while (end < r->n_sectors && r->sectors[end]->dirty && r->sectors[end]->index == r->sectors[i]->index &&
               r->sectors[end]->sector == r->sectors[end - 1]->sector + 1)
            end++;
        ret = write_sectors(r, i, end - i, plan, err);
    }
    return ret;
}
