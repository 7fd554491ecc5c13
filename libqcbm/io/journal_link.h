/* journal_link.h - the sign beside an image that a journal over several images is open, which a writer must not pass
 * SPDX-License-Identifier: MIT
 *
 * A symbolic link IMAGE.qcbm-journal that leads to the journal. It is there, durably, from before the first change that
 * the journal is about until behind the last. It lies beside the file itself, by whatever name that is found. */
#ifndef QCBMI_JOURNAL_LINK_H
#define QCBMI_JOURNAL_LINK_H

#include "qcbm-io.h"

/* @path from the root on, without links; its last part need not exist. Freed by the caller. NULL: QCBM_E_NOTFOUND,
 * QCBM_E_IO or QCBM_E_NOMEM in @err. */
char *qcbmi_full_path(const char *path, struct qcbm_error *err);

/* The same, but its last part is as it was typed: a link is not followed. */
char *qcbmi_full_in_folder(const char *path, struct qcbm_error *err);

/* Where the link beside @image leads to, from malloc(); *@to NULL: there is none. Returns 0, QCBM_E_NOMEM. */
int qcbmi_journal_link_find(const char *image, char **to, struct qcbm_error *err);

/* QCBM_E_UNSAFE, which names the journal, if there is such a link beside @image. */
int qcbmi_journal_link_check(const char *image, struct qcbm_error *err);

/* The following take full paths. Make the link; one that leads to @journal already is fine, another one is
 * QCBM_E_UNSAFE. Its entry in the folder is durable when this returns. */
int qcbmi_journal_link_make(const char *image, const char *journal, struct qcbm_error *err);
/* QCBM_E_UNSAFE if there is one that leads elsewhere: where, and what is to be done. */
int qcbmi_journal_link_check_own(const char *image, const char *journal, struct qcbm_error *err);
/* Is there one that leads to @journal? */
bool qcbmi_journal_link_is(const char *image, const char *journal);
/* Take it away, durably, if it leads to @journal. */
int qcbmi_journal_link_remove(const char *image, const char *journal, struct qcbm_error *err);

#endif
