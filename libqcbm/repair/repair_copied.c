/* repair_copied.c - COPIED flags of the active state, by the refcounts as they are by now
 * SPDX-License-Identifier: MIT
 *
 * A flag is set only when the refcount 1 that it speaks of is durable, so this comes behind all changes of refcounts.
 * Tables that have another owner are left alone: what looks like a flag in them may be a bit of somebody's data. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/checked.h"
#include "repair/repair_look.h"

struct copied {
    struct check *c;
    struct qcbmi_plan *plan;
    uint8_t *before, *after; /* an L2 table */
    struct qcbmi_bitset shared;
    uint64_t n, first;
    bool keeps; /* entries that lead nowhere are left as they are */
};

/* Is the L2 table in @cluster nobody else's, and does nothing stay in it that leads nowhere? */
static bool may_change(const struct copied *w, uint64_t cluster)
{
    const struct check *c = w->c;

    if (w->keeps && cluster < c->l2_noisy.n_bits && qcbmi_bitset_get(&c->l2_noisy, cluster))
        return false;
    return cluster < w->shared.n_bits && !qcbmi_bitset_get(&w->shared, cluster);
}

/* The entry at @bytes, which lies at @off in the file and leads to @cluster. */
static void set_flag(struct copied *w, uint8_t *bytes, uint64_t off, uint64_t cluster)
{
    uint64_t raw = be64_load(bytes), value = 1;
    bool known = w->c->g->data_file || qcbmi_check_stored(w->c, cluster, &value);

    if (!known || (value == 1) == !!(raw & Q2_ENTRY_COPIED))
        return;
    be64_store(bytes, raw ^ Q2_ENTRY_COPIED);
    if (w->n++ == 0)
        w->first = off;
}

static int fix_l2(struct copied *w, uint64_t off)
{
    const struct q2_geometry *g = w->c->g;
    int ret = qcbmi_check_read(w->c, off, w->before, g->cluster_size, NULL);

    if (ret < 0)
        return ret;
    memcpy(w->after, w->before, g->cluster_size);
    for (uint32_t i = 0; i < g->l2_entries; i++) {
        uint8_t *at = w->after + (size_t)i * g->l2_entry_size;
        struct q2_l2_entry e;

        q2_l2_entry_parse(be64_load(at), 0, 0, g, &e);
        if (e.kind == Q2_NORMAL || e.kind == Q2_ZERO_ALLOC)
            set_flag(w, at, off + (uint64_t)i * g->l2_entry_size, e.host_offset >> g->cluster_bits);
    }
    return qcbmi_repair_write_changes(w->plan, "L2 table", off, w->before, w->after, g->cluster_size, w->c->err);
}

/* An L1 entry has a refcount of its own even with a data file. */
static void set_l1_flag(struct copied *w, uint8_t *bytes, uint64_t off, uint64_t cluster)
{
    uint64_t raw = be64_load(bytes), value;

    if (!qcbmi_check_stored(w->c, cluster, &value) || (value == 1) == !!(raw & Q2_ENTRY_COPIED))
        return;
    be64_store(bytes, raw ^ Q2_ENTRY_COPIED);
    if (w->n++ == 0)
        w->first = off;
}

static int fix_entries(struct copied *w, uint8_t *l1, uint64_t len)
{
    struct check *c = w->c;
    int ret = 0;

    for (uint64_t i = 0; ret == 0 && i + 8 <= len; i += 8) {
        uint64_t off = be64_load(l1 + i) & Q2_ENTRY_OFFSET_MASK, cluster = off >> c->g->cluster_bits;

        if (!off || (w->keeps && (!is_aligned(off, c->g->cluster_size) || off >= c->file_len)))
            continue;
        set_l1_flag(w, l1 + i, c->img->h.l1_offset + i, cluster);
        if (!may_change(w, cluster) || cluster >= c->l2_copied.n_bits || !qcbmi_bitset_get(&c->l2_copied, cluster))
            continue;
        ret = fix_l2(w, off);
        if (ret == 0) /* once, however often it is referred to */
            ret = qcbmi_bitset_clear(&c->l2_copied, cluster, cluster + 1, c->err);
    }
    return ret;
}

