/* verdict_out.h - qcbm check --untrusted: the verdict and its reasons
 * SPDX-License-Identifier: MIT
 */
#ifndef QCBM_TOOL_VERDICT_OUT_H
#define QCBM_TOOL_VERDICT_OUT_H

#include "opt_parse.h"

enum { EXIT_NOT_HARMLESS = 2 };

struct verdict_args {
    const char *path;
    uint64_t memory; /* 0 = default */
    enum opt_output output;
    bool quiet, progress;
};

/* The verdict on @img; where it could not be opened @img is NULL, and @why tells what the matter was. Returns the exit
 * code: 0 harmless, 2 not, 1 no verdict. */
int verdict_print(struct qcbm_image *img, const struct qcbm_error *why, const struct verdict_args *args);

#endif
