/* digest.h - XXH3-128 of bytes, at once or piece by piece
 * SPDX-License-Identifier: MIT
 *
 * Against accidents and mix-ups, not against forgers. */
#ifndef QCBMI_DIGEST_H
#define QCBMI_DIGEST_H

#include <stddef.h>
#include <stdint.h>

#include "qcbm.h"

struct qcbmi_digest {
    uint8_t bytes[16]; /* in XXH3's canonical form: big-endian */
};

void qcbmi_digest(const void *data, size_t len, struct qcbmi_digest *out);

struct qcbmi_digest_state {
    void *xxh;
};
/* Returns 0 or QCBM_E_NOMEM. */
int qcbmi_digest_begin(struct qcbmi_digest_state *state, struct qcbm_error *err);
void qcbmi_digest_add(struct qcbmi_digest_state *state, const void *data, size_t len);
/* Gives the memory back; @out may be NULL. Fine on a zeroed struct without @out. */
void qcbmi_digest_end(struct qcbmi_digest_state *state, struct qcbmi_digest *out);

#endif
