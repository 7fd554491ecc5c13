/* cmd_checkpoint_create.c - qcbm checkpoint create: a bitmap on every disk of a machine, or on none
 * SPDX-License-Identifier: MIT
 */
#include "cmd_checkpoint.h"
#include "opt_parse.h"

struct create_args {
    struct disk_args disks;
    const char *name;
};

static const struct opt create_opts[] = {
    OPT_ROW(struct create_args, NULL, 0, OPT_ARG, name, "CHECKPOINT", "the name of the checkpoint"),
    OPT_DISK(struct create_args),
    OPT_OVERLAY(struct create_args),
    OPT_END,
};

static int run_create(const struct cmd *cmd, int argc, char **argv)
{
    struct create_args args = { 0 };
    int code = opt_parse(cmd, argc, argv, &args);

    return code != OPT_GO_ON ? code : cmd_error("not there yet");
}

const struct cmd checkpoint_create = { "checkpoint create", NULL,       "Make a bitmap on every disk, or on none.",
                                       create_opts,         run_create, NULL };
