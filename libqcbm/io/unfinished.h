/* unfinished.h - what lies beside an image while a change of it is under way that takes more than one command to finish
 * SPDX-License-Identifier: MIT
 *
 * Whoever opens an image for writing asks here first. */
#ifndef QCBMI_UNFINISHED_H
#define QCBMI_UNFINISHED_H

#include "qcbm.h"

/* @path without links, on which names of files beside it are built; freed by the caller. NULL: out of memory. */
char *qcbmi_unfinished_prefix(const char *path, struct qcbm_error *err);
/* The state file of an apply: PREFIX.qcbm-apply. Freed by the caller. */
char *qcbmi_unfinished_name(const char *prefix, struct qcbm_error *err);
/* QCBM_E_UNSAFE: something is half done to the image @path, and must be finished first. */
int qcbmi_unfinished_refuse(const char *path, struct qcbm_error *err);

#endif
