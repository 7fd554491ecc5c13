/* min_tree.c - numbers of which the first small one is found, and the least of the first so many, in logarithmic time
 * SPDX-License-Identifier: MIT */
#include "base/min_tree.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/checked.h"

int qcbmi_min_tree_init(struct qcbmi_min_tree *t, size_t n, struct qcbm_error *err)
{
    for (t->leaves = 1; t->leaves < n;)
        t->leaves *= 2;
    t->node = qcbmi_alloc_array(2 * t->leaves, sizeof(*t->node), err);
    if (!t->node)
        return QCBM_E_NOMEM;
    for (size_t i = n; i < t->leaves; i++)
        qcbmi_min_tree_set(t, i, UINT64_MAX);
    return 0;
}

void qcbmi_min_tree_free(struct qcbmi_min_tree *t)
{
    free(t->node);
    *t = (struct qcbmi_min_tree){ 0 };
}

void qcbmi_min_tree_set(struct qcbmi_min_tree *t, size_t i, uint64_t value)
{
    size_t at = t->leaves + i;

    t->node[at] = value;
    for (at /= 2; at > 0; at /= 2)
        t->node[at] = u64_min(t->node[2 * at], t->node[2 * at + 1]);
}

size_t qcbmi_min_tree_first(const struct qcbmi_min_tree *t, uint64_t value)
{
    size_t at = 1;

    if (t->node[1] > value)
        return t->leaves;
    while (at < t->leaves)
        at = 2 * at + (t->node[2 * at] > value);
    return at - t->leaves;
}

uint64_t qcbmi_min_tree_before(const struct qcbmi_min_tree *t, size_t i)
{
    uint64_t least = UINT64_MAX;

    for (size_t at = t->leaves + i; at > 1; at /= 2)
        if (at % 2)
            least = u64_min(least, t->node[at - 1]);
    return least;
}
