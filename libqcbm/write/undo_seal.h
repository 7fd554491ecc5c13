/* undo_seal.h - what is written into an undo file once it is complete: that the change is done, that an undo has begun
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_UNDO_SEAL_H
#define QCBMI_UNDO_SEAL_H

#include "format/undo_file.h"
#include "image/image.h"

/* The change that @path is about is complete and durable in @img. If this cannot be written it stays a change of which
 * nobody knows whether it was cut short, and an undo says so. */
void qcbmi_undo_seal(const char *path, struct qcbmi_image *img);

/* An undo with @path, whose seal is @old, will write next. If this cannot be written, as in a folder that is read only, an
 * undo that is cut short must be forced to be repeated. */
void qcbmi_undo_begin(const char *path, const struct qcbmi_undo_seal *old);

#endif
