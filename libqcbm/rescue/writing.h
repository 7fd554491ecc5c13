/* writing.h - the new image: tables, data, bitmaps, refcounts, and the header at last
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_WRITING_H
#define QCBMI_WRITING_H

#include "rescue/tell.h"

struct qcbmi_writing {
    struct qcbmi_rescue *r;
    struct qcbmi_io *to; /* NULL: nothing is written, ranges are told all the same */
    struct qcbmi_tell tell;
    uint64_t bytes_copied, file_size;
    uint32_t bitmaps_kept, bitmaps_lost;
};

/* Data clusters lie where they lay in the old file, so encrypted ones and compressed ones are good there, too; all else
 * is behind them. Returns 0, QCBM_E_IO, QCBM_E_NOSPACE, QCBM_E_NOMEM, QCBM_E_LIMIT, QCBM_E_ABORTED. */
int qcbmi_rescue_write(struct qcbmi_writing *w, struct qcbm_error *err);

#endif
