/* snapshots_out.h - the list of internal snapshots, as qemu-img prints it
 * SPDX-License-Identifier: MIT
 */
#ifndef QCBM_TOOL_SNAPSHOTS_OUT_H
#define QCBM_TOOL_SNAPSHOTS_OUT_H

#include "qcbm.h"

/* Print the first @count snapshots, which qcbm_snapshots_load() has loaded, with a heading; nothing if there are none. */
void snapshots_print(const struct qcbm_image *img, uint32_t count);

#endif
