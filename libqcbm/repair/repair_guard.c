/* repair_guard.c - what is not repaired without force: images of which a repair could lose the last trace of somebody's
 * data
 * SPDX-License-Identifier: MIT
 *
 * A repair takes the image at its word: what nothing refers to is free when it is done. Where a header field or a
 * pointer may be wrong that is how the disk, or all snapshots, are lost, and the result looks clean. So this comes
 * first, and refuses the whole. */
#include <inttypes.h>

#include "base/checked.h"
#include "repair/repair_look.h"

#define MANUAL                                                                                                         \
    "with --force it is repaired all the same, and what is in doubt is given up; take a copy of the image first"

static int refuse_shared(const struct check *c, const struct check_suspect *x, const char *why)
{
    char a[192], b[192];

    qcbmi_check_owner_text(c, &x->owners[0], a, sizeof(a));
    qcbmi_check_owner_text(c, &x->owners[1], b, sizeof(b));
    return qcbmi_fail(c->err, QCBM_E_UNSAFE, x->cluster << c->g->cluster_bits,
                      "cluster %" PRIu64 " is used as %s and as %s%s: nothing was written; " MANUAL, x->cluster, a, b,
                      why);
}

/* More owners than can be given a cluster each in the rounds that there are. */
static int refuse_many(const struct check *c, const struct check_suspect *x)
{
    char a[192];

    qcbmi_check_owner_text(c, &x->owners[0], a, sizeof(a));
    return qcbmi_fail(c->err, QCBM_E_LIMIT, x->cluster << c->g->cluster_bits,
                      "cluster %" PRIu64 " has %" PRIu64
                      " owners, one of them %s; a repair gives a cluster of its own to %u "
                      "at most: nothing was written",
                      x->cluster, x->n_owners, a, QCBMI_MAX_ROUNDS);
}

static int guard_shared(const struct check *c, bool force)
{
    const struct check_suspects *s = c->suspects;

    for (size_t i = 0; s && i < s->n; i++) {
        const struct check_suspect *x = &s->list[i];
        const char *why;

        if (x->n_owners > QCBMI_MAX_ROUNDS)
            return refuse_many(c, x);
        why = force ? NULL : qcbmi_check_why_disputed(c, x);
        if (why)
            return refuse_shared(c, x, why);
    }
    return 0;
}

int qcbmi_repair_refuse_lost(const struct qcbmi_repair *r, const struct check *c)
{
    if (qcbmi_repair_is_forced(r) || c->r.lost_tables == 0)
        return 0;
    return qcbmi_fail(
        c->err, QCBM_E_UNSAFE, QCBM_NO_OFFSET,
        "there are mapping tables among the leaked clusters, with data that nothing else leads to: nothing was "
        "written; " MANUAL);
}

static int guard(const struct check *c, bool force)
{
    if (!force && c->suspects && c->suspects->n == CHECK_MAX_SUSPECTS)
        return qcbmi_fail(c->err, QCBM_E_UNSAFE, QCBM_NO_OFFSET,
                          "%u clusters or more have two owners: nothing was written; " MANUAL, CHECK_MAX_SUSPECTS);
    return guard_shared(c, force);
}

int qcbmi_repair_guard(struct qcbmi_repair *r, struct qcbm_error *err)
{
    struct check c;
    int ret = qcbmi_repair_look(r, &c, 0, NULL, NULL, err);

    if (ret == 0)
        ret = guard(&c, qcbmi_repair_is_forced(r));
    qcbmi_check_free(&c);
    return ret;
}
