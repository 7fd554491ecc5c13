/* machine_commit.h - the edits of a machine's images, carried out together
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_MACHINE_COMMIT_H
#define QCBMI_MACHINE_COMMIT_H

#include "checkpoint/machine.h"

/* All edits of @m, or none. Without QCBM_OPEN_WRITE in @flags they are planned only. @undo and @journal may be NULL. */
int qcbmi_machine_commit(struct qcbmi_machine *m, unsigned flags, const char *undo, const char *journal,
                         struct qcbm_error *err);

#endif
