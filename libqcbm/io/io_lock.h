/* io_lock.h - image locks on the byte ranges that QEMU uses (file-posix), as OFD locks
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_IO_LOCK_H
#define QCBMI_IO_LOCK_H

#include "qcbm-io.h"

/* Take the locks of @mode on the open file @fd, then look for conflicts; on conflict drop them again.
 * Returns 0, QCBM_E_LOCKED (with QEMU's wording: Failed to get "write" lock), QCBM_E_NOLOCKS, QCBM_E_IO. */
int qcbmi_lock_fd(int fd, enum qcbm_lock_mode mode, struct qcbm_error *err);

#endif
