/* data.h - the bytes that the guest reads, through all layers of a chain
 * SPDX-License-Identifier: MIT
 *
 * What cannot be read is an error and never zeros: a stream that does not inflate, a cluster or a table past the end of
 * its file, an encrypted one. An external data file is opened only where it was asked for, and when it is needed first. */
#ifndef QCBMI_DATA_H
#define QCBMI_DATA_H

#include "image/image.h"

struct qcbmi_data;

enum qcbmi_data_flag {
    QCBMI_DATA_LAYER = 1u << 0,       /* this image alone: what it has not reads as zeros */
    QCBMI_DATA_FORCE_SHARE = 1u << 1, /* open other files as QCBM_OPEN_FORCE_SHARE does */
    QCBMI_DATA_FILES = 1u << 2        /* open external data files */
};

/* @img stays the caller's and must outlive it. Opens the backing files, which are held until qcbmi_data_close().
 * Returns what qcbmi_chain_open() returns. */
int qcbmi_data_open(struct qcbmi_image *img, unsigned flags, struct qcbmi_data **out, struct qcbm_error *err);
void qcbmi_data_close(struct qcbmi_data *d); /* NULL is fine */

/* Was it opened with @flags, and has the image not been written to since? */
bool qcbmi_data_serves(const struct qcbmi_data *d, unsigned flags);

/* Guest bytes [@off, @off + @len), which lie below the size rounded down to 512. @buf holds nothing of use on failure.
 * Returns 0, QCBM_E_CORRUPT, QCBM_E_UNSUPPORTED (encrypted, zstd in a build without, a data file nobody asked for),
 * QCBM_E_CHAIN (a data file that cannot be opened), QCBM_E_LOCKED, QCBM_E_IO, QCBM_E_NOMEM. */
int qcbmi_data_read(struct qcbmi_data *d, uint64_t off, void *buf, uint64_t len, struct qcbm_error *err);

#endif
