/* opt_parse.h - a command line read by a table of options
 * SPDX-License-Identifier: MIT
 */
#ifndef QCBM_TOOL_OPT_PARSE_H
#define QCBM_TOOL_OPT_PARSE_H

#include "cmd.h"
#include "opt.h"

enum { OPT_GO_ON = -1 }; /* no exit code */

/* Read argv[1..] as GNU getopt_long() does: options and other arguments in any order, "--", bundled letters,
 * unambiguous beginnings of long names. @args is the command's struct, already filled with defaults. Prints --help and
 * errors itself. Returns OPT_GO_ON, or the exit code where there is nothing left to do. */
int opt_parse(const struct cmd *cmd, int argc, char **argv, void *args);

#endif
