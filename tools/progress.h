/* progress.h - how far a long job is, on stderr, as qemu-img -p shows it
 * SPDX-License-Identifier: MIT
 */
#ifndef QCBM_TOOL_PROGRESS_H
#define QCBM_TOOL_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

#include "qcbm.h"

struct progress {
    bool wanted; /* else nothing is shown */
    int shown;   /* percent so far, plus one */
};

/* What the library calls back; @opaque is the struct progress. Returns 0: go on. */
int progress_show(void *opaque, uint64_t done, uint64_t total);
/* For calls of the library. @p must outlive it. */
struct qcbm_progress progress_of(struct progress *p);
/* The job is over, and @finished or not: what comes next on stderr has a line of its own. */
void progress_end(struct progress *p, bool finished);

#endif
