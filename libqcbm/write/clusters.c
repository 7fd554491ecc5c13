/* clusters.c - find free clusters, raise and lower refcounts, grow refcount blocks and table; all in a plan
 * SPDX-License-Identifier: MIT */
#include "write/clusters.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/checked.h"
#include "image/used_clusters.h"

void qcbmi_alloc_free(struct qcbmi_alloc *a)
{
    qcbmi_refcounts_free(&a->refs);
    qcbmi_bitset_free(&a->busy);
    free(a->taken);
    free(a->freed);
    a->taken = a->freed = NULL;
}

/* Clusters [@first, @end) have refcount 0: none of them may be in use. */
static int check_unused(const struct qcbmi_owners *o, uint64_t first, uint64_t end, struct qcbm_error *err)
{
    const struct qcbmi_bitset *sets[] = { &o->meta, &o->l2, &o->data };
    const char *const names[] = { "metadata", "an L2 table", "guest data" };

    end = u64_min(end, o->n_clusters);
    for (int i = 0; i < 3; i++) {
        uint64_t hit = qcbmi_bitset_first_in(sets[i], first, end);

        if (hit < end)
            return qcbmi_fail(err, QCBM_E_UNSAFE, hit << o->img->g.cluster_bits,
                              "cluster at 0x%" PRIx64 " is used as %s but has refcount 0",
                              hit << o->img->g.cluster_bits, names[i]);
    }
    return 0;
}

/* Who uses a cluster that the refcounts call free? The first is told. */
static int check_free(const struct qcbmi_alloc *a, const struct qcbmi_owners *o, struct qcbm_error *err)
{
    const struct qcbmi_bitset *sets[] = { &o->meta, &o->l2, &o->data };
    uint64_t hit = o->n_clusters, end;

    for (int i = 0; i < 3; i++) {
        uint64_t first = qcbmi_bitset_first_outside(sets[i], &a->busy);

        hit = first < sets[i]->n_bits ? u64_min(hit, first) : hit;
    }
    if (hit == o->n_clusters)
        return 0;
    end = u64_min(qcbmi_bitset_next_set(&a->busy, hit), align_up(hit + 1, a->img->g.refblock_entries));
    return check_unused(o, hit, end, err);
}

/* Here the stored refcounts are trusted: what they call free is free unless the scan of owners differs, and then
 * nothing is planned. For an image whose refcounts are damaged the owners alone would have to say it. */
static int learn_free(struct qcbmi_alloc *a, struct qcbmi_owners *o, uint64_t n_bits, struct qcbm_error *err)
{
    struct qcbmi_used_job read = { a->img, a->refs.table, a->refs.n_table, "refcount block", &a->busy, false };
    int ret;

    if (o->counted) {
        a->busy = o->used;
        o->used = (struct qcbmi_bitset){ 0 };
        o->counted = false;
        ret = qcbmi_bitset_extend(&a->busy, u64_max(n_bits, a->busy.n_bits), err);
    } else {
        ret = qcbmi_bitset_init(&a->busy, n_bits, err);
        if (ret == 0)
            ret = qcbmi_used_read(&read, err);
    }
    return ret < 0 ? ret : check_free(a, o, err);
}

int qcbmi_alloc_begin(struct qcbmi_alloc *a, struct qcbmi_owners *owners, uint64_t want, struct qcbm_error *err)
{
    int ret;

    a->img = owners->img;
    ret = qcbmi_refcounts_init(&a->refs, a->img, err);
    /* Room for what is asked, for refcount blocks of the narrowest coverage (64 entries), and for a table. */
    if (ret == 0)
        ret = learn_free(a, owners,
                         owners->n_clusters + 2 * want + want / 32 +
                             4 * (Q2_MAX_REFTABLE_BYTES >> a->img->g.cluster_bits) + 65536,
                         err);
    return ret;
}

