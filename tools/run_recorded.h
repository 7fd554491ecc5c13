/* run_recorded.h - a run of which one line of JSON is left, whatever becomes of it
 * SPDX-License-Identifier: MIT
 */
#ifndef QCBM_TOOL_RUN_RECORDED_H
#define QCBM_TOOL_RUN_RECORDED_H

#include "cmd.h"

/* Run @job in a process of its own and append the record to what --record names, in one write. Returns the exit code,
 * that of @job or 128 and the signal that ended it. Only with every_args.record. */
int run_recorded(const struct cmd *cmd, int argc, char **argv, int (*job)(const struct cmd *, int, char **));

#endif
