/* workers.h - work in pieces, done side by side by a few threads and taken over in its order
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_WORKERS_H
#define QCBMI_WORKERS_H

#include <stdbool.h>
#include <stddef.h>

#include "qcbm.h"

#define QCBMI_MAX_THREADS 16u
#define QCBMI_WORK_SLOTS 32u /* at most */

/* A piece lives in a slot, memory of the caller's, from @next to @take. */
struct qcbmi_work {
    void *opaque;
    void *slots; /* @n_slots of @slot_size bytes each; more than threads, or nobody is ahead of @take */
    size_t slot_size, n_slots;
    unsigned threads; /* at most, the caller's own among them: with 1 there is no other */

    /* On the thread of the caller: which piece is the next, into @slot; false if there is none, and not asked again. */
    bool (*next)(void *opaque, void *slot);
    /* On any thread, several calls at once. */
    int (*work)(void *opaque, void *slot, struct qcbm_error *err);
    /* On the thread of the caller, in the order of @next, and only after all pieces before it went well. */
    int (*take)(void *opaque, void *slot, struct qcbm_error *err);
};

/* Until all is taken over, or the first failure in that order, which is returned; all threads have ended then. What
 * cannot get a thread is done without. */
int qcbmi_work_run(const struct qcbmi_work *w, struct qcbm_error *err);

/* How many threads are of use: @wanted, or with 0 as many as there are processors for this process, up to 8; never more
 * than @pieces. */
unsigned qcbmi_threads(unsigned wanted, uint64_t pieces);

#endif
