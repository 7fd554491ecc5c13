/* output.h - a file that a command writes beside images
 * SPDX-License-Identifier: MIT
 */
#ifndef QCBM_TOOL_OUTPUT_H
#define QCBM_TOOL_OUTPUT_H

#include <stdbool.h>
#include <stdio.h>

struct output {
    const char *name;
    FILE *file;
    bool to_std; /* to stdout */
    bool made;   /* a file of ours: made durable, or removed */
    bool device;
    bool replaces;            /* a file that is there */
    char *target, *temporary; /* of a file of ours; temporary: what it is called until it is complete */
};

/* Open @name, "-" for stdout, or /dev/null in its place if @dry_run; what would be refused is refused there as well. A
 * file or a block device, which hold something already, are replaced only with @force, and never a qcow2 image, what
 * another program uses, or the file of the record. Prints the error. Returns the exit code. */
int output_open(struct output *out, const char *name, bool force, bool dry_run);

/* Is something lost when it is written? Then disk_files_keep() is asked before. */
bool output_replaces(const struct output *out);

/* With @code EXIT_DONE make all of it durable, else leave nothing that could be taken for it. Returns the exit code. */
int output_close(struct output *out, int code);

#endif
