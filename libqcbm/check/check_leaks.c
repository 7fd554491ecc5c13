/* check_leaks.c - leaked clusters, and L1 entries whose table is empty: as runs, noted while the check goes on
 * SPDX-License-Identifier: MIT */
#include <stdlib.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "base/sort.h"
#include "check/check.h"

#define MAX_RUNS ((size_t)1 << 20)  /* of leaked clusters; beyond them they are counted only */
#define MAX_BLANK ((size_t)1 << 16) /* runs of L1 entries */

int qcbmi_check_add_to_runs(struct check_runs *r, uint64_t value, size_t max, struct qcbm_error *err)
{
    if (r->n && r->list[r->n - 1].end == value) {
        r->list[r->n - 1].end++;
        return 0;
    }
    if (r->n == max)
        return 0;
    if (qcbmi_grow_array(&r->list, &r->capacity, r->n, sizeof(r->list[0]), err) < 0)
        return QCBM_E_NOMEM;
    r->list[r->n++] = (struct check_run){ value, value + 1 };
    return 0;
}

static bool ends_before(const void *run, const void *value)
{
    return ((const struct check_run *)run)->end <= *(const uint64_t *)value;
}

bool qcbmi_check_in_runs(const struct check_runs *r, uint64_t value)
{
    size_t i = qcbmi_lower_bound(r->list, r->n, sizeof(r->list[0]), ends_before, &value);

    return i < r->n && r->list[i].first <= value;
}

/* Runs that were noted in another order, joined. */
void qcbmi_check_sort_runs(struct check_runs *r)
{
    size_t kept = 0;

    if (r->n == 0)
        return;
    qcbmi_sort(r->list, r->n, sizeof(r->list[0]), qcbmi_by_u64);
    for (size_t i = 1; i < r->n; i++) {
        if (r->list[i].first <= r->list[kept].end)
            r->list[kept].end = u64_max(r->list[kept].end, r->list[i].end);
        else
            r->list[++kept] = r->list[i];
    }
    r->n = kept + 1;
}

/* With snapshots a refcount that is too high by one, too, may be due to a lost table: then the other user is a snapshot.
 * Without them it is what a crash in the making of a snapshot leaves; higher ones are damage of their own. */
int qcbmi_check_note_leak(struct check *c, uint64_t cluster, uint64_t stored, uint64_t found)
{
    if (found && (stored - found > 1 || c->n_snapshots == 0))
        return 0;
    c->lost.n_leaked++;
    if (found && qcbmi_check_add_to_runs(&c->lost.shared, cluster, MAX_RUNS, c->err) < 0)
        return QCBM_E_NOMEM;
    return qcbmi_check_add_to_runs(&c->lost.leaked, cluster, MAX_RUNS, c->err);
}

int qcbmi_check_note_blank(struct check *c, uint64_t l1_index)
{
    return l1_index < c->g->l1_used ? qcbmi_check_add_to_runs(&c->lost.blank, l1_index, MAX_BLANK, c->err) : 0;
}

void qcbmi_check_leaks_free(struct check_lost *l)
{
    free(l->leaked.list);
    free(l->shared.list);
    free(l->blank.list);
}
