/* leak_count.h - the leaked clusters of an image, for who wants to know nothing else that a check tells
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_LEAK_COUNT_H
#define QCBMI_LEAK_COUNT_H

#include "base/progress.h"
#include "bitmap/lost_tables.h"

/* One pass over all tables and refcounts, or more if counting would take more than @memory bytes. @clues begins with
 * the image and its bitmaps, holes and leaks are filled in; the leaks are to be freed on failure too.
 * Returns 0, QCBM_E_IO, QCBM_E_NOMEM, QCBM_E_ABORTED; and where leaks cannot be told QCBM_E_CORRUPT or QCBM_E_LIMIT. */
int qcbmi_leaks_count(struct qcbmi_lost_clues *clues, uint64_t memory, struct qcbmi_progress *progress,
                      struct qcbm_error *err);

#endif
