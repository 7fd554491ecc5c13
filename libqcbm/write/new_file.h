/* new_file.h - a new file that is whole or not there
 * SPDX-License-Identifier: MIT
 *
 * It has another name until all of it is durable, and is locked as an image that is written; whatever ends the work
 * before that removes it, but a loss of power or a kill, which leave that other name. */
#ifndef QCBMI_NEW_FILE_H
#define QCBMI_NEW_FILE_H

#include "io/io.h"

struct qcbmi_new_file {
    struct qcbmi_io io; /* to be written, and for its owner alone */
    const char *path;   /* borrowed: the name that it will have */
    char *temporary;
};

/* Nothing is called @path, or QCBM_E_EXISTS. Returns also QCBM_E_ARG (no name), QCBM_E_IO, QCBM_E_NOSPACE,
 * QCBM_E_NOMEM. */
int qcbmi_new_file_begin(struct qcbmi_new_file *f, const char *path, struct qcbm_error *err);
/* Could that be, as far as it is to be seen without making it? */
int qcbmi_new_file_check(const char *path, struct qcbm_error *err);
/* The other name of @path; freed by the caller. */
char *qcbmi_new_file_temporary(const char *path, struct qcbm_error *err);
/* What a kill left under that name, if it is that: whoever is at work has it locked. */
void qcbmi_new_file_remove_leftover(const char *path);
/* After any outcome @ret of the work in between: 0 makes it durable and gives it its name, anything else removes it.
 * Returns @ret, or why that failed. Fine after a begin that failed. */
int qcbmi_new_file_end(struct qcbmi_new_file *f, int ret, struct qcbm_error *err);

#endif
