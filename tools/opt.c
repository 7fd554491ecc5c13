/* opt.c - one table of options and arguments per command: parsing, help and completion come from it
 * SPDX-License-Identifier: MIT
 */
#include "opt.h"

#include <string.h>

#include "cmd.h"

const struct opt opt_help = { .name = "help", .letter = 'h', .kind = OPT_FLAG, .help = "show this help" };

const struct cmd *opt_command(const struct opt *opts, const char *word)
{
    if (opts[0].kind != OPT_COMMANDS)
        return NULL;
    for (const struct cmd *const *c = opts[0].detail; *c; c++) {
        if (strcmp(strchr((*c)->name, ' ') + 1, word) == 0)
            return *c;
    }
    return NULL;
}

bool opt_is_argument(const struct opt *opt)
{
    return opt->kind == OPT_ARG || opt->kind == OPT_ARG_PERHAPS || opt->kind == OPT_ARGS ||
           opt->kind == OPT_ARGS_PERHAPS || opt->kind == OPT_COMMANDS || opt->kind == OPT_ARG_SURPLUS;
}
