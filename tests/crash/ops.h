/* ops.h - the operations whose crash states are judged: a table
 * SPDX-License-Identifier: MIT */
#ifndef TESTS_OPS_H
#define TESTS_OPS_H

#include "io_record.h"

#define OP_NOT_HERE 1 /* the operation does not apply to this image, e.g. it needs a bitmap that is not there */

struct crash_op {
    const char *name;
    /* Stage the operation in @edit of @img. @path is the file that @img was loaded from, and is not changed.
     * 0, OP_NOT_HERE (QCBM_E_NOTFOUND does as well), or a code with @err filled, which is a failure of the test. */
    int (*run)(struct qcbm_edit *edit, struct qcbm_image *img, const char *path, struct qcbm_error *err);
    const char *named; /* bitmaps that it is about, each followed by a comma */
    bool not_in_use;   /* one that is in use is refused with QCBM_E_INUSE, which is OP_NOT_HERE, too */
};

extern const struct crash_op crash_ops[];
extern const size_t crash_n_ops;

/* What @ret of run(), or of the commit behind it, means: 0, OP_NOT_HERE or a code. */
int crash_op_outcome(const struct crash_op *op, int ret);

/* Run @op on @record as a program would, up to the commit; 0, OP_NOT_HERE or a code. @change (may be NULL) is called
 * between plan and commit. */
int crash_op_run(const struct crash_op *op, struct record *record, const char *path,
                 void (*change)(void *opaque, struct qcbm_edit *edit), void *opaque, qcbm_plan_fn *step,
                 struct qcbm_error *err);

#endif
