/* io_file.h - a local file or block device as backend
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_IO_FILE_H
#define QCBMI_IO_FILE_H

#include "io/io.h"

struct stat;

/* Open @path; regular files and block devices only, never blocks on a FIFO, close-on-exec. *@self goes with
 * qcbmi_file_ops(). Messages do not repeat the path.
 * Returns 0, QCBM_E_NOTFOUND ("No such file or directory"), QCBM_E_IO (with sys_errno), QCBM_E_UNSUPPORTED,
 * QCBM_E_NOMEM. */
int qcbmi_file_open(const char *path, bool writable, void **self, struct qcbm_error *err);
/* The same of a descriptor, which is taken over, on failure too. QCBM_E_ARG: it is open in a way that does not do. */
int qcbmi_file_take_fd(int fd, bool writable, void **self, struct qcbm_error *err);
/* Make a new, empty file, open for writing, for its owner alone. QCBM_E_EXISTS if there is one of that name. */
int qcbmi_file_create(const char *path, void **self, struct qcbm_error *err);
/* Make the entry of @path in its folder durable. */
int qcbmi_file_sync_folder(const char *path, struct qcbm_error *err);
/* Is there anything of that name, if only a link that leads nowhere? */
bool qcbmi_file_exists(const char *path);
/* Is it a file with a hard link? */
bool qcbmi_file_has_other_names(const char *path);
/* Give the file @temporary, which is durable, the name @path in the same folder, durably. QCBM_E_EXISTS if that is
 * taken. */
int qcbmi_file_publish(const char *temporary, const char *path, struct qcbm_error *err);
void qcbmi_file_remove(const char *path);
/* Is it of this user, and can no other write to it? */
bool qcbmi_file_is_own(const char *path);
/* Owner, group and mode of @like for @path, as far as that is allowed. */
void qcbmi_file_look_like(const char *path, const char *like);
const struct qcbm_io_ops *qcbmi_file_ops(void);

struct qcbmi_file_id qcbmi_file_get_id(const void *self);
#define QCBMI_DEVICE_INO UINT64_MAX /* of a block device, whose number is in .dev: no inode has this one */
struct qcbmi_file_id qcbmi_file_id_of(const struct stat *st);
struct qcbmi_file_traits qcbmi_file_get_traits(const void *self);
/* Bytes that a block device discards at once, as the kernel says; 0: it does not. */
uint64_t qcbmi_file_discard_granularity(const void *self);
/* When the file was made; zeros where the file system does not say. */
struct qcbm_io_time qcbmi_file_born(const void *self);

#endif
