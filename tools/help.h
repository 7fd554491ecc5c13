/* help.h - help for people: the commands, and words that are none
 * SPDX-License-Identifier: MIT
 */
#ifndef QCBM_TOOL_HELP_H
#define QCBM_TOOL_HELP_H

#include <stdio.h>

#include "cmd.h"

/* All commands. */
void help_overview(FILE *out);
/* "qcbm help [COMMAND [ACTION]]"; either may be NULL. Returns the exit code. */
int help_about(const char *name, const char *action);
/* The command of that name, or NULL. */
const struct cmd *help_find(const char *name);
/* Say that @name is no command, and what may have been meant. Returns EXIT_FAILED. */
int help_unknown(const char *name);

#endif