/* The whole of the L1 table lies in memory twice: 32 MiB at most. */
static int fix_l1(struct copied *w)
{
    struct check *c = w->c;
    uint64_t len = 8 * (uint64_t)c->img->h.l1_entries, off = c->img->h.l1_offset;
    uint8_t *before, *after;
    int ret;

    len = off < c->img->io.size ? u64_min(len, c->img->io.size - off) : 0;
    before = qcbmi_alloc_array(len, 1, c->err);
    after = qcbmi_alloc_array(len, 1, c->err);
    ret = before && after ? qcbmi_check_read(c, off, before, len, NULL) : QCBM_E_NOMEM;
    if (ret == 0) {
        memcpy(after, before, (size_t)len);
        ret = fix_entries(w, after, len);
    }
    if (ret == 0)
        ret = qcbmi_repair_write_changes(w->plan, "L1 table", off, before, after, len, c->err);
    free(before);
    free(after);
    return ret;
}

static int fix_all(struct copied *w)
{
    int ret = qcbmi_repair_shared(w->c, &w->shared);

    w->before = qcbmi_alloc_array(w->c->g->cluster_size, 1, w->c->err);
    w->after = qcbmi_alloc_array(w->c->g->cluster_size, 1, w->c->err);
    if (!w->before || !w->after)
        ret = QCBM_E_NOMEM;
    if (ret == 0)
        ret = qcbmi_plan_stage(w->plan, "flags", true, w->c->err);
    if (ret == 0)
        ret = fix_l1(w);
    qcbmi_bitset_free(&w->shared);
    free(w->before);
    free(w->after);
    return ret;
}

/* With leaks alone to repair, QEMU sets flags only where nothing else is wrong. */
static bool may_repair(const struct qcbmi_repair *r, const struct check *c)
{
    return r->o.level == QCBM_REPAIR_ALL || c->r.corruptions + c->r.leaks + c->r.check_errors == r->copied_told;
}

/* The look told all wrong flags, behind the first @told items, as what is repaired. Where some stay the second pass
 * tells those; without repairs there is none. */
static void tell_left(struct qcbmi_repair *r, size_t told)
{
    if (r->o.level != QCBM_REPAIR_ALL || r->copied_fixed >= r->copied_told)
        return;
    if (r->whole.n || r->copied_fixed)
        qcbmi_repair_forget(r, told);
    else
        qcbmi_repair_leave(r, told);
}

int qcbmi_repair_copied(struct qcbmi_repair *r, struct qcbm_error *err)
{
    size_t told = r->n_items;
    struct qcbmi_plan plan = { 0 };
    struct check c;
    struct copied w = { .c = &c, .plan = &plan, .keeps = r->left > 0 };
    char done[128];
    int ret = qcbmi_repair_look(r, &c, QCBMI_LOOK_TELLS_COPIED, NULL, NULL, err);

    if (ret == 0 && may_repair(r, &c) && (c.met[QCBM_PROBLEM_COPIED_L1] || c.met[QCBM_PROBLEM_COPIED_L2]))
        ret = fix_all(&w);
    qcbmi_check_free(&c);
    r->copied_fixed = w.n;
    tell_left(r, told);
    if (ret == 0 && w.n) {
        snprintf(done, sizeof(done), "COPIED flags of %" PRIu64 " entries set right, the first at 0x%" PRIx64, w.n,
                 w.first);
        ret = qcbmi_repair_tell_done(r, "copied-flags", w.first, done, err);
        if (ret == 0)
            ret = qcbmi_repair_commit(r, &plan, err);
    }
    qcbmi_plan_free(&plan);
    return ret;
}
