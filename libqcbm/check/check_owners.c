/* check_owners.c - clusters with two owners: who they are, so that the victim has a name
 * SPDX-License-Identifier: MIT
 *
 * QEMU only compares numbers: once a repair has raised the refcount, two owners look like a snapshot. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "bitmap/bitmap_list.h"
#include "check/check.h"

#define MAX_SUSPECTS 1024u
#define MAX_OWNERS 3u

struct suspect {
    uint64_t cluster;
    uint64_t n_owners;
    struct check_owner owners[MAX_OWNERS];
};

struct check_suspects {
    size_t n;
    struct suspect list[MAX_SUSPECTS];
};

void qcbmi_check_suspects_free(struct check_suspects *s)
{
    free(s);
}

void qcbmi_check_suspect(struct check *c, uint64_t cluster)
{
    if (!c->suspects)
        c->suspects = qcbmi_alloc_array(1, sizeof(*c->suspects), NULL);
    if (c->suspects && c->suspects->n < MAX_SUSPECTS)
        c->suspects->list[c->suspects->n++].cluster = cluster;
}

int qcbmi_check_collect_suspects(struct check *c)
{
    uint64_t end = u64_min(c->hi, c->n_clusters);

    for (uint64_t k = c->lo; (k = qcbmi_counts_next_shared(&c->owners, k, end)) < end; k++) {
        qcbmi_check_suspect(c, k);
        if (c->suspects && c->suspects->n == MAX_SUSPECTS)
            break;
    }
    return 0;
}

static int by_cluster(const void *a, const void *b)
{
    uint64_t x = ((const struct suspect *)a)->cluster, y = ((const struct suspect *)b)->cluster;

    return x < y ? -1 : x > y;
}

static void sort_suspects(struct check_suspects *s)
{
    size_t kept = 0;

    qsort(s->list, s->n, sizeof(s->list[0]), by_cluster);
    for (size_t i = 1; i < s->n; i++)
        if (s->list[i].cluster != s->list[kept].cluster)
            s->list[++kept] = s->list[i];
    s->n = kept + 1;
}

/* First suspect at or after @cluster. */
static size_t place_of(const struct check_suspects *s, uint64_t cluster)
{
    size_t lo = 0, hi = s->n;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;

        if (s->list[mid].cluster < cluster)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

/* May both use one cluster? Snapshots share what the active state had at the same place; compressed data shares clusters. */
static bool may_share(const struct check_owner *a, const struct check_owner *b)
{
    if (a->kind != b->kind || a->kind == OWNER_META)
        return false;
    if (a->kind == OWNER_COMPRESSED)
        return true;
    return a->index == b->index && a->state != b->state;
}

void qcbmi_check_owner_found(struct check *c, uint64_t first, uint64_t end, const struct check_owner *owner)
{
    struct check_suspects *s = c->search;

    for (size_t i = place_of(s, first); i < s->n && s->list[i].cluster < end; i++) {
        struct suspect *x = &s->list[i];

        /* Keep the first, and those that it cannot share with. */
        if (x->n_owners && may_share(&x->owners[0], owner))
            continue;
        if (x->n_owners < MAX_OWNERS)
            x->owners[x->n_owners] = *owner;
        x->n_owners++;
    }
}

static void state_text(const struct check *c, uint32_t state, char *to, size_t size)
{
    char name[64];

    if (state == 0) {
        *to = '\0';
        return;
    }
    (void)qcbmi_printable(name, sizeof(name), c->snapshots[state - 1].name, c->snapshots[state - 1].name_len);
    snprintf(to, size, " of snapshot '%s'", name);
}

static void owner_text(const struct check *c, const struct check_owner *o, char *to, size_t size)
{
    char state[96];

    state_text(c, o->state, state, sizeof(state));
    if (o->kind == OWNER_L2)
        snprintf(to, size, "L2 table of L1 entry %" PRIu64 "%s", o->index, state);
    else if (o->kind == OWNER_DATA)
        snprintf(to, size, "data of guest offset 0x%" PRIx64 "%s", o->index, state);
    else if (o->kind == OWNER_COMPRESSED)
        snprintf(to, size, "compressed data of guest offset 0x%" PRIx64 "%s", o->index, state);
    else if (o->index == UINT64_MAX)
        snprintf(to, size, "%s", o->what);
    else
        snprintf(to, size, "%s %" PRIu64, o->what, o->index);
}

static int tell_suspect(struct check *c, const struct suspect *x)
{
    struct check_place at = { x->cluster << c->g->cluster_bits, NULL, UINT64_MAX, UINT32_MAX };
    char a[192], b[192], more[48] = "";

    if (x->n_owners < 2)
        return 0;
    owner_text(c, &x->owners[0], a, sizeof(a));
    owner_text(c, &x->owners[1], b, sizeof(b));
    if (x->n_owners > 2)
        snprintf(more, sizeof(more), ", and %" PRIu64 " more", x->n_owners - 2);
    return qcbmi_check_problem(c, P_CLUSTER_TWO_OWNERS, 1, &at,
                               "cluster %" PRIu64 " (offset 0x%" PRIx64 ") is used as %s and as %s%s", x->cluster,
                               at.offset, a, b, more);
}

int qcbmi_check_name_owners(struct check *c)
{
    int ret;

    if (!c->suspects || c->suspects->n == 0)
        return 0;
    sort_suspects(c->suspects);
    c->search = c->suspects;
    c->budget = c->budget_full / 4; /* enough for each table once */
    c->exhausted = true;            /* owners that are not found are no fault */
    ret = qcbmi_check_walk(c);
    if (ret == 0)
        ret = qcbmi_check_refblocks(c);
    c->search = NULL;
    for (size_t i = 0; ret == 0 && i < c->suspects->n; i++)
        ret = tell_suspect(c, &c->suspects->list[i]);
    return ret;
}
