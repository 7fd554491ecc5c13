/* check_owners.c - clusters with two owners: who they are, so that the victim has a name
 * SPDX-License-Identifier: MIT
 *
 * QEMU only compares numbers: once a repair has raised the refcount, two owners look like a snapshot. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "base/sort.h"
#include "bitmap/bitmap_list.h"
#include "check/check_parts.h"

static void sort_suspects(struct check_suspects *s)
{
    size_t kept = 0;

    qcbmi_sort(s->list, s->n, sizeof(s->list[0]), qcbmi_by_u64);
    for (size_t i = 1; i < s->n; i++)
        if (s->list[i].cluster != s->list[kept].cluster)
            s->list[++kept] = s->list[i];
    s->n = kept + 1;
}

/* May both use one cluster? Snapshots share what the active state had at the same place; compressed data shares
 * clusters. */
static bool may_share(const struct qcbmi_ref_owner *a, const struct qcbmi_ref_owner *b)
{
    if (a->kind != b->kind)
        return false;
    if (a->kind == QCBMI_REF_COMPRESSED)
        return true;
    return (a->kind == QCBMI_REF_L2 || a->kind == QCBMI_REF_DATA) && a->index == b->index && a->state != b->state;
}

static int match_suspects(struct check *c, uint64_t first, uint64_t end, const struct qcbmi_ref *ref)
{
    struct check_suspects *s = c->suspects;

    for (size_t i = qcbmi_lower_bound_u64(s->list, s->n, sizeof(s->list[0]), first);
         i < s->n && s->list[i].cluster < end; i++) {
        struct check_suspect *x = &s->list[i];

        /* Keep the first, and those that it cannot share with. */
        if (x->n_owners && may_share(&x->owners[0], &ref->owner))
            continue;
        if (x->n_owners < CHECK_MAX_OWNERS)
            x->owners[x->n_owners] = ref->owner;
        x->n_owners++;
    }
    return 0;
}

static bool any(const struct check *c, uint64_t cluster)
{
    (void)c;
    (void)cluster;
    return true;
}

static const struct check_sink searcher = { .clusters = match_suspects, .state = qcbmi_check_walk_l1, .wants = any };

void qcbmi_check_state_text(const struct check *c, uint32_t state, char *to, size_t size)
{
    char name[64];

    if (state == 0) {
        *to = '\0';
        return;
    }
    (void)qcbmi_printable(name, sizeof(name), c->snapshots.list[state - 1].name, c->snapshots.list[state - 1].name_len);
    snprintf(to, size, " of snapshot '%s'", name);
}

void qcbmi_check_owner_text(const struct check *c, const struct qcbmi_ref_owner *o, char *to, size_t size)
{
    char state[96];

    qcbmi_check_state_text(c, o->state, state, sizeof(state));
    if (o->kind == QCBMI_REF_L2)
        snprintf(to, size, "L2 table of L1 entry %" PRIu64 "%s", o->index, state);
    else if (o->kind == QCBMI_REF_DATA || o->kind == QCBMI_REF_COMPRESSED)
        snprintf(to, size, "%s of guest offset 0x%" PRIx64 "%s", qcbmi_ref_name(o), o->index, state);
    else if (o->index == UINT64_MAX)
        snprintf(to, size, "%s", qcbmi_ref_name(o));
    else
        snprintf(to, size, "%s %" PRIu64, qcbmi_ref_name(o), o->index);
}

static int tell_suspect(struct check *c, const struct check_suspect *x)
{
    struct qcbmi_place at = { x->cluster << c->g->cluster_bits, NULL, UINT64_MAX, UINT32_MAX };
    char a[192], b[192], more[48] = "";

    if (x->n_owners < 2)
        return 0;
    qcbmi_check_owner_text(c, &x->owners[0], a, sizeof(a));
    qcbmi_check_owner_text(c, &x->owners[1], b, sizeof(b));
    if (x->n_owners > 2)
        snprintf(more, sizeof(more), ", and %" PRIu64 " more", x->n_owners - 2);
    return qcbmi_check_problem(c, QCBM_PROBLEM_CLUSTER_TWO_OWNERS, 1, &at,
                               "cluster %" PRIu64 " (offset 0x%" PRIx64 ") is used as %s and as %s%s", x->cluster,
                               at.offset, a, b, more);
}

int qcbmi_check_name_owners(struct check *c)
{
    int ret;

    if (!c->suspects || c->suspects->n == 0)
        return 0;
    sort_suspects(c->suspects);
    c->sink = &searcher;
    c->voice.only = CHECK_NONE;
    c->budget = c->budget_full / 4; /* enough for each table once */
    c->exhausted = true;            /* owners that are not found are no fault */
    ret = qcbmi_check_walk(c);
    if (ret == 0)
        ret = qcbmi_check_refblocks(c);
    c->voice = CHECK_LOUD;
    for (size_t i = 0; ret == 0 && i < c->suspects->n; i++)
        ret = tell_suspect(c, &c->suspects->list[i]);
    return ret;
}
