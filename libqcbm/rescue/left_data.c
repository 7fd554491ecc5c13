/* left_data.c - data that nothing names any more, put where it may belong
 * SPDX-License-Identifier: MIT
 *
 * By content, where the backing file or a snapshot has blocks of the cluster; by runs from there, which are one write;
 * then, if there are as many clusters as places, in the order of the file: places are those that a bitmap has as dirty,
 * or all that the lost tables had. Subclusters and compressed data cannot be told from the cluster alone, so with
 * subclusters nothing is put anywhere. */
#include <stdlib.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "base/sort.h"
#include "bitmap/bitmap_load.h"
#include "format/q2_l1l2.h"
#include "rescue/content.h"
#include "rescue/rebuild.h"

static bool is_rebuilt(const struct qcbmi_slot *s)
{
    return s->state == QCBMI_SLOT_REBUILT;
}

/* Data, that is: no table that has no place. */
static bool is_left_data(const struct qcbmi_rescue *r, uint64_t cluster)
{
    return qcbmi_rescue_is_left(r, cluster) && !qcbmi_rescue_candidate(r, cluster << r->g->cluster_bits) &&
           !qcbmi_bitset_get(&r->meta, cluster);
}

static uint64_t next_left_data(const struct qcbmi_rescue *r, uint64_t from)
{
    do
        from = qcbmi_rescue_next_left(r, from);
    while (from < r->n_clusters && !is_left_data(r, from) && ++from < r->n_clusters);
    return from;
}

static bool is_free_entry(const struct qcbmi_rescue *r, uint64_t slot, uint32_t index)
{
    return slot < r->n_slots && is_rebuilt(&r->slots[slot]) && r->rebuilt[r->slots[slot].rebuilt].score[index] == 0;
}

/* Cluster @cluster of the file is cluster @guest of the disk. */
static int put(struct qcbmi_rescue *r, uint64_t cluster, uint64_t guest, unsigned score, enum qcbmi_rescue_why why,
               struct qcbm_error *err)
{
    uint64_t slot = guest / r->g->l2_entries;
    uint32_t index = (uint32_t)(guest % r->g->l2_entries);

    if (!is_free_entry(r, slot, index))
        return 0;
    return qcbmi_rebuilt_set(r, slot, index, cluster << r->g->cluster_bits | Q2_ENTRY_COPIED, 0, score, why, err);
}

/* ---- content ---- */

static int by_where(const void *a, const void *b)
{
    const struct qcbmi_match *x = a, *y = b;

    return u64_compare(x->where, y->where);
}

static int put_matches(struct qcbmi_rescue *r, struct qcbmi_match *list, size_t n, struct qcbm_error *err)
{
    int ret = 0;

    qcbmi_sort(list, n, sizeof(*list), by_where);
    for (size_t i = 0, end; ret == 0 && i < n; i = end) {
        for (end = i + 1; end < n && list[end].where == list[i].where;)
            end++;
        if (end == i + 1)
            ret = put(r, list[i].what, list[i].where, 92, QCBMI_WHY_BACKING, err);
    }
    return ret;
}

static int by_content(struct qcbmi_rescue *r, struct qcbm_error *err)
{
    struct qcbmi_prints prints = { .unit = r->g->cluster_size };
    uint8_t *bytes = qcbmi_alloc_array(r->g->cluster_size, 1, err);
    struct qcbmi_match *matches = NULL;
    size_t n = 0;
    int ret = bytes ? 0 : QCBM_E_NOMEM;

    for (uint64_t i = next_left_data(r, 0); ret == 0 && i < r->n_clusters; i = next_left_data(r, i + 1)) {
        ret = qcbmi_holes_read(&r->holes, i << r->g->cluster_bits, bytes, r->g->cluster_size, NULL, "clusters", err);
        if (ret == 0)
            ret = qcbmi_prints_add(&prints, r, i, 0, bytes, err);
    }
    if (ret == 0 && prints.n)
        ret = qcbmi_prints_match(&prints, r, is_rebuilt, &matches, &n, err);
    if (ret == 0)
        ret = put_matches(r, matches, n, err);
    free(matches);
    free(prints.list);
    free(bytes);
    return ret;
}

