/* hasher.c - the digest of a granule, of the kind that a manifest has
 * SPDX-License-Identifier: MIT */
#include "manifest/hasher.h"

#include "base/digest.h"
#include "base/error.h"

int qcbmi_hasher_open(struct qcbmi_hasher *h, uint32_t kind, uint64_t seed, struct qcbm_error *err)
{
    *h = (struct qcbmi_hasher){ .kind = kind, .bytes = qcbmi_mnf_digest_bytes(kind), .seed = seed };
    if (h->bytes == 0)
        return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET, "there is no such kind of digest: %" PRIu32, kind);
    return kind == QCBM_DIGEST_SHA256 ? qcbmi_sha256_open(&h->sha256, err) : 0;
}

void qcbmi_hasher_close(struct qcbmi_hasher *h)
{
    qcbmi_sha256_close(&h->sha256);
}

int qcbmi_hash(const struct qcbmi_hasher *h, const void *bytes, size_t len, uint8_t *out, struct qcbm_error *err)
{
    if (h->kind == QCBM_DIGEST_SHA256)
        return qcbmi_sha256(&h->sha256, bytes, len, out, err);
    qcbmi_digest_seeded(bytes, len, h->seed, out);
    return 0;
}
