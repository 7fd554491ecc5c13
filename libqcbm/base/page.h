/* page.h - an array of a caller that is filled with as many elements as it has room for
 * SPDX-License-Identifier: MIT
 *
 * For walks that give out runs by a callback: qcbmi_page_put() stops the walk when the page is full. */
#ifndef QCBMI_PAGE_H
#define QCBMI_PAGE_H

#include <stddef.h>

#include "qcbm.h"

struct qcbmi_page {
    char *array;
    size_t elem_size; /* as the caller was compiled */
    size_t n, got;
    uint64_t next; /* where the page after it begins */
};

/* Returns 0, or QCBM_E_ARG for an @elem_size that is the size of no struct. */
int qcbmi_page_begin(struct qcbmi_page *p, void *array, size_t elem_size, size_t n, uint64_t from,
                     struct qcbm_error *err);

/* One element more, while there is room; what follows it begins at @next. Returns 1 when the page is full, else 0. */
int qcbmi_page_put(struct qcbmi_page *p, const void *elem, size_t size, uint64_t next);

/* What a walk that ended with @ret and @why means for the page: what came before an error is worth having, and the
 * error comes again with the next page. Returns 0, or @ret with *@err filled. */
int qcbmi_page_end(const struct qcbmi_page *p, int ret, const struct qcbm_error *why, struct qcbm_error *err);

#endif
