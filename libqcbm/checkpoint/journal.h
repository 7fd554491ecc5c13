/* journal.h - a journal as a file: made, decided, marked, read, removed; and the links to it
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_JOURNAL_H
#define QCBMI_JOURNAL_H

#include "format/journal_file.h"
#include "io/io.h"

/* A journal is locked by whoever works with it, from before it has its name until behind its end: a recovery does not
 * touch one whose change is under way, though no link may lead to it yet. @lock_flags: QCBM_OPEN_WRITE, and
 * QCBM_OPEN_NO_LOCK to go on where the file system has no locks. QCBM_E_LOCKED: somebody is at work with it. */

/* Write it whole under a temporary name, and give it its own durably; @file is open for the decision. QCBM_E_EXISTS. */
int qcbmi_journal_create(struct qcbmi_io *file, const char *path, const struct qcbmi_journal *j, const uint8_t *bytes,
                         unsigned lock_flags, struct qcbm_error *err);
/* Open and read one that is there, open for the decision. @path is a full one. QCBM_E_UNSAFE: others may write to
 * it. */
int qcbmi_journal_open(struct qcbmi_io *file, const char *path, struct qcbmi_journal *j, unsigned lock_flags,
                       struct qcbm_error *err);

/* Write it down; a flush makes it durable. */
int qcbmi_journal_decide(struct qcbmi_io *file, const struct qcbmi_journal *j, enum qcbmi_journal_state state,
                         struct qcbm_error *err);
/* Without a flush: a mark that is lost costs a look at the image. */
int qcbmi_journal_mark(struct qcbmi_io *file, const struct qcbmi_journal *j, uint32_t index, struct qcbm_error *err);

/* Beside each image and each overlay to be, durably. On a device, whose folder may not take one, as well as that
 * goes. */
int qcbmi_journal_link_all(const struct qcbmi_journal *j, const char *path, struct qcbm_error *err);
int qcbmi_journal_unlink_all(const struct qcbmi_journal *j, const char *path, struct qcbm_error *err);
/* Remove the file. No link leads to it any more, so one that comes back behind a cut has nothing to be done. */
int qcbmi_journal_remove(const char *path, struct qcbm_error *err);

#endif
