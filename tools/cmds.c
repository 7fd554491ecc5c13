/* cmds.c - the table of sub-commands, in the order in which --help lists them
 * SPDX-License-Identifier: MIT
 */
#include <stddef.h>

#include "cmd.h"

const struct cmd *const cmds[] = { &cmd_synth,      &cmd_bitmap, &cmd_extents,  &cmd_delta,    &cmd_info,
                                   &cmd_check,      &cmd_map,    &cmd_picture,  &cmd_snapshot, &cmd_measure,
                                   &cmd_dump,       &cmd_edit,   &cmd_undo,     &cmd_rescue,   &cmd_apply,
                                   &cmd_checkpoint, &cmd_attach, &cmd_manifest, &cmd_tag,      NULL };
