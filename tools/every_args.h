/* every_args.h - the options that every command has: how a run is recorded, and its manners
 * SPDX-License-Identifier: MIT
 */
#ifndef QCBM_TOOL_EVERY_ARGS_H
#define QCBM_TOOL_EVERY_ARGS_H

#include <stdbool.h>
#include <stdint.h>

#include "opt.h"

struct every_args {
    const char *record; /* a file, "-" for stdout; NULL: no record */
    const char *record_dir;
    uint64_t max_read; /* bytes a second, 0: as many as there are */
    bool tempfail, nice;
    bool help;
    const char *image; /* as it was typed, where that can be told; NULL: none */
};

/* Rows of struct every_args, ended by OPT_END. */
extern const struct opt every_opts[];

/* What was asked for on this command line. */
extern struct every_args every_args;

/* The command is to write data to stdout: with a record that is taken. Prints the error; false: there is none. */
bool every_refuses_stdout(void);

#endif
