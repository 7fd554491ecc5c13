/* repair_rebuild.h - refcount table and blocks written anew
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_REPAIR_REBUILD_H
#define QCBMI_REPAIR_REBUILD_H

#include "repair/repair_parts.h"

/* Whatever the old ones are like: new ones behind the end of the file, counted from all that refers, and the header
 * switched to them by one write. What a readable old refcount says of a cluster that nobody refers to stays, as a leak.
 * QCBM_E_LIMIT where they would not fit into memory or into the largest refcount table. */
int qcbmi_repair_rebuild(struct qcbmi_repair *r, struct qcbm_error *err);

#endif
