/* opt.c - one table of options and arguments per command: parsing, help and completion come from it
 * SPDX-License-Identifier: MIT
 */
#include "opt.h"

const struct opt opt_help = { .name = "help", .letter = 'h', .kind = OPT_FLAG, .help = "show this help" };

bool opt_is_argument(const struct opt *opt)
{
    return opt->kind == OPT_ARG || opt->kind == OPT_ARG_PERHAPS || opt->kind == OPT_ARGS ||
           opt->kind == OPT_ARGS_PERHAPS || opt->kind == OPT_COMMANDS || opt->kind == OPT_ARG_SURPLUS;
}
