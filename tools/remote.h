/* remote.h - images and disks behind an NBD server, which the user names by a URI
 * SPDX-License-Identifier: MIT
 *
 * libqcbm-nbd is loaded when the first URI is met, and not before: it brings libraries along that take longer to load
 * than a small image takes to be shown. */
#ifndef QCBM_TOOL_REMOTE_H
#define QCBM_TOOL_REMOTE_H

#include <stdbool.h>
#include <stdint.h>

#include "qcbm-io.h"
#include "uri.h"

/* Connect to @uri, unless that was done: before the process is shut in. @context of the guest's disk may be NULL. One
 * that failed fails in the same way again. @err may be NULL. Returns 0 or a code of qcbm_nbd_open(). Connections last
 * until the program ends. */
int remote_connect(const char *uri, const char *context, struct qcbm_error *err);
/* Is there any? */
bool remote_is_connected(void);

/* A backend for calls of the library; it stays open whatever they do. */
const struct qcbm_io_ops *remote_ops(void);
void *remote_self(const char *uri);

uint64_t remote_size(const char *uri);
/* As qcbm_nbd_extents(). */
typedef int remote_extent_fn(void *opaque, uint64_t offset, uint64_t length, uint32_t flags);
int remote_extents(const char *uri, const char *context, remote_extent_fn *fn, void *opaque, struct qcbm_error *err);

/* After an image at @path was opened: if that is a URI, say once what is missing there. */
void remote_warn_of_locks(const char *path);

/* Connect to a disk of which a bitmap is made, not to an image: refused without --no-lock as the library refuses an
 * image, and warned of. Tells what fails; returns an exit code. */
int remote_connect_to_disk(const char *uri, const char *context, bool no_lock);

#endif
