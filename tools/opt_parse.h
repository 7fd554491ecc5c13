/* opt_parse.h - a command line read by a table of options
 * SPDX-License-Identifier: MIT
 */
#ifndef QCBM_TOOL_OPT_PARSE_H
#define QCBM_TOOL_OPT_PARSE_H

#include "cmd.h"
#include "every_args.h"
#include "opt.h"

enum { OPT_GO_ON = -1 }; /* no exit code */

/* Read argv[1..] as GNU getopt_long() does: options and other arguments in any order, "--", bundled letters,
 * unambiguous beginnings of long names. @args is the command's struct, already filled with defaults. Prints --help and
 * errors itself. Returns OPT_GO_ON, or the exit code where there is nothing left to do. */
int opt_parse(const struct cmd *cmd, int argc, char **argv, void *args);

/* Before a command is run, without a word and whatever is wrong with the line: the record that is asked for, --help,
 * and the image. */
void opt_look(const struct cmd *cmd, int argc, char **argv, struct every_args *out);

#endif