static int take(struct qcbmi_alloc *a, uint64_t first, uint64_t n, struct qcbm_error *err)
{
    if (qcbmi_grow_array(&a->taken, &a->capacity, a->n_taken, sizeof(*a->taken), err) < 0)
        return QCBM_E_NOMEM;
    a->taken[a->n_taken++] = (struct qcbmi_run){ first, n };
    return qcbmi_bitset_set(&a->busy, first, first + n, err);
}

static int no_clusters(struct qcbm_error *err)
{
    return qcbmi_fail(err, QCBM_E_LIMIT, QCBM_NO_OFFSET,
                      "no free clusters below the largest offset that the format allows");
}

int qcbmi_alloc_take(struct qcbmi_alloc *a, uint64_t n, uint64_t *offset, struct qcbm_error *err)
{
    uint64_t limit = u64_min(a->busy.n_bits, Q2_MAX_HOST_OFFSET >> a->img->g.cluster_bits), first = a->lowest, end;

    for (;; first = end) {
        first = qcbmi_bitset_next_clear(&a->busy, first);
        if (first >= limit || n > limit - first)
            return no_clusters(err);
        end = qcbmi_bitset_next_set(&a->busy, first);
        if (end - first >= n)
            break;
    }
    if (n == 1) /* it was the first that was free */
        a->lowest = first + 1;
    *offset = first << a->img->g.cluster_bits;
    return take(a, first, n, err);
}

int qcbmi_alloc_take_some(struct qcbmi_alloc *a, uint64_t n, uint64_t *offset, uint64_t *got, struct qcbm_error *err)
{
    uint64_t limit = u64_min(a->busy.n_bits, Q2_MAX_HOST_OFFSET >> a->img->g.cluster_bits);
    uint64_t first = qcbmi_bitset_next_clear(&a->busy, a->lowest);

    if (first >= limit)
        return no_clusters(err);
    *got = u64_min(n, u64_min(qcbmi_bitset_next_set(&a->busy, first), limit) - first);
    a->lowest = first + *got;
    *offset = first << a->img->g.cluster_bits;
    return take(a, first, *got, err);
}

/* Every taken cluster needs a refcount block; a new block is a taken cluster too, so the list grows while it is walked.
 * *@n_entries is how long the refcount table must be. */
static int ensure_blocks(struct qcbmi_alloc *a, uint64_t *n_entries, struct qcbm_error *err)
{
    uint64_t per = a->img->g.refblock_entries;

    for (size_t i = 0; i < a->n_taken; i++) {
        uint64_t last = (a->taken[i].first + a->taken[i].n - 1) / per;

        *n_entries = u64_max(*n_entries, last + 1);
        for (uint64_t index = a->taken[i].first / per; index <= last; index++) {
            uint64_t off = 0;
            int ret;

            if (qcbmi_refcounts_has_block(&a->refs, index))
                continue;
            ret = qcbmi_alloc_take(a, 1, &off, err);
            if (ret == 0)
                ret = qcbmi_refcounts_add_block(&a->refs, index, off, err);
            if (ret < 0)
                return ret;
        }
    }
    return 0;
}

static int forget_new_table(struct qcbmi_alloc *a, struct qcbm_error *err)
{
    struct qcbmi_run old = a->new_table;

    for (size_t i = 0; old.n && i < a->n_taken; i++) {
        if (a->taken[i].first != old.first)
            continue;
        a->taken[i] = a->taken[--a->n_taken];
        a->lowest = u64_min(a->lowest, old.first);
        return qcbmi_bitset_clear(&a->busy, old.first, old.first + old.n, err);
    }
    return 0;
}

/* Grow by half, as QEMU does, so that growth stays rare. */
static int take_new_table(struct qcbmi_alloc *a, uint64_t n_entries, struct qcbm_error *err)
{
    uint64_t cs = a->img->g.cluster_size, max = Q2_MAX_REFTABLE_BYTES / cs, off;
    uint64_t need = div_up(8 * n_entries, cs), n = u64_min(need + need / 2 + 1, max);
    int ret = forget_new_table(a, err);

    if (ret == 0 && need > max)
        ret =
            qcbmi_fail(err, QCBM_E_LIMIT, Q2_OFF_REFTABLE_CLUSTERS, "the refcount table would pass its limit of 8 MiB");
    if (ret == 0)
        ret = qcbmi_alloc_take(a, n, &off, err);
    if (ret == 0)
        a->new_table = (struct qcbmi_run){ off >> a->img->g.cluster_bits, n };
    return ret;
}

