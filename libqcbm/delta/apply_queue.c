/* apply_queue.c - what comes next of a stream of extents, as much of it as a batch can use
 * SPDX-License-Identifier: MIT */
#include "delta/apply_queue.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"

#define MANY 16384u /* extents; more only where a unit has more */

void qcbmi_queue_free(struct qcbmi_apply_queue *q)
{
    free(q->at);
    *q = (struct qcbmi_apply_queue){ 0 };
}

uint64_t qcbmi_queue_known(const struct qcbmi_apply_queue *q)
{
    if (q->over)
        return UINT64_MAX;
    return q->n ? q->at[q->n - 1].end : 0;
}

static void drop_before(struct qcbmi_apply_queue *q, uint64_t from)
{
    size_t n = 0;

    while (n < q->n && q->at[n].end <= from)
        n++;
    if (n)
        memmove(q->at, q->at + n, (q->n - n) * sizeof(*q->at));
    q->n -= n;
}

static int take(struct qcbmi_apply_queue *q, const struct qcbmi_guest_extent *e, struct qcbm_error *err)
{
    struct qcbmi_guest_extent *last = q->n ? &q->at[q->n - 1] : NULL;

    if (last && last->end == e->off && last->zero == e->zero) {
        last->end = e->end;
        return 0;
    }
    if (qcbmi_grow_array(&q->at, &q->capacity, q->n, sizeof(*q->at), err) < 0)
        return QCBM_E_NOMEM;
    q->at[q->n++] = *e;
    return 0;
}

/* Is there a whole unit in it, if many are asked for? */
static bool is_enough(const struct qcbmi_apply_queue *q, uint64_t from, uint64_t unit)
{
    return q->n >= MANY && align_down(qcbmi_queue_known(q), unit) > align_down(u64_max(q->at[0].off, from), unit);
}

int qcbmi_queue_fill(struct qcbmi_apply_queue *q, uint64_t from, uint64_t unit, struct qcbm_error *err)
{
    int ret = 0;

    drop_before(q, from);
    while (ret == 0 && !q->over && !is_enough(q, from, unit)) {
        struct qcbmi_guest_extent e;

        ret = q->stream->next(q->stream->opaque, &e, err);
        if (ret == 0)
            q->over = true;
        else if (ret > 0)
            ret = e.end > from ? take(q, &e, err) : 0;
    }
    return ret;
}
