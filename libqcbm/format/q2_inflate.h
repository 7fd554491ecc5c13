/* q2_inflate.h - the bytes of a compressed cluster
 * SPDX-License-Identifier: MIT */
#ifndef Q2_INFLATE_H
#define Q2_INFLATE_H

#include "base/error.h"

enum { Q2_COMPRESSION_ZLIB, Q2_COMPRESSION_ZSTD }; /* header, compression_type */

/* What is kept from one cluster to the next. Zeroed at the start. */
struct q2_inflate {
    void *zlib, *zstd;
};
void q2_inflate_free(struct q2_inflate *z); /* fine on a zeroed struct */

/* The first @out_len bytes, a cluster, of what @in holds, as QEMU reads it: what follows them in @in is ignored. Memory
 * does not depend on @in. @out holds nothing of use on failure.
 * Returns 0, QCBM_E_CORRUPT (no such stream, or a shorter one), QCBM_E_UNSUPPORTED (zstd, in a build without),
 * QCBM_E_NOMEM. */
int q2_inflate(struct q2_inflate *z, uint32_t type, const uint8_t *in, size_t in_len, uint8_t *out, size_t out_len,
               struct qcbm_error *err);

#endif