/* Can the entries of all fresh blocks be written at once, within one sector of the table? */
static bool entries_share_sector(const struct qcbmi_alloc *a)
{
    uint64_t sector = UINT64_MAX;

    for (size_t i = 0; i < a->refs.n_fresh; i++) {
        uint64_t index = a->refs.fresh[i].index;

        if (index < a->refs.n_table && a->refs.table[index])
            continue;
        if (sector != UINT64_MAX && sector != index / (Q2_SECTOR / 8))
            return false;
        sector = index / (Q2_SECTOR / 8);
    }
    return true;
}

static int settle(struct qcbmi_alloc *a, struct qcbm_error *err)
{
    for (;;) {
        uint64_t n_entries = 0, have = a->refs.n_table;
        int ret = ensure_blocks(a, &n_entries, err);

        if (a->new_table.n)
            have = a->new_table.n * a->img->g.cluster_size / 8;
        if (ret < 0 || (n_entries <= have && (a->new_table.n || entries_share_sector(a))))
            return ret;
        ret = take_new_table(a, u64_max(n_entries, have), err);
        if (ret < 0)
            return ret;
    }
}

static int raise_refcounts(struct qcbmi_alloc *a, struct qcbmi_plan *plan, struct qcbm_error *err)
{
    for (size_t i = 0; i < a->n_taken; i++) {
        uint64_t end = a->taken[i].first + a->taken[i].n;

        for (uint64_t c = a->taken[i].first; c < end; c++) {
            int ret = qcbmi_refcounts_set(&a->refs, c, 1, err);

            if (ret < 0)
                return ret;
        }
        plan->clusters_allocated += a->taken[i].n;
        plan->end = u64_max(plan->end, end << a->img->g.cluster_bits);
    }
    return 0;
}

/* The new table has all entries of the old one and the fresh blocks; the header is switched to it by one write inside
 * its first sector, when table and blocks are durable. */
static int emit_new_table(struct qcbmi_alloc *a, struct qcbmi_plan *plan, size_t table_stage, struct qcbm_error *err)
{
    uint64_t bytes = a->new_table.n << a->img->g.cluster_bits;
    uint8_t *table = qcbmi_alloc_array(bytes, 1, err), field[12];
    int ret;

    if (!table)
        return QCBM_E_NOMEM;
    for (uint64_t i = 0; i < a->refs.n_table; i++)
        be64_store(table + 8 * i, a->refs.table[i]);
    for (size_t i = 0; i < a->refs.n_fresh; i++)
        be64_store(table + 8 * a->refs.fresh[i].index, a->refs.fresh[i].offset);
    ret =
        qcbmi_plan_write_owned(plan, "refcount table", a->new_table.first << a->img->g.cluster_bits, table, bytes, err);
    if (ret < 0)
        return ret;
    be64_store(field, a->new_table.first << a->img->g.cluster_bits);
    be32_store(field + 8, (uint32_t)a->new_table.n);
    plan->current = table_stage;
    qcbmi_plan_header_patch(plan, Q2_OFF_REFTABLE_OFFSET, field, sizeof(field));
    return qcbmi_plan_header_write(plan, "header: refcount table", Q2_OFF_REFTABLE_OFFSET, sizeof(field), err);
}

/* Entries of fresh blocks, which share a sector: one write from the first to the last of them. A block can be described
 * by another one that is new as well, so they must become visible at once. */
