/* text.c - texts put together: names of files, and what stands behind them
 * SPDX-License-Identifier: MIT */
#include "base/text.h"

#include <string.h>

#include "base/alloc.h"

char *qcbmi_concat(const char *a, const char *b, const char *c, struct qcbm_error *err)
{
    size_t n = strlen(a), m = strlen(b), k = strlen(c);
    char *text = qcbmi_alloc_array(n + m + k + 1, 1, err);

    if (!text)
        return NULL;
    memcpy(text, a, n);
    memcpy(text + n, b, m);
    memcpy(text + n + m, c, k);
    return text;
}
