/* mend.h - changes of an image whose bitmaps are damaged: what is mended with them is told
 * SPDX-License-Identifier: MIT
 */
#ifndef QCBM_TOOL_MEND_H
#define QCBM_TOOL_MEND_H

#include "qcbm.h"

/* Was damage to bitmaps found when @img was opened, and may mending help where a change of it returned @ret? */
bool mend_is_damaged(const struct qcbm_image *img);
bool mend_may_help(int ret);

/* qcbm_edit_begin_mending(), each row a line on stderr. QCBM_E_UNSAFE where bitmaps would go that nobody can name. */
int mend_begin(struct qcbm_image *img, struct qcbm_edit **edit, struct qcbm_error *err);

void mend_print_row(const struct qcbm_repair_row *row, const char *word);

#endif
