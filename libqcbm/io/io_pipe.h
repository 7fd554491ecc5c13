/* io_pipe.h - what can only be appended to, as backend: a pipe, a socket, a terminal, a file that somebody else has
 * open
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_IO_PIPE_H
#define QCBMI_IO_PIPE_H

#include "io/io.h"

/* Writes go to @fd, each where the one before it ended, or they fail; nothing can be read. @fd stays the caller's. Its
 * size is what was written. Returns 0, QCBM_E_NOMEM. */
int qcbmi_pipe_open(struct qcbmi_io *io, int fd, struct qcbm_error *err);

#endif
