/* check_count.c - the sink that counts references against clusters, and the counters of a pass
 * SPDX-License-Identifier: MIT */
#include "base/checked.h"
#include "check/check_parts.h"
#include "format/q2_refcount.h"

/* More than the user allows: leave the upper half of the range to another pass. */
static void keep_memory(struct check *c)
{
    while (c->refs.bytes + c->owners.bytes + c->stored.bytes > c->o.memory && c->hi - c->lo > QCBMI_COUNTS_CHUNK) {
        c->hi = c->lo + align_up((c->hi - c->lo) / 2, QCBMI_COUNTS_CHUNK);
        qcbmi_counts_cut(&c->refs, c->hi);
        qcbmi_counts_cut(&c->owners, c->hi);
        qcbmi_counts_cut(&c->stored, c->hi);
    }
}

/* Data of snapshots rules nothing out, but L2 tables, whatever the refcounts say: those of one batch are all known by
 * now. */
static int count_owners(struct check *c, uint64_t first, uint64_t end, const struct qcbmi_ref *ref)
{
    uint64_t ignored = 0, last = u64_min(end, c->l2_seen.n_bits);
    int ret = 0;

    if (ref->exclusive)
        return qcbmi_counts_add(&c->owners, first, end - first, ref->exclusive, UINT64_MAX, &ignored, c->err);
    if (ref->owner.kind != QCBMI_REF_DATA)
        return 0;
    for (uint64_t k = first; ret == 0 && (k = qcbmi_bitset_first_in(&c->l2_seen, k, last)) < last; k++)
        ret = qcbmi_counts_add(&c->owners, k, 1, 1, UINT64_MAX, &ignored, c->err);
    return ret;
}

static int count_clusters(struct check *c, uint64_t first, uint64_t end, const struct qcbmi_ref *ref)
{
    uint64_t excess = 0, max = q2_refcount_max(c->g->refcount_order);
    int ret = qcbmi_counts_add(&c->refs, first, end - first, ref->weight, max, &excess, c->err);

    if (ret == 0)
        ret = count_owners(c, first, end, ref);
    if (end > c->n_clusters && check_is_first(c))
        c->n_clusters = end;
    if (excess)
        c->recount = true;
    keep_memory(c);
    return ret;
}

/* Does COPIED say of clusters [@first, @first + @n) what the stored refcounts say? If not, the table is looked at again
 * in QEMU's order. Clusters of another pass are left to it. */
static void compare_copied(struct check *c, const struct check_table *t, uint64_t first, uint64_t n, bool copied)
{
    uint64_t end = u64_min(first + n, c->hi), start = u64_max(first, c->lo), ones, value;
    bool wrong;

    if (!t->active)
        return;
    if (c->g->data_file) {
        wrong = !copied;
    } else if (c->disk.unreadable || first + n > c->n_clusters) {
        wrong = qcbmi_check_stored(c, first, &value) && (value == 1) != copied;
        for (uint64_t k = 1; k < n && !wrong; k++)
            wrong = qcbmi_check_stored(c, first + k, &value) && (value == 1) != copied;
    } else {
        if (start >= end)
            return;
        ones = qcbmi_counts_number_of_ones(&c->stored, start, end);
        wrong = copied ? ones != end - start : ones != 0;
    }
    if (wrong)
        (void)qcbmi_bitset_set(&c->l2_copied, t->offset >> c->g->cluster_bits, (t->offset >> c->g->cluster_bits) + 1,
                               NULL);
}

static void count_mapped(struct check *c, struct check_table *t, uint64_t off, uint64_t n, bool copied)
{
    compare_copied(c, t, off >> c->g->cluster_bits, n, copied);
    if (check_is_first(c)) {
        c->r.allocated_clusters += n * t->active;
        c->r.fragmented_clusters += t->next && off != t->next ? t->active : 0;
    }
    t->next = off + n * c->g->cluster_size;
}

static void count_compressed(struct check *c, const struct check_table *t)
{
    if (!check_is_first(c))
        return;
    c->r.allocated_clusters += t->active;
    c->r.compressed_clusters += t->active;
    c->r.fragmented_clusters += t->active; /* they never lie one after the other in whole clusters */
}

static void fetch_counters(const struct check *c, uint64_t cluster)
{
    qcbmi_counts_fetch(&c->refs, cluster);
    qcbmi_counts_fetch(&c->owners, cluster);
}

/* All tables at once, instead of the first. */
static int count_state(struct check *c, const struct qcbmi_ref *l1)
{
    return l1->owner.state == 0 ? qcbmi_check_sweep(c) : 0;
}

const struct check_sink qcbmi_check_counter = {
    .clusters = count_clusters,
    .state = count_state,
    .mapped = count_mapped,
    .compressed = count_compressed,
    .soon = fetch_counters,
    .once = true,
};

int qcbmi_check_begin_pass(struct check *c)
{
    int ret = qcbmi_counts_init(&c->refs, c->lo, c->hi, c->err);

    if (ret == 0)
        ret = qcbmi_counts_init(&c->owners, c->lo, c->hi, c->err);
    if (ret == 0)
        ret = qcbmi_counts_init(&c->stored, c->lo, c->hi, c->err);
    if (ret == 0)
        ret = qcbmi_bitset_init(&c->l2_seen, c->n_clusters + 2, c->err);
    if (ret == 0)
        ret = qcbmi_check_load_stored(c);
    if (ret == 0)
        keep_memory(c);
    return ret;
}

void qcbmi_check_end_pass(struct check *c)
{
    qcbmi_counts_free(&c->refs);
    qcbmi_counts_free(&c->owners);
    qcbmi_counts_free(&c->stored);
    qcbmi_bitset_free(&c->l2_seen);
}
