/* cmd_checkpoint_recover.c - qcbm checkpoint recover: one that was cut short is taken back, or completed
 * SPDX-License-Identifier: MIT
 */
#include "cmd_checkpoint.h"
#include "opt_parse.h"

struct recover_args {
    struct common_args common;
    const char *journal;
};

static const struct opt recover_opts[] = {
    OPT_ROW(struct recover_args, NULL, 0, OPT_ARG, journal, "FILE", "the journal"),
    OPT_END,
};

static int run_recover(const struct cmd *cmd, int argc, char **argv)
{
    struct recover_args args = { 0 };
    int code = opt_parse(cmd, argc, argv, &args);

    return code != OPT_GO_ON ? code : cmd_error("not there yet");
}

const struct cmd checkpoint_recover = { "checkpoint recover", NULL,        "Take back or complete what was cut short.",
                                        recover_opts,         run_recover, NULL };
