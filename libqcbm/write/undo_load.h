/* undo_load.h - an undo file, opened and checked as a whole before anything is done with it
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_UNDO_LOAD_H
#define QCBMI_UNDO_LOAD_H

#include "write/undo_save.h"

struct qcbmi_undo_file {
    struct qcbmi_io io;
    struct qcbmi_undo_header h;
    struct qcbmi_undo_seal seal;
    struct qcbmi_undo_place *places; /* those that changed, sorted; then those that are only relied on */
    size_t n_changed, n, capacity;
    uint8_t *record; /* the one that was read last */
};

/* Open the undo file @path and check all of it. Close it on failure too.
 * Returns 0, QCBM_E_IO, QCBM_E_NOMEM, QCBM_E_ARG, QCBM_E_UNSUPPORTED, QCBM_E_CORRUPT. */
int qcbmi_undo_file_open(struct qcbmi_undo_file *u, const char *path, struct qcbm_error *err);
void qcbmi_undo_file_close(struct qcbmi_undo_file *u); /* fine on a zeroed struct */

/* Read record @i whole into u->record, and compare it with its digest. */
int qcbmi_undo_file_record(struct qcbmi_undo_file *u, size_t i, struct qcbm_error *err);

#endif
