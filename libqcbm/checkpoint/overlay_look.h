/* overlay_look.h - is a file the overlay that a journal is about, and has it what it was made for?
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_OVERLAY_LOOK_H
#define QCBMI_OVERLAY_LOOK_H

#include "bitmap/handle.h"
#include "format/journal_file.h"

/* @path is a name of the overlay of @d, or the device; @base is open. *@is_it: a qcow2 image on top of @base, not
 * shorter than the overlay was when it was made. A guest may have written to it, so it need not have its bytes.
 * *@lacks: it is, and a bitmap that is to be there is not, or does not record, or cannot be relied on. Locks nothing:
 * who holds @base for writing keeps guests out. Returns 0, QCBM_E_IO, QCBM_E_NOMEM. */
int qcbmi_overlay_look(const struct qcbmi_journal_disk *d, const struct qcbmi_image *base, const char *path,
                       bool *is_it, bool *lacks, struct qcbm_error *err);

#endif
