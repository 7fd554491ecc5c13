/* data.h - the bytes that the guest reads, through all layers of a chain
 * SPDX-License-Identifier: MIT
 *
 * What cannot be read is an error and never zeros: a stream that does not inflate, a cluster or a table past the end of
 * its file, an encrypted one. An external data file is opened only where it was asked for, and when it is needed
 * first. */
#ifndef QCBMI_DATA_H
#define QCBMI_DATA_H

#include "format/q2_inflate.h"
#include "image/guest_map.h"

struct qcbmi_data;

enum qcbmi_data_flag {
    QCBMI_DATA_LAYER = 1u << 0,       /* this image alone: what it has not reads as zeros */
    QCBMI_DATA_FORCE_SHARE = 1u << 1, /* open other files as QCBM_OPEN_FORCE_SHARE does */
    QCBMI_DATA_FILES = 1u << 2,       /* open external data files */
    QCBMI_DATA_HOLES = 1u << 3        /* holes of raw data files are told as zeros: for who goes over all of a disk */
};

/* @img stays the caller's and must outlive it. Opens the backing files, which are held until qcbmi_data_close().
 * Returns what qcbmi_chain_open() returns. */
int qcbmi_data_open(struct qcbmi_image *img, unsigned flags, struct qcbmi_data **out, struct qcbm_error *err);
/* The same of a chain that is open already, and of which @layer is taken for the top; it must outlive the reader. */
int qcbmi_data_of_chain(const struct qcbmi_chain *chain, size_t layer, unsigned flags, struct qcbmi_data **out,
                        struct qcbm_error *err);
/* The data file of the top layer is @file, which is open already, by somebody who writes to it: it is neither opened
 * nor locked once more, and stays theirs. */
void qcbmi_data_lend_file(struct qcbmi_data *d, const struct qcbmi_io *file);
void qcbmi_data_close(struct qcbmi_data *d); /* NULL is fine */

/* Bytes of the largest cluster that any of its layers has; NULL: 0. */
uint64_t qcbmi_data_largest_cluster(const struct qcbmi_data *d);

/* Was it opened with @flags, and has the image not been written to since? */
bool qcbmi_data_serves(const struct qcbmi_data *d, unsigned flags);

/* Guest bytes [@off, @off + @len), which lie below the size rounded down to 512. @buf holds nothing of use on failure.
 * Returns 0, QCBM_E_CORRUPT, QCBM_E_UNSUPPORTED (encrypted, zstd in a build without, a data file nobody asked for),
 * QCBM_E_CHAIN (a data file that cannot be opened), QCBM_E_LOCKED, QCBM_E_IO, QCBM_E_NOMEM. */
int qcbmi_data_read(struct qcbmi_data *d, uint64_t off, void *buf, uint64_t len, struct qcbm_error *err);

/* ---- the two halves of it, for who reads on several threads ---- */

/* What is at @off, cut at @end, by one thread and best in guest order: after 0 qcbmi_data_fetch() can read it, if what
 * is in the file can be read. On failure @p->end is up to where the same failure is met, or @off if that is not known.
 * Returns what qcbmi_data_read() returns. */
int qcbmi_data_find(struct qcbmi_data *d, uint64_t off, uint64_t end, struct qcbmi_guest_piece *p,
                    struct qcbm_error *err);

/* The compressed cluster that was read last: a guest reads one in several pieces. Zeroed at the start; one for each
 * thread. */
struct qcbmi_unpacked {
    struct q2_inflate z;
    uint8_t *in, *out;
    uint64_t in_capacity, out_capacity;
    size_t layer;
    uint64_t cluster; /* guest offset of what is in out */
    bool full;        /* there is something in it */
};
void qcbmi_unpacked_free(struct qcbmi_unpacked *u); /* fine on a zeroed struct */

/* The bytes of @p, which was found, or of a part of it that was cut out: any thread, any order. */
int qcbmi_data_fetch(const struct qcbmi_data *d, const struct qcbmi_guest_piece *p, void *buf, struct qcbmi_unpacked *u,
                     struct qcbm_error *err);

#endif
