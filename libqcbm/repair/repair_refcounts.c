/* repair_refcounts.c - refcounts that are too low: raised where they are, or all of them written anew
 * SPDX-License-Identifier: MIT
 *
 * Raising writes sectors of blocks that are in use: of these any may be on the disk after a cut, each is no worse than
 * it was, and the next repair does the rest. What is counted too high is the matter of repair_leaks.c. */
#include <inttypes.h>
#include <stdio.h>

#include "base/checked.h"
#include "repair/repair_look.h"
#include "repair/repair_rebuild.h"

static int raise_pass(struct check *c, void *counted_for)
{
    return qcbmi_recount_pass(counted_for, c, true);
}

/* The owner of @x that is part of the refcounts, or of which it is not; NULL: there is none. */
static const struct qcbmi_ref_owner *owner_of(const struct check_suspect *x, bool refcounts)
{
    for (uint64_t k = 0; k < u64_min(x->n_owners, CHECK_MAX_OWNERS); k++)
        if ((x->owners[k].kind == QCBMI_REF_REFBLOCK || x->owners[k].kind == QCBMI_REF_REFTABLE) == refcounts)
            return &x->owners[k];
    return NULL;
}

/* Has a cluster of the refcounts themselves another owner? Then they move, and leave it to that. One of the two
 * pointers is wrong, so what it led to is a leak. */
static int leave_shared(struct qcbmi_repair *r, const struct check *c, bool *shared)
{
    char a[192], b[192], done[512];
    int ret = 0;

    for (size_t i = 0; ret == 0 && c->suspects && i < c->suspects->n; i++) {
        const struct check_suspect *x = &c->suspects->list[i];
        const struct qcbmi_ref_owner *leaves = owner_of(x, true), *stays = owner_of(x, false);

        *shared |= leaves != NULL;
        if (!leaves || !stays)
            continue;
        qcbmi_check_owner_text(c, stays, a, sizeof(a));
        qcbmi_check_owner_text(c, leaves, b, sizeof(b));
        snprintf(done, sizeof(done),
                 "cluster %" PRIu64 " was used as %s and as %s: the refcounts move, it is left to the first",
                 x->cluster, a, b);
        r->lost_pointers++;
        r->bitmaps_first |= qcbmi_repair_is_of_bitmap(stays);
        ret = qcbmi_repair_note_shared(r, x->cluster, c->err);
        if (ret < 0)
            break;
        ret = qcbmi_repair_tell_done(r, "two-owners", x->cluster << c->g->cluster_bits, done, c->err);
    }
    return ret;
}

static bool is_table_sound(const struct check *c)
{
    static const enum qcbm_problem_id damage[] = { QCBM_PROBLEM_REFTABLE_RESERVED, QCBM_PROBLEM_REFBLOCK_UNALIGNED,
                                                   QCBM_PROBLEM_REFBLOCK_OUTSIDE, QCBM_PROBLEM_REFBLOCK_REFCOUNT,
                                                   QCBM_PROBLEM_REFCOUNT_UNREADABLE };
    uint64_t len = 8 * c->disk.n_table;

    for (size_t i = 0; i < sizeof(damage) / sizeof(damage[0]); i++)
        if (c->met[damage[i]])
            return false;
    for (uint64_t i = 0; i < c->disk.n_table; i++) /* they are written whole: one that is cut lacks refcounts */
        if (c->disk.table[i] && !range_fits(c->disk.table[i], c->g->cluster_size, c->img->io.size))
            return false;
    return len && !c->disk.unreadable && range_fits(c->img->h.reftable_offset, len, c->img->io.size);
}

static int tell_raised(struct qcbmi_repair *r, const struct qcbmi_recount *w, struct qcbm_error *err)
{
    unsigned cb = r->work->image->g.cluster_bits;
    char done[128];

    snprintf(done, sizeof(done), "refcounts of %" PRIu64 " cluster%s raised, the first at 0x%" PRIx64, w->n,
             qcbmi_s(w->n), w->first << cb);
    return qcbmi_repair_tell_done(r, "refcounts-raised", w->first << cb, done, err);
}

/* What entries that stay had led to is known by the old refcounts alone. */
static int guard_rebuild(const struct qcbmi_repair *r, struct qcbm_error *err)
{
    if (r->left == 0 || qcbmi_repair_is_forced(r))
        return 0;
    return qcbmi_fail(
        err, QCBM_E_UNSAFE, QCBM_NO_OFFSET,
        "refcounts have to be written anew, and entries of mapping tables lead nowhere, so what they led to would "
        "be free: nothing was written; with --force such entries are given up, and read as zeros");
}

int qcbmi_repair_refcounts(struct qcbmi_repair *r, struct qcbm_error *err)
{
    size_t before = r->whole.n;
    struct qcbmi_plan plan = { 0 };
    struct qcbmi_recount w = { .plan = &plan, .index = UINT64_MAX };
    bool rebuild = false;
    struct check c;
    int ret = qcbmi_plan_stage(&plan, "refcounts", true, err);

    if (ret == 0) {
        ret = qcbmi_repair_look(r, &c, 0, raise_pass, &w, err);
        rebuild = ret == 0 && (w.missing || !is_table_sound(&c));
        if (ret == 0)
            ret = leave_shared(r, &c, &rebuild);
        ret = qcbmi_recount_end(&w, ret);
        qcbmi_check_free(&c);
    }
    if (ret == 0 && rebuild)
        ret = guard_rebuild(r, err);
    if (ret == 0 && rebuild)
        ret = qcbmi_repair_rebuild(r, err);
    else if (ret == 0 && w.n) {
        ret = tell_raised(r, &w, err);
        if (ret == 0)
            ret = qcbmi_repair_commit(r, &plan, err);
    }
    r->counts = before;
    r->counts_end = r->whole.n;
    qcbmi_plan_free(&plan);
    return ret;
}
