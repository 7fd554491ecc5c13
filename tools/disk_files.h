/* disk_files.h - the files that a disk is made of, which nothing that is written takes the place of
 * SPDX-License-Identifier: MIT
 */
#ifndef QCBM_TOOL_DISK_FILES_H
#define QCBM_TOOL_DISK_FILES_H

#include "qcbm.h"

/* Is @out, the name of a file that will be replaced, by whatever name one of the files of this disk? @img may be NULL:
 * a raw disk. @chain may be NULL: it is opened for that, and where it cannot be, what the image itself names counts.
 * Prints the error. Returns the exit code. */
int disk_files_keep(const char *out, struct qcbm_image *img, struct qcbm_chain *chain);

#endif
