/* check_tell.c - the tables of a state in the order of QEMU, and the sink that tells what counting met
 * SPDX-License-Identifier: MIT */
#include <stdlib.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "check/check_parts.h"
#include "format/q2_refcount.h"

#define COST_OF_CLUSTER 16u /* of counting one again */

/* Entries of an overwritten table are told if they make sense, and counted as before. */
static int tell_entry(struct check *c, struct check_table *t, uint32_t i, const uint8_t *bytes, bool overwritten)
{
    unsigned before = c->voice.only;
    int ret;

    if (overwritten && before == CHECK_ALL && qcbmi_check_is_bad_l2_entry(c, bytes))
        c->voice.only = QCBM_PROBLEM_REFCOUNT_OVERFLOW;
    ret = qcbmi_check_entry(c, t, i, bytes);
    c->voice.only = before;
    return ret;
}

static int walk_l2(struct check *c, struct check_table *t, uint8_t *buf)
{
    bool zeros, overwritten = false;
    struct check_look look;
    int ret;

    if (!qcbmi_check_afford(c, c->g->cluster_size))
        return 0;
    ret = qcbmi_check_read(c, t->offset, buf, c->g->cluster_size, &zeros);
    if (ret < 0 || zeros)
        return ret;
    if (c->sink->looks)
        overwritten = qcbmi_check_l2_overwritten(c, buf, &look);
    if (overwritten)
        ret = qcbmi_check_tell_l2_overwritten(c, t, &look);
    c->telling = t;
    for (uint32_t i = 0; ret == 0 && i < c->g->l2_entries; i++)
        ret = tell_entry(c, t, i, buf + (size_t)i * c->g->l2_entry_size, overwritten);
    c->telling = NULL;
    return ret < 0 || !c->sink->looks || overwritten ? ret : qcbmi_check_shared_data(c, t, buf);
}

struct l1_walk {
    struct check *c;
    const struct qcbmi_ref *l1;
    uint8_t *buf; /* a cluster */
    struct check_look look;
    bool overwritten;
};

static bool afford(void *opaque, uint64_t bytes)
{
    return qcbmi_check_afford(((struct l1_walk *)opaque)->c, bytes);
}

static int look_at_entry(void *opaque, uint64_t raw, uint64_t index)
{
    struct l1_walk *w = opaque;

    (void)index;
    qcbmi_check_look_at(&w->look, raw, qcbmi_check_is_bad_l1_entry(w->c, raw));
    return 0;
}

static int walk_entry(struct l1_walk *w, uint64_t raw, uint64_t index)
{
    struct check *c = w->c;
    uint64_t off = raw & Q2_ENTRY_OFFSET_MASK;
    struct check_table t = { .offset = off, .weight = 1, .has_guest = true };
    struct qcbmi_ref ref = { .offset = off, .len = c->g->cluster_size, .weight = 1, .exclusive = 1 };
    int ret;

    t.state = w->l1->owner.state;
    t.active = t.state == 0;
    t.guest = index * c->g->l2_span;
    ref.owner = (struct qcbmi_ref_owner){ QCBMI_REF_L2, t.state, index };
    ref.pointer = w->l1->offset + 8 * index;
    ref.at = (struct qcbmi_place){ ref.pointer, "L1 table", index, UINT32_MAX };
    ret = qcbmi_check_l1_reserved(c, raw, &ref.at, 1);
    if (ret == 0 && c->aligned_only && !is_aligned(off, c->g->cluster_size))
        return qcbmi_check_l1_alignment(c, raw, &ref.at, 1);
    if (ret == 0)
        ret = qcbmi_check_reference(c, &ref);
    if (ret == 0)
        ret = qcbmi_check_l1_alignment(c, raw, &ref.at, 1);
    return ret == 0 && c->sink->wants(c, off >> c->g->cluster_bits) ? walk_l2(c, &t, w->buf) : ret;
}

static int take_entry(void *opaque, uint64_t raw, uint64_t index)
{
    struct l1_walk *w = opaque;
    unsigned before = w->c->voice.only;
    int ret;

    if (w->overwritten && before == CHECK_ALL && qcbmi_check_is_bad_l1_entry(w->c, raw))
        w->c->voice.only = QCBM_PROBLEM_REFCOUNT_OVERFLOW;
    ret = walk_entry(w, raw, index);
    w->c->voice.only = before;
    return ret;
}

int qcbmi_check_walk_l1(struct check *c, const struct qcbmi_ref *l1)
{
    struct l1_walk w = { .c = c, .l1 = l1 };
    struct qcbmi_table_walk walk = { c->img, &c->holes, "metadata", &w, afford, look_at_entry };
    int ret;

    w.buf = qcbmi_alloc_array(c->g->cluster_size, 1, c->err);
    ret = w.buf ? qcbmi_check_reference(c, l1) : QCBM_E_NOMEM;
    if (ret == 0 && c->sink->looks)
        ret = qcbmi_table_walk(&walk, l1->offset, l1->len / 8, c->err);
    w.overwritten = qcbmi_check_is_overwritten(&w.look);
    if (ret == 0 && w.overwritten)
        ret = qcbmi_check_tell_l1_overwritten(c, l1->offset, l1->owner.state, &w.look);
    walk.entry = take_entry;
    if (ret == 0)
        ret = qcbmi_table_walk(&walk, l1->offset, l1->len / 8, c->err);
    free(w.buf);
    return ret;
}

/* ---- the sink that tells ---- */

/* Only which reference is one too many takes counting again. Refcount blocks are as few as the entries of their
 * table. */
static int tell_clusters(struct check *c, uint64_t first, uint64_t end, const struct qcbmi_ref *ref)
{
    uint64_t max = q2_refcount_max(c->g->refcount_order);
    int ret = 0;

    if (!c->recount)
        return 0;
    if (ref->owner.kind != QCBMI_REF_REFBLOCK && !qcbmi_check_afford(c, COST_OF_CLUSTER * (end - first)))
        return 0;
    for (uint64_t k = first; ret == 0 && k < end; k++) {
        uint64_t excess = 0;

        ret = qcbmi_counts_add(&c->told, k, 1, 1, max, &excess, c->err);
        if (ret == 0 && excess)
            ret = qcbmi_check_tell_overflow(c, k, &ref->at);
    }
    return ret;
}

static bool has_problems(const struct check *c, uint64_t cluster)
{
    return c->recount || (cluster < c->l2_noisy.n_bits && qcbmi_bitset_get(&c->l2_noisy, cluster));
}

const struct check_sink qcbmi_check_teller = {
    .clusters = tell_clusters,
    .state = qcbmi_check_walk_l1,
    .wants = has_problems,
    .looks = true,
};
