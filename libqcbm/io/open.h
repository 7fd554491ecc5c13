/* open.h - from a name to what lies behind it: operations, identity, traits; and what names mean
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_OPEN_H
#define QCBMI_OPEN_H

#include "io/io.h"

/* Open the local file or block device @path: operations, identity and traits go into @io.
 * Returns 0, QCBM_E_NOTFOUND, QCBM_E_IO (with sys_errno), QCBM_E_UNSUPPORTED (not a regular file or block device),
 * QCBM_E_NOMEM. */
int qcbmi_open(struct qcbmi_io *io, const char *path, bool writable, struct qcbm_error *err);
/* The same of a descriptor, which is taken over, on failure too. */
int qcbmi_open_fd(struct qcbmi_io *io, int fd, bool writable, struct qcbm_error *err);
/* Make a new, empty file, open for writing, for its owner alone. QCBM_E_EXISTS if there is one of that name. */
int qcbmi_create(struct qcbmi_io *io, const char *path, struct qcbm_error *err);

/* Take the locks that @flags (enum qcbm_open_flag) ask for. QCBM_OPEN_NO_LOCK: go on where the file system has none. */
int qcbmi_lock(struct qcbmi_io *io, unsigned flags, struct qcbm_error *err);

/* Which file does @path lead to? Opens nothing. */
int qcbmi_identify(const char *path, struct qcbmi_file_id *out, struct qcbm_error *err);
/* Is it a block device? */
bool qcbmi_id_is_device(const struct qcbmi_file_id *id);
/* False if one of the two is not known. */
bool qcbmi_same_file(const struct qcbmi_file_id *a, const struct qcbmi_file_id *b);

/* What tells the open file from its copies, and stays when the system is started anew: a digest of its inode and of
 * when that was made. 0: not known, as of devices and of backends of callers. */
uint32_t qcbmi_file_mark(const struct qcbmi_io *io);

/* ---- names, as QEMU reads them ---- */

/* A colon before the first slash makes a protocol: "nbd:...", "json:{...}", "file:...". */
bool qcbmi_name_has_protocol(const char *name);

/* @name itself if it begins at the root, else in the folder of @image_path (may be NULL). Freed by the caller; NULL
 * without memory. */
char *qcbmi_name_beside(const char *image_path, const char *name, struct qcbm_error *err);

/* @path from the root on: behind the working directory unless it begins there. Links stay, as /dev/vg/lv does, which
 * leads to another device after the next start. Freed by the caller; NULL without memory, or without a working
 * directory. */
char *qcbmi_name_absolute(const char *path, struct qcbm_error *err);

/* What @name, found in the image at @image_path, means: as above, but one with a protocol stands for itself. */
char *qcbmi_name_full(const char *image_path, const char *name, struct qcbm_error *err);

/* The local file that @name stands for, a part of it: what is behind "file:", which is relative to the working
 * directory, or all of it. NULL for other protocols and json:. */
const char *qcbmi_name_local(const char *name);

#endif
