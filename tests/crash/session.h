/* session.h - everything that can be asked of an image file, as a list of steps whose results can be compared
 * SPDX-License-Identifier: MIT */
#ifndef TESTS_SESSION_H
#define TESTS_SESSION_H

#include "ops.h"

#define SESSION_STEPS 24u

struct session_step {
    const char *name;
    int code;
    uint64_t hash; /* of what was answered; of no meaning if code is not 0 */
    struct qcbm_error err;
};

struct session {
    struct session_step steps[SESSION_STEPS];
    unsigned n;
};

/* Open @path, ask everything that reads, close it. Steps that need an image that did not open are left out. */
void session_read(struct session *s, const char *path);
/* Open @path for writing, stage @op, plan, commit, close it. The last step is how far it came. */
void session_edit(struct session *s, const char *path, const struct crash_op *op);

#endif
