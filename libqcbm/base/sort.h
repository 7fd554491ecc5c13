/* sort.h - sorted arrays: the order of 64-bit numbers, and where one of them is or would go
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_SORT_H
#define QCBMI_SORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Below, at or above zero, as @a is to @b. */
static inline int u64_compare(uint64_t a, uint64_t b)
{
    return (a > b) - (a < b);
}

/* For qsort() of elements that are a uint64_t or begin with one; the second looks at two of them. */
int qcbmi_by_u64(const void *a, const void *b);
int qcbmi_by_two_u64(const void *a, const void *b);

/* @count elements of @elem_size bytes at @items, which may be NULL where there are none. */
void qcbmi_sort(void *items, size_t count, size_t elem_size, int (*compare)(const void *a, const void *b));

/* The place of the first element that does not come before @key; @count if all do. Sorted: where one comes before @key,
 * so do all in front of it. */
typedef bool qcbmi_before_fn(const void *elem, const void *key);
size_t qcbmi_lower_bound(const void *items, size_t count, size_t elem_size, qcbmi_before_fn *before, const void *key);

/* The same for elements that are a uint64_t or begin with one. */
size_t qcbmi_lower_bound_u64(const void *items, size_t count, size_t elem_size, uint64_t key);

#endif
