/* machine_commit.h - the edits of a machine's images, carried out together
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_MACHINE_COMMIT_H
#define QCBMI_MACHINE_COMMIT_H

#include "checkpoint/machine.h"
#include "format/journal_file.h"

struct qcbmi_machine_commit {
    enum qcbmi_journal_change change;
    const char *name;    /* of it, for the journal */
    const char *journal; /* NULL: beside the first image that is a file */
    const char *undo;    /* the folder for undo files: TARGET.undo of a top, TARGET.N.undo of the layer N; NULL: none */
    /* What shall be true of the image where a guest ran between a cut and the recovery: goals into @part. */
    int (*goals)(void *opaque, const struct qcbmi_machine_image *image, struct qcbmi_journal_disk *part,
                 struct qcbm_error *err);
    void *opaque;
};

/* All edits of @m, or none. With @flags without QCBM_OPEN_WRITE they are planned only. The images are good for closing
 * then. */
int qcbmi_machine_commit(struct qcbmi_machine *m, const struct qcbmi_machine_commit *how, unsigned flags,
                         struct qcbm_error *err);

#endif
