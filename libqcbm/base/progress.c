/* progress.c - how far a long call is, told to its caller, who may ask for an end
 * SPDX-License-Identifier: MIT */
#include "base/progress.h"

#include "base/error.h"

int qcbmi_progress_at(struct qcbmi_progress *p, uint64_t done, struct qcbm_error *err)
{
    if (!p || !p->to || !p->to->fn)
        return 0;
    if (done > p->total) /* totals are estimates where tables are not known yet */
        done = p->total;
    if (done > p->done)
        p->done = done;
    return p->to->fn(p->to->opaque, p->done, p->total) ? qcbmi_fail_stopped(err) : 0;
}

int qcbmi_progress_add(struct qcbmi_progress *p, uint64_t amount, struct qcbm_error *err)
{
    if (!p)
        return 0;
    return qcbmi_progress_at(p, amount < UINT64_MAX - p->done ? p->done + amount : UINT64_MAX, err);
}
