/* input.h - a file that a command reads beside images
 * SPDX-License-Identifier: MIT
 */
#ifndef QCBM_TOOL_INPUT_H
#define QCBM_TOOL_INPUT_H

#include <stdio.h>

struct input {
    FILE *file;
    char *held; /* from malloc(): what came through a pipe */
};

/* What does not come from a file, but through a pipe, is held in memory, so this is its limit. */
enum { INPUT_MAX_HELD = 64 << 20 };

/* Open @name, "-" for stdin. What comes through a pipe is read to its end here: whoever writes it may have the image
 * locked that will be opened next. Prints the error. Returns the exit code. */
int input_open(struct input *input, const char *name);
void input_close(struct input *input); /* fine after a failure and on a zeroed struct */

#endif