static int emit_table_entries(struct qcbmi_alloc *a, struct qcbmi_plan *plan, struct qcbm_error *err)
{
    uint64_t first = UINT64_MAX, last = 0;
    uint8_t raw[Q2_SECTOR];

    for (size_t i = 0; i < a->refs.n_fresh; i++) {
        uint64_t index = a->refs.fresh[i].index;

        if (a->refs.table[index])
            continue;
        first = u64_min(first, index);
        last = u64_max(last, index);
        a->refs.table[index] = a->refs.fresh[i].offset;
    }
    if (first > last)
        return 0;
    for (uint64_t i = first; i <= last; i++)
        be64_store(raw + 8 * (i - first), a->refs.table[i]);
    return qcbmi_plan_write(plan, "refcount table entry", a->img->h.reftable_offset + 8 * first, raw,
                            8 * (last - first + 1), err);
}

int qcbmi_alloc_emit(struct qcbmi_alloc *a, struct qcbmi_plan *plan, size_t prepare_stage, size_t table_stage,
                     struct qcbm_error *err)
{
    int ret = settle(a, err);

    if (ret == 0)
        ret = raise_refcounts(a, plan, err);
    plan->current = prepare_stage; /* cut here: refcounts without references, and blocks that nobody sees: leaks */
    if (ret == 0)
        ret = qcbmi_refcounts_emit_fresh(&a->refs, plan, err);
    if (ret == 0)
        ret = qcbmi_refcounts_emit_changes(&a->refs, plan, err);
    if (ret == 0 && a->new_table.n)
        return emit_new_table(a, plan, table_stage, err);
    plan->current = table_stage; /* cut here: the blocks are seen or not; what they count is durable */
    return ret < 0 ? ret : emit_table_entries(a, plan, err);
}

static int note_freed(struct qcbmi_alloc *a, uint64_t cluster, struct qcbm_error *err)
{
    struct qcbmi_run *last = a->n_freed ? &a->freed[a->n_freed - 1] : NULL;

    if (last && last->first + last->n == cluster) {
        last->n++;
        return 0;
    }
    if (qcbmi_grow_array(&a->freed, &a->freed_capacity, a->n_freed, sizeof(*a->freed), err) < 0)
        return QCBM_E_NOMEM;
    a->freed[a->n_freed++] = (struct qcbmi_run){ cluster, 1 };
    return 0;
}

int qcbmi_alloc_release(struct qcbmi_alloc *a, struct qcbmi_plan *plan, uint64_t off, uint64_t len,
                        struct qcbm_error *err)
{
    uint64_t first = off >> a->img->g.cluster_bits, end = div_up(off + len, a->img->g.cluster_size);
    int ret = qcbmi_plan_relies(plan, off, len, err);

    for (uint64_t c = first; ret == 0 && c < end; c++) {
        uint64_t value = 0;

        if (!qcbmi_refcounts_has_block(&a->refs, c / a->img->g.refblock_entries))
            continue;
        ret = qcbmi_refcounts_get(&a->refs, c, &value, err);
        if (ret == 0 && value > 0) {
            ret = qcbmi_refcounts_set(&a->refs, c, value - 1, err);
            plan->clusters_freed += value == 1;
        }
        if (ret == 0 && value == 1)
            ret = note_freed(a, c, err);
    }
    return ret;
}

int qcbmi_alloc_give_busy(struct qcbmi_alloc *a, struct qcbmi_bitset *busy, struct qcbm_error *err)
{
    int ret = 0;

    for (size_t i = 0; ret == 0 && i < a->n_freed; i++)
        ret = qcbmi_bitset_clear(&a->busy, a->freed[i].first, a->freed[i].first + a->freed[i].n, err);
    *busy = a->busy;
    a->busy = (struct qcbmi_bitset){ 0 };
    return ret;
}

int qcbmi_alloc_emit_released(struct qcbmi_alloc *a, struct qcbmi_plan *plan, struct qcbm_error *err)
{
    int ret = 0;

    if (a->new_table.n)
        ret = qcbmi_alloc_release(a, plan, a->img->h.reftable_offset,
                                  (uint64_t)a->img->h.reftable_clusters << a->img->g.cluster_bits, err);
    return ret < 0 ? ret : qcbmi_refcounts_emit_changes(&a->refs, plan, err);
}
