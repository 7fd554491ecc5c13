/* delta_args.h - what the parts of qcbm delta share: its arguments
 * SPDX-License-Identifier: MIT
 */
#ifndef QCBM_TOOL_DELTA_ARGS_H
#define QCBM_TOOL_DELTA_ARGS_H

#include "common_args.h"

struct delta_args {
    struct common_args common;
    char **names; /* as many as there are, up to NULL: IMAGE OUT, or D, or D1 D2... OUT */
    const char *bitmap, *since, *since_snapshot, *snapshot, *refine, *refine_against, *refine_format;
    const char *form, *compression, *id, *parent_id, *note;
    uint64_t granularity, cluster_size;
    bool info, verify, merge, force_parent, chain, layer;
};
COMMON_ARGS_FIRST(struct delta_args);

/* Where one is read: it is read more than once. */
#define DELTA_NO_PIPE "a delta is read from a file, and not from a pipe: store it first, and name that"

static inline size_t delta_count_names(const struct delta_args *args)
{
    size_t n = 0;

    while (args->names[n])
        n++;
    return n;
}

/* cmd_delta_make.c, cmd_delta_info.c, cmd_delta_merge.c: the ways of the command. All return the exit code. */
int delta_make(const struct cmd *cmd, struct delta_args *args);
int delta_info(const struct cmd *cmd, struct delta_args *args);
int delta_merge(const struct cmd *cmd, struct delta_args *args);

#endif