/* ---- runs ---- */

/* What was put by its content, as pairs of cluster and place, in the order of the file. */
struct anchor {
    uint64_t cluster, guest;
};

struct anchors {
    struct anchor *list;
    size_t n, capacity;
};

static int collect_anchors(struct anchors *a, const struct qcbmi_rescue *r, struct qcbm_error *err)
{
    for (uint64_t slot = 0; slot < r->n_slots; slot++) {
        const struct qcbmi_rebuilt *b = is_rebuilt(&r->slots[slot]) ? &r->rebuilt[r->slots[slot].rebuilt] : NULL;

        for (uint32_t i = 0; b && i < r->g->l2_entries; i++) {
            struct q2_l2_entry e;

            if (b->why[i] != QCBMI_WHY_BACKING || b->score[i] == 0)
                continue;
            qcbmi_rescue_parse(r, b->table, i, slot, &e);
            if (qcbmi_grow_array(&a->list, &a->capacity, a->n, sizeof(*a->list), err) < 0)
                return QCBM_E_NOMEM;
            a->list[a->n++] = (struct anchor){ e.host_offset >> r->g->cluster_bits, slot * r->g->l2_entries + i };
        }
    }
    qcbmi_sort(a->list, a->n, sizeof(*a->list), qcbmi_by_u64);
    return 0;
}

static bool may_follow(const struct qcbmi_rescue *r, uint64_t cluster, uint64_t guest)
{
    return cluster < r->n_clusters && is_left_data(r, cluster) &&
           is_free_entry(r, guest / r->g->l2_entries, (uint32_t)(guest % r->g->l2_entries));
}

/* Between two that are as far from each other in the file as on the disk lies one write. */
static int fill_between(struct qcbmi_rescue *r, const struct anchor *a, const struct anchor *b, struct qcbm_error *err)
{
    uint64_t n = b->cluster - a->cluster;
    int ret = 0;

    if (b->guest <= a->guest || b->guest - a->guest != n)
        return 0;
    for (uint64_t i = 1; i < n; i++)
        if (!may_follow(r, a->cluster + i, a->guest + i))
            return 0;
    for (uint64_t i = 1; ret == 0 && i < n; i++)
        ret = put(r, a->cluster + i, a->guest + i, 85, QCBMI_WHY_RUN, err);
    return ret;
}

static bool is_dirty(const struct qcbmi_rescue *r, const struct qcbmi_dirtymap *dirty, uint64_t guest)
{
    uint64_t at = guest << r->g->cluster_bits, start, end;

    return at < dirty->size && qcbmi_dirtymap_next(dirty, at, &start, &end) && start < at + r->g->cluster_size;
}

/* From one on, as far as the file and the dirty granules of a bitmap go on together. */
static int go_on(struct qcbmi_rescue *r, const struct anchor *a, const struct qcbmi_dirtymap *dirty, bool back,
                 struct qcbm_error *err)
{
    uint64_t step = back ? UINT64_MAX : 1, cluster = a->cluster + step, guest = a->guest + step;
    int ret = 0;

    for (; ret == 0 && cluster && guest != UINT64_MAX && may_follow(r, cluster, guest) && is_dirty(r, dirty, guest);
         cluster += step, guest += step)
        ret = put(r, cluster, guest, 75, QCBMI_WHY_RUN, err);
    return ret;
}

static int by_runs(struct qcbmi_rescue *r, const struct qcbmi_dirtymap *dirty, struct qcbm_error *err)
{
    struct anchors a = { 0 };
    int ret = collect_anchors(&a, r, err);

    for (size_t i = 0; ret == 0 && i + 1 < a.n; i++)
        ret = fill_between(r, &a.list[i], &a.list[i + 1], err);
    for (size_t i = 0; ret == 0 && dirty && i < a.n; i++)
        ret = go_on(r, &a.list[i], dirty, false, err);
    for (size_t i = a.n; ret == 0 && dirty && i-- > 0;)
        ret = go_on(r, &a.list[i], dirty, true, err);
    free(a.list);
    return ret;
}

