/* cmd_attach.h - what the parts of qcbm attach share
 * SPDX-License-Identifier: MIT
 */
#ifndef QCBM_TOOL_CMD_ATTACH_H
#define QCBM_TOOL_CMD_ATTACH_H

#include "common_args.h"
#include "plan_out.h"

enum { EXIT_NOT_GOOD = 2 };

struct attach_args {
    struct common_args common; /* the path is that of the metadata image */
    const char *data, *data_name, *bitmap;
    uint64_t cluster_size, granularity; /* UINT64_MAX: not given */
    bool extended_l2, disabled, verify, reset;
};

/* cmd_attach_out.c: the answer, with what libvirt needs; returns the exit code. */
int attach_print(const struct attach_args *args, const struct qcbm_attach_result *r);

/* cmd_attach_verify.c, cmd_attach_reset.c; both return the exit code. */
int attach_verify(const struct attach_args *args);
int attach_reset(const struct attach_args *args);

#endif
