/* sized.c - structs of callers, who may know less or more members than this library
 * SPDX-License-Identifier: MIT */
#include "base/sized.h"

#include <string.h>

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

void qcbmi_take_options(void *to, size_t to_size, const void *from)
{
    if (from)
        memcpy(to, from, smaller(*(const size_t *)from, to_size));
}

void qcbmi_give(void *out, size_t out_size, const void *from, size_t from_size)
{
    memset(out, 0, out_size);
    memcpy(out, from, smaller(out_size, from_size));
}
