/* repair_leaks.c - leaked clusters freed, unless they may be somebody's data
 * SPDX-License-Identifier: MIT
 *
 * A damaged or lost pointer leaves what it led to as leaks. Freed, that is overwritten by the next write to the image; kept, it
 * costs space. So leaks go only where nothing says that a pointer may be missing, or where the caller insists. */
#include <inttypes.h>
#include <stdio.h>

#include "base/checked.h"
#include "repair/repair_look.h"

static int lower_pass(struct check *c, void *counted_for)
{
    struct qcbmi_recount *w = counted_for;
    uint64_t end = u64_min(c->hi, c->n_clusters);
    int ret = 0;

    w->c = c;
    for (uint64_t k = c->lo; ret == 0; k++) {
        uint64_t found;

        k = qcbmi_counts_next_difference(&c->refs, &c->stored, k, end);
        if (k >= end)
            break;
        found = qcbmi_counts_get(&c->refs, k);
        if (found < qcbmi_counts_get(&c->stored, k)) {
            ret = qcbmi_recount_set(w, k, found);
            w->plan->clusters_freed += found == 0;
        }
    }
    return ret;
}

/* NULL: they are nobody's. */
static const char *why_keep(const struct qcbmi_repair *r, const struct check *c)
{
    if (c->snapshots_unknown ||
        c->met[QCBM_PROBLEM_TOO_MUCH_WORK]) /* what refers was not counted to the end: not even by force */
        return "not all that refers to clusters could be counted";
    if (r->o.level == QCBM_REPAIR_LEAKS && c->met[QCBM_PROBLEM_REFCOUNT_ZERO]) /* QEMU, too, refuses */
        return "clusters in use count as free, which has to be repaired with them";
    if (r->o.flags & QCBM_REPAIR_FORCE)
        return NULL;
    if (r->lost_pointers)
        return "they may be what the entries that were given up had mapped";
    if (c->r.lost_tables)
        return "there are mapping tables among them, with data that nothing else leads to";
    if (c->r.suspicious_leaks)
        return "they may be the data of a lost mapping table";
    return qcbmi_check_keeps_leaks(c) ? "they may be what something damaged had pointed to" : NULL;
}

static int tell_kept(struct qcbmi_repair *r, const struct check *c, const char *why, struct qcbm_error *err)
{
    struct qcbm_repair_row row = { .code = "leaks-kept", .offset = QCBM_NO_OFFSET };
    const struct qcbmi_spans *blank = &c->leaks.blank;
    char done[256];

    snprintf(done, sizeof(done), "%" PRIu64 " leaked clusters stay: %s; they can be freed with --force", c->r.leaks,
             why);
    row.done = done;
    if (blank->n) {
        row.guest_offset = blank->list[0].first * c->g->l2_span;
        row.guest_length = u64_min(blank->list[0].end * c->g->l2_span, c->g->size) - row.guest_offset;
    }
    return qcbmi_repair_tell(r, &row, err);
}

static int tell_freed(struct qcbmi_repair *r, const struct qcbmi_recount *w, struct qcbm_error *err)
{
    unsigned cb = r->work->image->g.cluster_bits;
    char done[128];

    snprintf(done, sizeof(done), "%" PRIu64 " leaked clusters freed, the first at 0x%" PRIx64, w->n, w->first << cb);
    return qcbmi_repair_tell_done(r, "leaks-freed", w->first << cb, done, err);
}

static int free_leaks(struct qcbmi_repair *r, struct qcbm_error *err)
{
    struct qcbmi_plan plan = { 0 };
    struct qcbmi_recount w = { .plan = &plan, .index = UINT64_MAX };
    struct check c;
    int ret = qcbmi_plan_stage(&plan, "reclaim", true, err);

    if (ret == 0) {
        ret = qcbmi_repair_look(r, &c, 0, lower_pass, &w, err);
        ret = qcbmi_recount_end(&w, ret);
        qcbmi_check_free(&c);
    }
    if (ret == 0 && w.n)
        ret = tell_freed(r, &w, err);
    if (ret == 0 && w.n)
        ret = qcbmi_repair_commit(r, &plan, err);
    qcbmi_plan_free(&plan);
    return ret;
}

int qcbmi_repair_leaks(struct qcbmi_repair *r, struct qcbm_error *err)
{
    const char *why = NULL;
    bool any = false;
    struct check c;
    int ret = qcbmi_repair_look(r, &c, 0, NULL, NULL, err);

    if (ret == 0 && c.r.leaks) {
        any = true;
        why = why_keep(r, &c);
        if (why)
            ret = tell_kept(r, &c, why, err);
    }
    qcbmi_check_free(&c);
    return ret == 0 && any && !why ? free_leaks(r, err) : ret;
}
