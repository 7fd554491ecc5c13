/* bitmap_mend.h - an edit that begins with damaged bitmaps
 * SPDX-License-Identifier: MIT
 *
 * An edit takes the directory as it is, and refuses one that it would lose something of. This one takes what can be
 * read of it: what is sound stays where it is, of all else a new copy is made, in which what cannot be proven is dirty.
 * The plan of such an edit takes no cluster that any bitmap names, whatever its refcount is, and switches to the new
 * directory by one write in the header, as every edit does. */
#ifndef QCBMI_BITMAP_MEND_H
#define QCBMI_BITMAP_MEND_H

#include "bitmap/bitmap_edit.h"
#include "bitmap/bitmap_judge.h"

struct qcbmi_mend {
    struct qcbm_image *real; /* the handle of the caller */
    struct qcbmi_image *was; /* the image before any repair: where data was, and what was in use */
    struct qcbm_image view;  /* that of the edit: the same image, with the bitmaps that could be read */
    struct qcbmi_judge judge;
    qcbm_repair_fn *tell; /* NULL: nobody asks */
    void *opaque;
    bool needed; /* there is something to mend */
};

/* As qcbm_edit_begin(). @was and @were_shared as for qcbmi_judge_begin(). What is done is told row by row. */
int qcbmi_mend_begin(struct qcbm_image *handle, struct qcbmi_image *was, const struct qcbmi_bitset *were_shared,
                     qcbm_repair_fn *tell, void *opaque, struct qcbm_edit **out, struct qcbm_error *err);

/* qcbm_edit_begin() for a change that is about some of the bitmaps only. Where they are stale that would drop all of
 * them, and who made the others relies on them: so they are in the edit, recording, with all of them dirty, which is
 * all that is known. */
int qcbmi_edit_begin_keeping(struct qcbm_image *handle, struct qcbm_edit **out, struct qcbm_error *err);

/* ---- bitmap_shield.c ---- */

void qcbmi_mend_free(struct qcbmi_mend *mend); /* NULL is fine */

/* Why no such edit can be written, or 0. Marks of damage are no reason: the scan of the image is. */
int qcbmi_mend_check_writable(const struct qcbmi_image *img, struct qcbm_error *err);

/* For the plan: clusters that are not to be taken, and the end of what is given up. */
int qcbmi_mend_shield(const struct qcbmi_mend *mend, struct qcbmi_alloc *alloc, struct qcbm_error *err);
int qcbmi_mend_release(const struct qcbmi_mend *mend, const struct qcbmi_owners *owners, struct qcbmi_alloc *alloc,
                       struct qcbmi_plan *plan, struct qcbm_error *err);

#endif
