/* refine.h - granules that are dirty and hold what a reference holds, dropped from a dirty map
 * SPDX-License-Identifier: MIT
 *
 * Both disks are what the guest reads, through all layers. The dirty ranges are cut into pieces that are of one kind on
 * both sides; what is not decided by metadata alone is read in the order in which it lies in the file, many pieces at
 * once, and compared. A granule is dropped if nothing of it was found to differ. What cannot be read differs.
 *
 * refine.c goes over the map and makes batches, refine_compare.c reads and compares. */
#ifndef QCBMI_REFINE_H
#define QCBMI_REFINE_H

#include "bitmap/dirtymap.h"
#include "ops/refine_compare.h"

/* Drop from @map, which may be larger than the disk, what is no difference. Where the disk or the reference is damaged
 * or cannot be read, it stays. Memory beyond the map: 64 MiB at most.
 * Returns 0, QCBM_E_NOMEM, QCBM_E_ABORTED: then granules may have been dropped, each rightly. */
int qcbmi_refine(struct qcbmi_refine *r, struct qcbmi_dirtymap *map, struct qcbm_error *err);

#endif
