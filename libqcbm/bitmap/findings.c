/* findings.c - what was found wrong with an image while it was opened and read
 * SPDX-License-Identifier: MIT */
#include "bitmap/findings.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"

#define MAX_FINDINGS 4096u

void qcbmi_finding_add(struct qcbmi_findings *all, enum qcbm_problem_id id, uint64_t offset, uint32_t bitmap,
                       const char *fmt, ...)
{
    struct qcbm_finding *f;
    va_list args;

    if (all->n >= MAX_FINDINGS || qcbmi_grow_array(&all->list, &all->capacity, all->n, sizeof(*f), NULL) < 0)
        return;
    f = &all->list[all->n++];
    f->problem = qcbm_problem_get(id);
    f->offset = offset;
    f->bitmap = bitmap;
    va_start(args, fmt);
    vsnprintf(f->message, sizeof(f->message), fmt, args);
    va_end(args);
}

void qcbmi_findings_free(struct qcbmi_findings *all)
{
    free(all->list);
    *all = (struct qcbmi_findings){ 0 };
}
