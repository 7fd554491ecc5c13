/* io_shadow.h - a backend over another one, whose writes stay in memory: what a file would be
 * SPDX-License-Identifier: MIT
 *
 * A repair of several parts is tried out on it: each part sees what those before it did, and the file has none of it
 * yet. */
#ifndef QCBMI_IO_SHADOW_H
#define QCBMI_IO_SHADOW_H

#include "io/io.h"

struct qcbmi_shadow;

/* Over @below, which is borrowed, read alone, and must not change meanwhile. It holds at most @max bytes of memory; the
 * write that would pass them is QCBM_E_LIMIT. */
int qcbmi_shadow_new(struct qcbmi_io *below, uint64_t max, struct qcbmi_shadow **out, struct qcbm_error *err);
/* For qcbmi_io_init(); ->close frees the shadow, and leaves what is below open. */
const struct qcbm_io_ops *qcbmi_shadow_ops(void);

#endif
