/* hasher.h - the digest of a granule, of the kind that a manifest has
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_HASHER_H
#define QCBMI_HASHER_H

#include "base/sha256.h"
#include "format/manifest_file.h"

struct qcbmi_hasher {
    uint32_t kind; /* enum qcbm_digest */
    size_t bytes;  /* of a digest */
    uint64_t seed;
    struct qcbmi_sha256 sha256; /* open if it is of that kind */
};

/* Returns 0, QCBM_E_ARG (no such kind), QCBM_E_UNSUPPORTED (not in this build, or on this system), QCBM_E_NOMEM. */
int qcbmi_hasher_open(struct qcbmi_hasher *h, uint32_t kind, uint64_t seed, struct qcbm_error *err);
void qcbmi_hasher_close(struct qcbmi_hasher *h); /* fine on a zeroed struct */

/* On any thread. Returns 0 or QCBM_E_NOMEM. */
int qcbmi_hash(const struct qcbmi_hasher *h, const void *bytes, size_t len, uint8_t *out, struct qcbm_error *err);

#endif
