/* help_command.h - help for people: the options of one command
 * SPDX-License-Identifier: MIT
 */
#ifndef QCBM_TOOL_HELP_COMMAND_H
#define QCBM_TOOL_HELP_COMMAND_H

#include "cmd.h"

void help_command(const struct cmd *cmd);

#endif
