/* digest.h - XXH3-128 of bytes: finds damage and change, is no protection against a forger
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_DIGEST_H
#define QCBMI_DIGEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "qcbm.h"

#define QCBMI_DIGEST_BYTES 16u

/* The digest in its canonical form: big-endian, the high half first. */
void qcbmi_digest(const void *bytes, size_t len, uint8_t out[QCBMI_DIGEST_BYTES]);
/* The same with a seed: who does not know it cannot work towards equal digests as easily. */
void qcbmi_digest_seeded(const void *bytes, size_t len, uint64_t seed, uint8_t out[QCBMI_DIGEST_BYTES]);
bool qcbmi_digest_is(const void *bytes, size_t len, const uint8_t digest[QCBMI_DIGEST_BYTES]);

/* The same piece by piece. */
struct qcbmi_digest_state {
    void *xxh;
};
/* Returns 0 or QCBM_E_NOMEM. */
int qcbmi_digest_begin(struct qcbmi_digest_state *state, struct qcbm_error *err);
void qcbmi_digest_add(struct qcbmi_digest_state *state, const void *bytes, size_t len);
void qcbmi_digest_end(struct qcbmi_digest_state *state, uint8_t out[QCBMI_DIGEST_BYTES]); /* gives the memory back */

#endif
