/* manners.h - how much of the machine the reading of files takes, as this process has asked for
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_MANNERS_H
#define QCBMI_MANNERS_H

#include <stddef.h>

#include "qcbm.h"

/* Before @want bytes are read: how many of them may be, 1 at least, if it was time for them when this returns. */
size_t qcbmi_manners_before_read(size_t want);
/* A file is done with; it is about to be closed. */
void qcbmi_manners_before_close(int fd);

#endif
