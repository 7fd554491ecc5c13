/* apply_queue.h - what comes next of a stream of extents, as much of it as a batch can use
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_APPLY_QUEUE_H
#define QCBMI_APPLY_QUEUE_H

#include "write/guest_plan.h"

struct qcbmi_apply_queue {
    const struct qcbmi_guest_stream *stream;
    struct qcbmi_guest_extent *at;
    size_t n, capacity;
    bool over; /* the stream has no more */
};

/* Extents before @from are over and done. Afterwards there are so many, or all, that those of at least one unit of
 * @unit bytes (a power of two) are whole. */
int qcbmi_queue_fill(struct qcbmi_apply_queue *q, uint64_t from, uint64_t unit, struct qcbm_error *err);
/* Up to where no other extent can begin. */
uint64_t qcbmi_queue_known(const struct qcbmi_apply_queue *q);
void qcbmi_queue_free(struct qcbmi_apply_queue *q);

#endif
