/* snapshots_out.h - the list of internal snapshots, as qemu-img prints it
 * SPDX-License-Identifier: MIT
 */
#ifndef QCBM_TOOL_SNAPSHOTS_OUT_H
#define QCBM_TOOL_SNAPSHOTS_OUT_H

#include "qcbm.h"

#include "json_write.h"

/* Print the first @count snapshots, which qcbm_snapshots_load() has loaded, with a heading; nothing if there are
 * none. */
void snapshots_print(const struct qcbm_image *img, uint32_t count);
/* The same as an array of JSON, with the members that qemu-img info has; @key is NULL where it stands alone. */
void snapshots_write(const struct qcbm_image *img, uint32_t count, const char *key, struct json_writer *w);

#endif
