/* cmd_checkpoint.c - qcbm checkpoint: one point in time over all disks of a machine that does not run
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "cmd_checkpoint.h"
#include "help_command.h"
#include "hint.h"

static const struct cmd *const actions[] = { &checkpoint_create,
                                             &checkpoint_verify,
                                             &checkpoint_mend,
                                             &checkpoint_reclaim,
                                             &checkpoint_xml,
                                             &checkpoint_recover,
                                             NULL };

static const struct opt checkpoint_opts[] = {
    { NULL, 0, OPT_COMMANDS, 0, "create|verify|mend|reclaim|xml|recover", "what to do", actions },
    OPT_END,
};

static const char *action_name(const struct cmd *action)
{
    return strchr(action->name, ' ') + 1;
}

static int unknown(const struct cmd *cmd, const char *word)
{
    struct hint hint = hint_of(word);

    cmd_error("qcbm checkpoint does not know '%s'", word);
    for (const struct cmd *const *a = actions; *a; a++)
        hint_offer(&hint, action_name(*a));
    hint_print(&hint, "");
    cmd_name_help(cmd);
    return EXIT_FAILED;
}

/* Where an action is named, that is run in place of this. */
static int run_checkpoint(const struct cmd *cmd, int argc, char **argv)
{
    if (argc < 2)
        return cmd_usage_error(cmd, "Expecting what to do: %s", checkpoint_opts[0].value);
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        help_command(cmd);
        return EXIT_DONE;
    }
    return unknown(cmd, argv[1]);
}

const struct cmd cmd_checkpoint = {
    "checkpoint",    "ACTION ...",   "One point in time over all disks of a machine that does not run.",
    checkpoint_opts, run_checkpoint, NULL
};