/* ---- order ---- */

/* Clusters of the disk below lost tables, as far as @dirty (NULL: all) has them, that are free: fills @to, or
 * counts. */
static uint64_t list_places(const struct qcbmi_rescue *r, const struct qcbmi_dirtymap *dirty, uint64_t *to)
{
    uint64_t n = 0;

    for (uint64_t slot = 0; slot < r->n_slots; slot++) {
        for (uint32_t i = 0; is_rebuilt(&r->slots[slot]) && i < r->g->l2_entries; i++) {
            uint64_t guest = slot * r->g->l2_entries + i, at = guest << r->g->cluster_bits;

            if (at >= r->g->size || !is_free_entry(r, slot, i))
                continue;
            if (dirty && !is_dirty(r, dirty, guest))
                continue;
            if (to)
                to[n] = guest;
            n++;
        }
    }
    return n;
}

static uint64_t count_left_data(const struct qcbmi_rescue *r)
{
    uint64_t n = 0;

    for (uint64_t i = next_left_data(r, 0); i < r->n_clusters; i = next_left_data(r, i + 1))
        n++;
    return n;
}

/* One cluster and one place are sure enough; of more of them the order of the file is that of the disk only if the
 * guest wrote from front to back. */
static int in_order(struct qcbmi_rescue *r, const struct qcbmi_dirtymap *dirty, uint64_t n_left, struct qcbm_error *err)
{
    uint64_t n = list_places(r, dirty, NULL), *places, cluster = 0;
    unsigned score = n == 1 ? 90 : dirty ? 60 : 50;
    int ret = 0;

    if (n != n_left || n == 0)
        return 0;
    places = qcbmi_alloc_array(n, sizeof(*places), err);
    if (!places)
        return QCBM_E_NOMEM;
    list_places(r, dirty, places);
    for (uint64_t i = 0; ret == 0 && i < n; i++) {
        cluster = next_left_data(r, cluster);
        ret = put(r, cluster++, places[i], score, n == 1 ? QCBMI_WHY_BITMAP : QCBMI_WHY_ORDER, err);
    }
    free(places);
    return ret;
}

static int by_bitmaps(struct qcbmi_rescue *r, uint64_t *n_left, struct qcbm_error *err)
{
    const struct qcbmi_bitmap_list *list = r->handle->bitmaps;
    int ret = 0;

    for (uint32_t i = 0; ret == 0 && *n_left && !list->stale && i < list->n && i < 4; i++) {
        const struct qcbmi_bitmap *b = &list->list[i];
        struct qcbmi_dirtymap map = { 0 };

        if (qcbmi_bitmap_check_bits(r->handle, b, false, NULL) < 0 || qcbmi_bitmap_check_table(r->img, b, NULL) < 0)
            continue;
        ret = qcbmi_bitmap_load(r->img, b, &map, err);
        if (ret == 0)
            ret = by_runs(r, &map, err);
        *n_left = count_left_data(r);
        if (ret == 0 && *n_left)
            ret = in_order(r, &map, *n_left, err);
        qcbmi_dirtymap_free(&map);
        *n_left = count_left_data(r);
    }
    return ret;
}

int qcbmi_rebuild_from_left(struct qcbmi_rescue *r, struct qcbm_error *err)
{
    uint64_t n_left;
    int ret = 0;

    if (r->g->extended_l2 || !r->refcounts)
        return 0;
    if (((r->probe_backing && r->img->backing_file) || r->n_snap) && !r->img->h.crypt_method)
        ret = by_content(r, err);
    if (ret == 0)
        ret = by_runs(r, NULL, err);
    n_left = count_left_data(r);
    if (ret == 0)
        ret = by_bitmaps(r, &n_left, err);
    if (ret == 0 && n_left)
        ret = in_order(r, NULL, n_left, err);
    return ret;
}
