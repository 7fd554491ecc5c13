/* sort.c - sorted arrays: the order of 64-bit numbers, and where one of them is or would go
 * SPDX-License-Identifier: MIT */
#include "base/sort.h"

#include <stdlib.h>

int qcbmi_by_u64(const void *a, const void *b)
{
    return u64_compare(*(const uint64_t *)a, *(const uint64_t *)b);
}

int qcbmi_by_two_u64(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;
    int first = u64_compare(x[0], y[0]);

    return first ? first : u64_compare(x[1], y[1]);
}

void qcbmi_sort(void *items, size_t count, size_t elem_size, int (*compare)(const void *a, const void *b))
{
    if (count > 1) /* qsort() must not get NULL, whatever the count */
        qsort(items, count, elem_size, compare);
}

size_t qcbmi_lower_bound(const void *items, size_t count, size_t elem_size, qcbmi_before_fn *before, const void *key)
{
    size_t low = 0, high = count;

    while (low < high) {
        size_t mid = low + (high - low) / 2;

        if (before((const char *)items + mid * elem_size, key))
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static bool before_u64(const void *elem, const void *key)
{
    return *(const uint64_t *)elem < *(const uint64_t *)key;
}

size_t qcbmi_lower_bound_u64(const void *items, size_t count, size_t elem_size, uint64_t key)
{
    return qcbmi_lower_bound(items, count, elem_size, before_u64, &key);
}
