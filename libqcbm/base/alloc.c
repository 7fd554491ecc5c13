/* alloc.c - memory for counts that have passed a named limit
 * SPDX-License-Identifier: MIT */
#include "base/alloc.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/error.h"

void *qcbmi_alloc_array(uint64_t n, size_t elem_size, struct qcbm_error *err)
{
    uint64_t bytes;
    void *p = NULL;

    /* above PTRDIFF_MAX no allocator delivers, and sanitizers end the process for asking */
    if (u64_mul(n, elem_size, &bytes) && bytes <= PTRDIFF_MAX)
        p = bytes ? calloc((size_t)n, elem_size) : calloc(1, 1);
    if (!p)
        (void)qcbmi_fail_nomem(err);
    return p;
}

int qcbmi_grow_array(void *items, size_t *capacity, size_t count, size_t elem_size, struct qcbm_error *err)
{
    uint64_t wanted, bytes;
    void *p;

    if (count < *capacity)
        return 0;
    if (!u64_mul(u64_max(*capacity, 4), 2, &wanted) || !u64_mul(wanted, elem_size, &bytes) || bytes > PTRDIFF_MAX)
        return qcbmi_fail_nomem(err);
    /* @items is the address of a pointer of any object type: copied, not cast */
    memcpy(&p, items, sizeof(p));
    p = realloc(p, (size_t)bytes);
    if (!p)
        return qcbmi_fail_nomem(err);
    memcpy(items, &p, sizeof(p));
    *capacity = (size_t)wanted;
    return 0;
}

char *qcbmi_memdup_nul(const void *bytes, size_t len, struct qcbm_error *err)
{
    char *p = len < PTRDIFF_MAX ? malloc(len + 1) : NULL;

    if (!p) {
        (void)qcbmi_fail_nomem(err);
        return NULL;
    }
    if (len)
        memcpy(p, bytes, len);
    p[len] = '\0';
    return p;
}
