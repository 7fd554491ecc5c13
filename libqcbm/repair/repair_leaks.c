/* repair_leaks.c - leaked clusters freed, unless they may be somebody's data
 * SPDX-License-Identifier: MIT
 *
 * A damaged or lost pointer leaves what it led to as leaks. Freed, that is overwritten by the next write to the image;
 * kept, it costs space. So leaks go only where nothing says that a pointer may be missing, or where the caller
 * insists. */
#include <inttypes.h>
#include <stdio.h>

#include "base/checked.h"
#include "repair/repair_look.h"

static int lower_pass(struct check *c, void *counted_for)
{
    return qcbmi_recount_pass(counted_for, c, false);
}

/* Why they stay, and how to go on. */
struct reason {
    const char *why, *way; /* NULL: they are nobody's */
};

static const char *why_doubtful(const struct qcbmi_repair *r, const struct check *c)
{
    if (r->lost_pointers &&
        (r->before.leaks || r->left)) /* else all are what this repair itself has no use for any more */
        return "they may be what the entries that were given up had mapped";
    if (r->lost_bitmaps)
        return "they may be the bits of the bitmaps that are gone";
    if (c->r.lost_tables)
        return "there are mapping tables among them, with data that nothing else leads to";
    if (c->r.suspicious_leaks)
        return "they may be the data of a lost mapping table";
    return qcbmi_check_keeps_leaks(c) ? "they may be what something damaged had pointed to" : NULL;
}

/* What refers to clusters and was not counted is not given up by force either. */
static struct reason why_keep(const struct qcbmi_repair *r, const struct check *c)
{
    if (c->snapshots_unknown || c->met[QCBM_PROBLEM_TOO_MUCH_WORK])
        return (struct reason){ "not all that refers to clusters could be counted",
                                "what stands in the way is told by the check" };
    if (r->o.level == QCBM_REPAIR_LEAKS && c->met[QCBM_PROBLEM_REFCOUNT_ZERO]) /* QEMU, too, refuses */
        return (struct reason){ "clusters in use count as free", "-r all repairs both" };
    if (qcbmi_repair_is_forced(r))
        return (struct reason){ NULL, NULL };
    return (struct reason){ why_doubtful(r, c), "they can be freed with --force" };
}

static int tell_kept(struct qcbmi_repair *r, const struct check *c, const struct reason *reason, struct qcbm_error *err)
{
    struct qcbm_repair_row row = { .code = "leaks-kept", .offset = QCBM_NO_OFFSET };
    const struct qcbmi_spans *blank = &c->leaks.blank;
    char done[256];

    snprintf(done, sizeof(done), "%" PRIu64 " leaked clusters stay: %s; %s", c->r.leaks, reason->why, reason->way);
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

    snprintf(done, sizeof(done), "%" PRIu64 " leaked cluster%s freed, the first at 0x%" PRIx64, w->n, qcbmi_s(w->n),
             w->first << cb);
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
    struct reason reason = { NULL, NULL };
    bool any = false;
    struct check c;
    int ret = qcbmi_repair_look(r, &c, 0, NULL, NULL, err);

    if (ret == 0 && c.r.leaks) {
        any = true;
        reason = why_keep(r, &c);
        if (reason.why)
            ret = tell_kept(r, &c, &reason, err);
    }
    qcbmi_check_free(&c);
    return ret == 0 && any && !reason.why ? free_leaks(r, err) : ret;
}
