/* merge_probes.c - probes of several deltas that are true of the merged one as well
 * SPDX-License-Identifier: MIT */
#include "delta/merge_probes.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/checked.h"

static int by_offset(const void *a, const void *b)
{
    uint64_t x = ((const struct qcbmi_delta_probe *)a)->offset, y = ((const struct qcbmi_delta_probe *)b)->offset;

    return (x > y) - (x < y);
}

static uint64_t shortest_state(struct qcbmi_delta *const *deltas, size_t n)
{
    uint64_t size = deltas[0]->meta.size_before;

    for (size_t i = 0; i < n; i++)
        size = u64_min(size, deltas[i]->meta.size_after);
    return size;
}

/* Of those that overlap, which two deltas may have, the first is kept. */
static size_t drop_overlaps(struct qcbmi_delta_probe *list, size_t n, uint64_t size)
{
    uint64_t end = 0;
    size_t kept = 0;

    for (size_t i = 0; i < n; i++) {
        if (list[i].offset < end || !range_fits(list[i].offset, list[i].length, size))
            continue;
        end = list[i].offset + list[i].length;
        list[kept++] = list[i];
    }
    return kept;
}

int qcbmi_merge_probes_init(struct qcbmi_merge_probes *p, struct qcbmi_delta *const *deltas, size_t n,
                            struct qcbm_error *err)
{
    size_t total = 0;

    *p = (struct qcbmi_merge_probes){ 0 };
    for (size_t i = 0; i < n; i++)
        total += deltas[i]->meta.n_probes;
    p->list = qcbmi_alloc_array(total, sizeof(*p->list), err);
    if (!p->list)
        return QCBM_E_NOMEM;
    for (size_t i = 0; i < n; i++)
        for (uint32_t k = 0; k < deltas[i]->meta.n_probes; k++)
            p->list[p->n++] = deltas[i]->meta.probes[k];
    qsort(p->list, p->n, sizeof(*p->list), by_offset);
    p->n = drop_overlaps(p->list, p->n, shortest_state(deltas, n));
    return 0;
}

void qcbmi_merge_probes_free(struct qcbmi_merge_probes *p)
{
    free(p->list);
    *p = (struct qcbmi_merge_probes){ 0 };
}

void qcbmi_merge_probes_strike(struct qcbmi_merge_probes *p, uint64_t offset, uint64_t length)
{
    while (p->at < p->n && (p->list[p->at].length == 0 || p->list[p->at].offset + p->list[p->at].length <= offset))
        p->at++;
    for (size_t i = p->at; i < p->n && p->list[i].offset < offset + length; i++)
        p->list[i].length = 0;
}

void qcbmi_merge_probes_give(const struct qcbmi_merge_probes *p, struct qcbmi_delta_meta *out)
{
    size_t left = 0, seen = 0;

    for (size_t i = 0; i < p->n; i++)
        left += p->list[i].length != 0;
    out->n_probes = 0;
    for (size_t i = 0; i < p->n; i++) {
        if (p->list[i].length == 0)
            continue;
        if (left <= QCBMI_DELTA_MAX_PROBES ||
            seen * QCBMI_DELTA_MAX_PROBES / left != (seen + 1) * QCBMI_DELTA_MAX_PROBES / left)
            out->probes[out->n_probes++] = p->list[i];
        seen++;
    }
}
