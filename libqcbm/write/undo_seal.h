/* undo_seal.h - what is written into an undo file once it is complete: that the change is done, that an undo has begun
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_UNDO_SEAL_H
#define QCBMI_UNDO_SEAL_H

#include "image/image.h"
#include "write/undo_load.h"

/* The change that @path is about is complete and durable in @img. If this cannot be written it stays a change of which
 * nobody knows whether it was cut short, and an undo says so. */
void qcbmi_undo_seal(const char *path, struct qcbmi_image *img);

/* An undo of @img with @file, which lies at @path, will write next. What is known of the change stays in the seal. If
 * this cannot be written, as in a folder that is read only, an undo that is cut short must be forced to be repeated. */
void qcbmi_undo_begin(struct qcbmi_undo_file *file, const char *path, const struct qcbmi_image *img);

/* That undo is complete: the seal is what it was before, so no other image passes for one whose undo was cut short. */
void qcbmi_undo_end(const struct qcbmi_undo_file *file, const char *path);

#endif
