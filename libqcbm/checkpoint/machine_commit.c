/* machine_commit.c - the edits of a machine's images, carried out together
 * SPDX-License-Identifier: MIT */
#include "checkpoint/machine_commit.h"

int qcbmi_machine_commit(struct qcbmi_machine *m, unsigned flags, const char *undo, const char *journal,
                         struct qcbm_error *err)
{
    int ret = 0;

    (void)undo;
    (void)journal;
    for (size_t i = 0; ret == 0 && i < m->n_images; i++)
        if (m->images[i].edit)
            ret = qcbm_edit_plan(m->images[i].edit, NULL, 0, NULL, NULL, err);
    for (size_t i = 0; ret == 0 && (flags & QCBM_OPEN_WRITE) && i < m->n_images; i++)
        if (m->images[i].edit)
            ret = qcbm_edit_commit(m->images[i].edit, NULL, 0, err);
    return ret;
}
