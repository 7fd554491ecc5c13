/* watch_unit.h - who is told how far a call is, and asks for its end
 * SPDX-License-Identifier: MIT */
#ifndef WATCH_UNIT_H
#define WATCH_UNIT_H

#include "unit.h"

#include "qcbm.h"

struct watch {
    struct qcbm_progress to;
    uint64_t calls, last, total;
    uint64_t stop_at; /* call, from 1 */
};

static inline int watch(void *opaque, uint64_t done, uint64_t total)
{
    struct watch *w = opaque;

    assert_true(done >= w->last && done <= total);
    assert_true(w->calls == 0 || total == w->total);
    w->last = done;
    w->total = total;
    return ++w->calls == w->stop_at;
}

static inline void watch_begin(struct watch *w, uint64_t stop_at)
{
    *w = (struct watch){ .to = { watch, w }, .stop_at = stop_at };
}

#endif
