/* check_sweep.c - what the sweep over the tables of all states meets, into the sink of a pass
 * SPDX-License-Identifier: MIT */
#include "base/checked.h"
#include "check/check_parts.h"
#include "image/table_sweep.h"

static bool in_set(const struct qcbmi_bitset *set, uint64_t bit)
{
    return bit < set->n_bits && qcbmi_bitset_get(set, bit);
}

static int put_in_set(struct qcbmi_bitset *set, uint64_t bit, struct qcbm_error *err)
{
    return bit < set->n_bits ? qcbmi_bitset_set(set, bit, bit + 1, err) : 0;
}

/* A repair does not read what an unaligned offset leads to. */
static bool leaves_out(const struct check *c, const struct qcbmi_swept_l2 *l2)
{
    return c->aligned_only && !is_aligned(l2->table.offset, c->g->cluster_size);
}

static int refer_to_l2(void *opaque, const struct qcbmi_swept_l2 *l2)
{
    struct check *c = opaque;
    uint64_t cluster = l2->table.offset >> c->g->cluster_bits;
    struct qcbmi_ref ref = { .owner = { QCBMI_REF_L2, 0, 0 }, .offset = l2->table.offset, .len = c->g->cluster_size };
    int ret;

    if (leaves_out(c, l2))
        return 0;
    ref.weight = l2->weight;
    ref.exclusive = (in_set(&c->l2_seen, cluster) ? 0 : 1) + (l2->active > 1 ? l2->active - 1 : 0);
    ref.at = (struct qcbmi_place){ l2->table.offset, "L1 table", UINT64_MAX, UINT32_MAX };
    ret = put_in_set(&c->l2_seen, cluster, c->err);
    return ret < 0 ? ret : qcbmi_check_reference(c, &ref);
}

static int count_l2(struct check *c, const struct qcbmi_swept_l2 *ref, const struct qcbmi_l2_content *content)
{
    struct check_table t = { .offset = ref->table.offset, .weight = ref->weight, .active = ref->active };
    uint64_t before = c->n_met;
    struct check_look look;
    int ret;

    t.guest = ref->table.l1_index * c->g->l2_span;
    t.has_guest = ref->active == 1;
    ret = qcbmi_check_entries(c, &t, content);
    if (ret < 0 || c->n_met == before)
        return ret;
    ret = put_in_set(&c->l2_noisy, ref->table.offset >> c->g->cluster_bits, c->err);
    if (ret == 0 && t.has_guest && check_is_first(c) && content->bytes &&
        qcbmi_check_l2_overwritten(c, content->bytes, &look))
        ret = qcbmi_leaks_note_blank(&c->leaks, ref->table.l1_index, c->err);
    return ret;
}

static int look_at_l2(void *opaque, const struct qcbmi_swept_l2 *ref, const struct qcbmi_l2_content *content)
{
    struct check *c = opaque;

    if (leaves_out(c, ref))
        return 0;
    if (content->n)
        return count_l2(c, ref, content);
    /* A table of the active state that is all zeros may be what is left of one. */
    return ref->active == 1 && check_is_first(c) ? qcbmi_leaks_note_blank(&c->leaks, ref->table.l1_index, c->err) : 0;
}

static bool afford(void *opaque, uint64_t bytes)
{
    return qcbmi_check_afford(opaque, bytes);
}

/* From the refcounts that were loaded where they are known: L2 tables in random order of the file have theirs in
 * another block each. */
static bool stored_of(struct check *c, uint64_t cluster, uint64_t *value)
{
    if (c->disk.unreadable || c->exhausted || cluster < c->lo || cluster >= u64_min(c->hi, c->n_clusters))
        return qcbmi_check_stored(c, cluster, value);
    *value = qcbmi_counts_get(&c->stored, cluster);
    return true;
}

static void compare_l1_copied(struct check *c, uint64_t raw)
{
    uint64_t off = raw & Q2_ENTRY_OFFSET_MASK, value;

    if (off && !c->l1_copied && stored_of(c, off >> c->g->cluster_bits, &value))
        c->l1_copied = (value == 1) != !!(raw & Q2_ENTRY_COPIED);
}

static int look_at_l1_entry(void *opaque, uint64_t raw, uint64_t off, uint64_t index, uint64_t depth)
{
    struct check *c = opaque;
    struct qcbmi_place at = { off, "L1 table", index, UINT32_MAX };
    int ret = qcbmi_check_l1_reserved(c, raw, &at, depth);

    if (ret == 0)
        ret = qcbmi_check_l1_alignment(c, raw, &at, depth);
    if (ret == 0 && index != UINT64_MAX && check_is_first(c))
        compare_l1_copied(c, raw);
    return ret;
}

/* The last of the clusters need only begin in the file. */
static int refer_to_l1(void *opaque, uint64_t start, uint64_t end, uint64_t depth)
{
    struct check *c = opaque;
    struct qcbmi_ref ref = { .owner = { QCBMI_REF_L1, 0, UINT64_MAX }, .offset = start, .weight = depth };

    ref.len = end - start - c->g->cluster_size + 1;
    ref.exclusive = depth;
    ref.at = CHECK_NOWHERE;
    return qcbmi_check_clusters(c, &ref);
}

/* Does the table pass the end of the file? Then the problem is noted, and its clusters do not count. Does it by less
 * than a cluster, then QEMU is silent. */
static int look_at_l1(void *opaque, const struct qcbmi_l1_table *l1)
{
    struct check *c = opaque;
    uint64_t len = 8 * l1->entries;
    struct qcbmi_ref ref = { .owner = { QCBMI_REF_L1, 0, UINT64_MAX }, .offset = l1->offset, .len = len, .weight = 1 };
    bool past = len && qcbmi_leads_nowhere(l1->offset, len, c->file_len, c->g->cluster_size);
    int ret;

    ref.exclusive = 1;
    ref.at = CHECK_NOWHERE; /* its place is told in the walk that tells */
    ret = past ? qcbmi_check_clusters(c, &ref) : qcbmi_check_cut(c, &ref);
    return ret < 0 ? ret : past;
}

int qcbmi_check_sweep(struct check *c)
{
    struct qcbmi_sweep sweep = { .img = c->img, .holes = &c->holes, .what = "metadata", .progress = &c->progress };

    sweep.snapshots = &c->snapshots;
    sweep.opaque = c;
    sweep.l1_table = look_at_l1;
    sweep.l1_clusters = refer_to_l1;
    sweep.l1_entry = look_at_l1_entry;
    sweep.l2_table = refer_to_l2;
    sweep.l2_content = look_at_l2;
    sweep.afford = afford;
    return qcbmi_table_sweep(&sweep, c->err);
}
