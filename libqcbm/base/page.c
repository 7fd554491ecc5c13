/* page.c - an array of a caller that is filled with as many elements as it has room for
 * SPDX-License-Identifier: MIT */
#include "base/page.h"

#include "base/sized.h"

int qcbmi_page_begin(struct qcbmi_page *p, void *array, size_t elem_size, size_t n, uint64_t from,
                     struct qcbm_error *err)
{
    *p = (struct qcbmi_page){ .array = array, .elem_size = elem_size, .n = n, .next = from };
    return qcbmi_check_size(elem_size, err);
}

int qcbmi_page_put(struct qcbmi_page *p, const void *elem, size_t size, uint64_t next)
{
    if (p->got < p->n) {
        qcbmi_give(p->array + p->got++ * p->elem_size, p->elem_size, elem, size);
        p->next = next;
    }
    return p->got == p->n;
}

int qcbmi_page_end(const struct qcbmi_page *p, int ret, const struct qcbm_error *why, struct qcbm_error *err)
{
    if (ret == 0 || p->got > 0)
        return 0;
    if (err)
        *err = *why;
    return ret;
}
