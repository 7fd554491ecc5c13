/* extents_write.h - extents in the forms of other programs, written
 * SPDX-License-Identifier: MIT
 */
#ifndef QCBM_TOOL_EXTENTS_WRITE_H
#define QCBM_TOOL_EXTENTS_WRITE_H

#include "extents_out.h"

/* Those of @from in one of the forms that are neither EXTENTS_HUMAN nor EXTENTS_JSON, as @to says: to->limit counts
 * those that the form has, which are the dirty ones alone in those of CSI and rbd. Memory is flat. @img is the image
 * that they are of. What a form rounds to, clusters for those of Xen, is rounded outward. @layer: of the image by
 * itself, which is no bitmap (EXTENTS_OVIRT has other members then). Returns what qcbm_extents_fill() returns, and
 * QCBM_E_ABORTED with to->lost. */
int extents_write(struct extents_out *to, enum extents_form form, bool layer, struct qcbm_image *img,
                  struct qcbm_extents *from, struct qcbm_error *err);

/* Do pages make sense of this form? Else it is one of the whole disk. */
bool extents_form_has_pages(enum extents_form form);

#endif
