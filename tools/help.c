/* help.c - help for people: the commands, and words that are none
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "help.h"
#include "help_command.h"
#include "hint.h"
#include "opt.h"

void help_overview(FILE *out)
{
    fprintf(out, "Usage: qcbm COMMAND [OPTION]... ARGUMENT...\nDirty bitmaps of qcow2 images, while no guest runs.\n\n"
                 "Commands:\n");
    for (const struct cmd *const *c = cmds; *c; c++)
        fprintf(out, "  %-12s%s\n", (*c)->name, (*c)->summary);
    fprintf(out, "  %-12s%s\n", "help", "Show this help, or with the name of a command its options.");
    fprintf(out, "\n  --help      show this help; qcbm COMMAND --help shows the options of one command\n"
                 "  --version   show the version, and what shuts reading commands in\n\n"
                 "What else is to be done with an image, convert or commit or resize, qemu-img does.\n"
                 "Commands that only read take an NBD server for an image, too: --no-lock nbd://HOST/EXPORT.\n\n"
                 "Exit code: 0 done, 1 failed. See also: man qcbm\n");
}

const struct cmd *help_find(const char *name)
{
    for (const struct cmd *const *c = cmds; *c; c++) {
        if (strcmp((*c)->name, name) == 0)
            return *c;
    }
    return NULL;
}

int help_about(const char *name, const char *action)
{
    const struct cmd *cmd = name ? help_find(name) : NULL;

    if (name && (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0))
        name = NULL;
    if (name && !cmd && strcmp(name, "help") != 0)
        return help_unknown(name);
    if (cmd && action && !opt_command(cmd->opts, action)) {
        cmd_error("qcbm %s does not know '%s'", name, action);
        cmd_name_help(cmd);
        return EXIT_FAILED;
    }
    if (cmd)
        help_command(action ? opt_command(cmd->opts, action) : cmd);
    else
        help_overview(stdout);
    return EXIT_DONE;
}

static bool is_of_qemu_img(const char *name)
{
    static const char *const names[] = { "amend",  "bench", "commit", "compare", "convert",
                                         "create", "dd",    "rebase", "resize" };

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(names[i], name) == 0)
            return true;
    }
    return false;
}

/* "qcbm list" and "qcbm add": what qcbm bitmap does is an option of it. */
static bool is_of_bitmap(const char *name)
{
    for (const struct opt *opt = cmd_bitmap.opts; opt->kind != OPT_KIND_END; opt++) {
        bool job = opt->kind == OPT_ACTION || opt->kind == OPT_STRING || opt->kind == OPT_FLAG;

        if (job && opt->name && strcmp(opt->name, name) == 0)
            return true;
    }
    return false;
}

static void hint_commands(const char *name)
{
    struct hint hint = hint_of(name);

    for (const struct cmd *const *c = cmds; *c; c++)
        hint_offer(&hint, (*c)->name);
    hint_offer(&hint, "help");
    hint_print(&hint, "");
}

int help_unknown(const char *name)
{
    cmd_error("Command not found: %s", name);
    if (is_of_qemu_img(name))
        cmd_hint("that is a job for qemu-img: qemu-img %s", name);
    else if (strcmp(name, "repair") == 0)
        cmd_hint("did you mean 'qcbm check -r all'? 'qcbm check --explain' tells first what is wrong");
    else if (is_of_bitmap(name))
        cmd_hint("did you mean 'qcbm bitmap --%s'?", name);
    else
        hint_commands(name);
    cmd_name_help(NULL);
    return EXIT_FAILED;
}
