/* leaks.c - leaked clusters, and L1 entries whose table is empty: as runs, noted while references are compared
 * SPDX-License-Identifier: MIT */
#include "bitmap/leaks.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "base/sort.h"

#define MAX_RUNS ((size_t)1 << 20)  /* of leaked clusters; beyond them they are counted only */
#define MAX_BLANK ((size_t)1 << 16) /* runs of L1 entries */

int qcbmi_spans_add(struct qcbmi_spans *r, uint64_t value, size_t max, struct qcbm_error *err)
{
    if (r->n && r->list[r->n - 1].end == value) {
        r->list[r->n - 1].end++;
        return 0;
    }
    if (r->n == max)
        return 0;
    if (qcbmi_grow_array(&r->list, &r->capacity, r->n, sizeof(r->list[0]), err) < 0)
        return QCBM_E_NOMEM;
    r->list[r->n++] = (struct qcbmi_span){ value, value + 1 };
    return 0;
}

static bool ends_before(const void *run, const void *value)
{
    return ((const struct qcbmi_span *)run)->end <= *(const uint64_t *)value;
}

bool qcbmi_spans_have(const struct qcbmi_spans *r, uint64_t value)
{
    size_t i = qcbmi_lower_bound(r->list, r->n, sizeof(r->list[0]), ends_before, &value);

    return i < r->n && r->list[i].first <= value;
}

/* Runs that were noted in another order, joined. */
void qcbmi_spans_sort(struct qcbmi_spans *r)
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

void qcbmi_leaks_init(struct qcbmi_leaks *l, const struct qcbmi_image *img, bool has_snapshots)
{
    *l = (struct qcbmi_leaks){ .l1_used = img->g.l1_used, .has_snapshots = has_snapshots };
}

/* With snapshots a refcount that is too high by one, too, may be due to a lost table: then the other user is a
 * snapshot. Without them it is what a crash in the making of a snapshot leaves; higher ones are damage of their own. */
int qcbmi_leaks_note(struct qcbmi_leaks *l, uint64_t cluster, uint64_t stored, uint64_t found, struct qcbm_error *err)
{
    if (found && (stored - found > 1 || !l->has_snapshots))
        return 0;
    l->n_leaked++;
    if (found && qcbmi_spans_add(&l->shared, cluster, MAX_RUNS, err) < 0)
        return QCBM_E_NOMEM;
    return qcbmi_spans_add(&l->leaked, cluster, MAX_RUNS, err);
}

int qcbmi_leaks_note_blank(struct qcbmi_leaks *l, uint64_t l1_index, struct qcbm_error *err)
{
    return l1_index < l->l1_used ? qcbmi_spans_add(&l->blank, l1_index, MAX_BLANK, err) : 0;
}

void qcbmi_leaks_free(struct qcbmi_leaks *l)
{
    free(l->leaked.list);
    free(l->shared.list);
    free(l->blank.list);
    *l = (struct qcbmi_leaks){ 0 };
}
