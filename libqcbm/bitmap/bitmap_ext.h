/* bitmap_ext.h - the bitmaps extension in the header: put in, switched, taken out
 * SPDX-License-Identifier: MIT
 *
 * Each write stays within one 512-byte sector, and after each stage the header is valid and complete: a torn write of
 * the whole first cluster can drop the backing file in silence (docs/crash-safety.md). */
#ifndef QCBMI_BITMAP_EXT_H
#define QCBMI_BITMAP_EXT_H

#include "bitmap/bitmap_list.h"
#include "write/plan.h"

/* Add to @plan (whose header copy is initialised) what makes @ext the bitmaps extension of the image. Bytes that nobody
 * sees yet go to @prepare_stage, the rest to new stages at the end.
 * QCBM_E_NOSPACE: no room in the first cluster to do it safely. */
int qcbmi_ext_plan_set(const struct qcbm_image *handle, struct qcbmi_plan *plan, size_t prepare_stage,
                       const struct q2_bitmaps_ext *ext, struct qcbm_error *err);

/* The same for taking the extension out, with the last bitmap. */
int qcbmi_ext_plan_remove(const struct qcbm_image *handle, struct qcbmi_plan *plan, struct qcbm_error *err);

/* Of an image without the extension: its autoclear bit goes. */
int qcbmi_ext_plan_clear_alone(struct qcbmi_plan *plan, struct qcbm_error *err);

/* The format demands that unknown autoclear bits go before anything else changes; no write if there are none. */
int qcbmi_ext_plan_clear_unknown(const struct qcbmi_image *img, struct qcbmi_plan *plan, struct qcbm_error *err);

#endif
