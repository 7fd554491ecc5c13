/* undo_save.h - what a plan will overwrite, saved into a new undo file before the first write
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_UNDO_SAVE_H
#define QCBMI_UNDO_SAVE_H

#include "format/undo_file.h"
#include "write/plan.h"

/* A record of an undo file, when it is made and when it is read. */
struct qcbmi_undo_place {
    struct qcbmi_undo_record r;
    const struct qcbmi_plan_write *write; /* made: where its bytes come from */
    uint64_t at;                          /* read: where it lies in the undo file */
};

/* Make the file plan->undo_path and save into it what the plan overwrites, and the digests by which a later undo knows
 * the image. When it returns 0 all of that is durable; on failure there is no such file, unless it was there before.
 * Returns 0, QCBM_E_EXISTS, QCBM_E_IO, QCBM_E_NOSPACE, QCBM_E_NOMEM, QCBM_E_LIMIT. */
int qcbmi_undo_save(const struct qcbmi_plan *plan, struct qcbmi_image *img, struct qcbm_error *err);

/* Digest of those fields of the header that no change of bitmaps touches. Where @n of @places, sorted, are given, what
 * they have of these fields counts as zeros: they are compared by themselves. */
void qcbmi_undo_identity(const struct qcbmi_image *img, const struct qcbmi_undo_place *places, size_t n,
                         uint8_t out[QCBMI_DIGEST_BYTES]);
/* Set to zero what @places (sorted, of kinds that change) have of the image's bytes [@off, @off + @len) in @bytes. */
void qcbmi_undo_mask(const struct qcbmi_undo_place *places, size_t n, uint64_t off, uint8_t *bytes, uint64_t len);

#endif
