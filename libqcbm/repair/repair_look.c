/* repair_look.c - what repairs of tables and refcounts need: a look at the image as it is by now, and writes of what
 * changed
 * SPDX-License-Identifier: MIT */
#include "repair/repair_look.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "format/q2_refcount.h"

static int tell_copied(void *opaque, const struct qcbm_check_finding *f)
{
    struct qcbmi_repair *r = opaque;

    if (f->problem->id != QCBM_PROBLEM_COPIED_L1 && f->problem->id != QCBM_PROBLEM_COPIED_L2)
        return 0;
    r->copied_told++;
    return qcbmi_repair_tell_finding(r, f, NULL) < 0;
}

int qcbmi_repair_look(struct qcbmi_repair *r, struct check *c, unsigned how,
                      int (*counted)(struct check *c, void *counted_for), void *counted_for, struct qcbm_error *err)
{
    struct qcbm_check_options o = QCBM_CHECK_OPTIONS_INIT;
    int ret;

    o.memory = r->o.memory;
    o.finding = how & QCBMI_LOOK_TELLS_COPIED ? tell_copied : NULL;
    o.opaque = r;
    ret = qcbmi_check_begin(c, r->work, &o, err);

    c->aligned_only = true; /* each step mends or gives up such entries, and nothing is known of what they lead to */
    c->no_refcounts = how & QCBMI_LOOK_NO_REFCOUNTS;
    c->counted = counted;
    c->counted_for = counted_for;
    return ret < 0 ? ret : qcbmi_check_run(c);
}

int qcbmi_repair_shared(const struct check *c, struct qcbmi_bitset *out)
{
    int ret = qcbmi_bitset_init(out, c->n_clusters + 2, c->err);

    for (size_t i = 0; ret == 0 && c->suspects && i < c->suspects->n; i++) {
        const struct check_suspect *x = &c->suspects->list[i];

        if (x->n_owners > 1 && x->cluster < out->n_bits)
            ret = qcbmi_bitset_set(out, x->cluster, x->cluster + 1, c->err);
    }
    return ret;
}

int qcbmi_repair_note_shared(struct qcbmi_repair *r, uint64_t cluster, struct qcbm_error *err)
{
    const struct qcbmi_image *img = r->img->image;
    int ret = 0;

    if (!r->were_shared.n_bits)
        ret = qcbmi_bitset_init(&r->were_shared, (qcbmi_image_end(img) >> img->g.cluster_bits) + 1, err);
    return ret < 0 || cluster >= r->were_shared.n_bits ? ret
                                                       : qcbmi_bitset_set(&r->were_shared, cluster, cluster + 1, err);
}

int qcbmi_repair_write_changes(struct qcbmi_plan *plan, const char *what, uint64_t off, const uint8_t *before,
                               const uint8_t *after, uint64_t len, struct qcbm_error *err)
{
    int ret = 0;

    for (uint64_t at = 0, end; ret == 0 && at < len; at = end) {
        uint64_t n = u64_min(Q2_SECTOR, len - at);

        end = at + n;
        if (memcmp(before + at, after + at, (size_t)n) == 0)
            continue;
        for (; end < len; end += n) {
            n = u64_min(Q2_SECTOR, len - end);
            if (memcmp(before + end, after + end, (size_t)n) == 0)
                break;
        }
        ret = qcbmi_plan_write(plan, what, off + at, after + at, end - at, err);
        plan->end = u64_max(plan->end, off + end);
    }
    return ret < 0 ? ret : qcbmi_repair_check_held(plan->held, err);
}

uint64_t qcbmi_repair_append(const struct qcbmi_repair *r, struct qcbmi_plan *plan, uint64_t n)
{
    uint64_t end = r->room ? r->room : r->work->image->io.size;
    uint64_t off = align_up(u64_max(plan->end, end), r->work->image->g.cluster_size);

    plan->end = off + n * r->work->image->g.cluster_size;
    plan->clusters_allocated += n;
    return off;
}

int qcbmi_repair_tell_done(struct qcbmi_repair *r, const char *code, uint64_t off, const char *done,
                           struct qcbm_error *err)
{
    return qcbmi_repair_tell(r, &(struct qcbm_repair_row){ .code = code, .offset = off, .done = done }, err);
}

static int emit_block(struct qcbmi_recount *w)
{
    const struct check *c = w->c;

    if (!w->before || w->index == UINT64_MAX)
        return 0;
    return qcbmi_repair_write_changes(w->plan, "refcount block", c->disk.table[w->index] & Q2_REFTABLE_OFFSET_MASK,
                                      w->before, w->after, c->g->cluster_size, c->err);
}

static bool has_block(const struct check *c, uint64_t index)
{
    uint64_t off = index < c->disk.n_table ? c->disk.table[index] : 0;

    return off && !(off & Q2_REFTABLE_RESERVED) && qcbmi_stored_is_readable(&c->disk, off) &&
           range_fits(off, c->g->cluster_size, qcbmi_image_end(c->img));
}

static int load_block(struct qcbmi_recount *w, uint64_t index)
{
    struct check *c = w->c;
    int ret = emit_block(w);

    if (!w->before) {
        w->before = qcbmi_alloc_array(c->g->cluster_size, 1, c->err);
        w->after = qcbmi_alloc_array(c->g->cluster_size, 1, c->err);
    }
    if (!w->before || !w->after)
        return QCBM_E_NOMEM;
    if (ret == 0)
        ret = qcbmi_check_read(c, c->disk.table[index] & Q2_REFTABLE_OFFSET_MASK, w->before, c->g->cluster_size, NULL);
    w->index = ret < 0 ? UINT64_MAX : index;
    memcpy(w->after, w->before, c->g->cluster_size);
    return ret;
}

static int set(struct qcbmi_recount *w, uint64_t cluster, uint64_t value)
{
    uint64_t per = w->c->g->refblock_entries, index = cluster / per;
    int ret = 0;

    if (!has_block(w->c, index)) {
        w->missing = true;
        return 0;
    }
    if (!w->before || index != w->index)
        ret = load_block(w, index);
    if (ret < 0)
        return ret;
    q2_refcount_set(w->after, cluster % per, w->c->g->refcount_order, value);
    if (w->n++ == 0)
        w->first = cluster;
    return 0;
}

int qcbmi_recount_pass(struct qcbmi_recount *w, struct check *c, bool raise)
{
    uint64_t end = u64_min(c->hi, c->n_clusters);
    int ret = 0;

    w->c = c;
    for (uint64_t k = c->lo; ret == 0; k++) {
        uint64_t found, stored;

        k = qcbmi_counts_next_difference(&c->refs, &c->stored, k, end);
        if (k >= end)
            break;
        found = qcbmi_counts_get(&c->refs, k);
        stored = qcbmi_counts_get(&c->stored, k);
        if (raise ? found > stored : found < stored) {
            ret = set(w, k, found);
            w->plan->clusters_freed += found == 0;
        }
    }
    return ret;
}

int qcbmi_recount_end(struct qcbmi_recount *w, int ret)
{
    if (ret == 0)
        ret = emit_block(w);
    free(w->before);
    free(w->after);
    w->before = w->after = NULL;
    return ret;
}
