/* min_tree.h - numbers of which the first small one is found, and the least of the first so many, in logarithmic time
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_MIN_TREE_H
#define QCBMI_MIN_TREE_H

#include <stddef.h>
#include <stdint.h>

struct qcbm_error;

struct qcbmi_min_tree {
    uint64_t *node; /* node[1] is the root, node[leaves + i] the number i; each the lesser of the two below it */
    size_t leaves;  /* a power of two */
};

/* @n numbers, all 0. */
int qcbmi_min_tree_init(struct qcbmi_min_tree *t, size_t n, struct qcbm_error *err);
void qcbmi_min_tree_free(struct qcbmi_min_tree *t); /* fine on a zeroed struct */

void qcbmi_min_tree_set(struct qcbmi_min_tree *t, size_t i, uint64_t value);
/* The first number that is at most @value; an index past the last one if there is none. */
size_t qcbmi_min_tree_first(const struct qcbmi_min_tree *t, uint64_t value);
/* The least of the numbers before @i, which is the index of one; UINT64_MAX of none. */
uint64_t qcbmi_min_tree_before(const struct qcbmi_min_tree *t, size_t i);

#endif
