/* mend.h - changes of an image whose bitmaps are damaged: what is mended with them is told
 * SPDX-License-Identifier: MIT
 */
#ifndef QCBM_TOOL_MEND_H
#define QCBM_TOOL_MEND_H

#include <stdbool.h>
#include <stdio.h>

#include "qcbm.h"

/* Was damage to bitmaps found when @img was opened, and may mending help where a change of it returned @ret? */
bool mend_is_damaged(const struct qcbm_image *img);
bool mend_may_help(int ret);

struct mend {
    bool (*named)(const void *opaque, const char *name); /* is that bitmap to go? */
    const void *opaque;
    const struct qcbm_image *img;
    uint32_t at; /* the bitmap looked at last */
    FILE *out;   /* what is mended, a line each: told once that is done */
    char *told;
    size_t size;
    struct qcbm_error refused;
};

/* qcbm_edit_begin_mending(). QCBM_E_UNSAFE where bitmaps that are not named would lose bits that can be read. */
int mend_begin(struct mend *m, struct qcbm_image *img, struct qcbm_edit **edit, struct qcbm_error *err);
/* What was mended, on stderr. Nothing after a plain edit. */
void mend_tell(struct mend *m);
void mend_clear(struct mend *m);

void mend_print_row(const struct qcbm_repair_row *row, const char *word);

#endif
