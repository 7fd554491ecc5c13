/* together.h - one change over several images: all of them get it, or none
 * SPDX-License-Identifier: MIT
 *
 * For whoever has an edit of each: the images are open for writing in a struct qcbmi_disks, the edits are begun and
 * filled. What goes on is in together.c. */
#ifndef QCBMI_TOGETHER_H
#define QCBMI_TOGETHER_H

#include "bitmap/bitmap_edit.h"
#include "checkpoint/disks.h"
#include "checkpoint/overlay_image.h"
#include "format/journal_file.h"
#include "write/commit.h"

struct qcbmi_member {
    struct qcbmi_disk *disk;
    struct qcbm_edit *edit;              /* owned; NULL: the image itself stays as it is */
    struct qcbmi_overlay_image *overlay; /* owned, from malloc(); NULL: there is none */
    /* Its part of the journal. The caller puts in goals, with qcbmi_journal_add_goal(): what is to be done where a
     * guest ran between a cut and the recovery. All else comes from qcbmi_together_plan(). */
    struct qcbmi_journal_disk part;

    /* for together.c */
    bool takes_part, commits;
    uint32_t index; /* in the journal */
    struct qcbmi_commit commit;
    bool fenced;
};

struct qcbmi_together {
    const char *name; /* of the change, for the journal */
    enum qcbmi_journal_change change;
    const char *journal;          /* as it was typed, or NULL: beside the first image that is a file */
    struct qcbmi_member *members; /* in the order of the disks */
    size_t n;
    /* from qcbmi_together_plan() on */
    char *journal_path; /* full; NULL if there is nothing to be done */
    struct qcbmi_journal whole;
    uint8_t *bytes;
    struct qcbmi_io file; /* the journal while it is open */
};

/* A member for each of @disks. Free it on failure, too. */
int qcbmi_together_begin(struct qcbmi_together *t, struct qcbmi_disks *disks, enum qcbmi_journal_change change,
                         const char *name, const char *journal, struct qcbm_error *err);
void qcbmi_together_free(struct qcbmi_together *t); /* fine on a zeroed struct */

/* The undo file of m->edit is to be TARGET.undo in @folder; NULL: there is to be none. */
int qcbmi_together_set_undo(struct qcbmi_member *m, const char *folder, struct qcbm_error *err);

/* Plan all edits, and find out all that may refuse them while nothing has been written. */
int qcbmi_together_plan(struct qcbmi_together *t, struct qcbm_error *err);
/* Carry it out. Nothing to do: 0. On failure the message says which of the states all of them are in, or that the
 * journal has to tell. The images are good for closing only, behind it. */
int qcbmi_together_commit(struct qcbmi_together *t, struct qcbm_error *err);

#endif
