/* sha256.h - SHA-256 of bytes, by libcrypto, which is loaded when it is asked for
 * SPDX-License-Identifier: MIT
 *
 * Linked in, libcrypto would be loaded and initialised whenever the library is: about a millisecond for each of the
 * many commands that take no digest of this kind. */
#ifndef QCBMI_SHA256_H
#define QCBMI_SHA256_H

#include <stddef.h>

#include "qcbm.h"

#define QCBMI_SHA256_BYTES 32u

struct qcbmi_sha256 {
    void *md; /* NULL: not open; else the algorithm, for any number of threads */
    const struct qcbmi_sha256_calls *calls;
};

/* Returns 0, QCBM_E_UNSUPPORTED (a build without, or libcrypto is not there), QCBM_E_NOMEM. */
int qcbmi_sha256_open(struct qcbmi_sha256 *s, struct qcbm_error *err);
void qcbmi_sha256_close(struct qcbmi_sha256 *s); /* fine on a zeroed struct */

/* Returns 0 or QCBM_E_NOMEM. */
int qcbmi_sha256(const struct qcbmi_sha256 *s, const void *bytes, size_t len, uint8_t out[QCBMI_SHA256_BYTES],
                 struct qcbm_error *err);

/* Piece by piece: @more fills @buf with the next bytes and says how many, 0 at the end; a negative value ends it. */
typedef int64_t qcbmi_sha256_more_fn(void *opaque, void *buf, size_t len, struct qcbm_error *err);
int qcbmi_sha256_pieces(const struct qcbmi_sha256 *s, qcbmi_sha256_more_fn *more, void *opaque,
                        uint8_t out[QCBMI_SHA256_BYTES], struct qcbm_error *err);

#endif
