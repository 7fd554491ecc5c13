/* digest.c - XXH3-128 of bytes: finds damage and change, is no protection against a forger
 * SPDX-License-Identifier: MIT */
#include "base/digest.h"

#include <string.h>
#include <xxhash.h>

#include "base/error.h"

static void store(XXH128_hash_t hash, uint8_t out[QCBMI_DIGEST_BYTES])
{
    XXH128_canonical_t canonical;

    XXH128_canonicalFromHash(&canonical, hash);
    memcpy(out, canonical.digest, QCBMI_DIGEST_BYTES);
}

void qcbmi_digest(const void *bytes, size_t len, uint8_t out[QCBMI_DIGEST_BYTES])
{
    store(XXH3_128bits(bytes, len), out);
}

void qcbmi_digest_seeded(const void *bytes, size_t len, uint64_t seed, uint8_t out[QCBMI_DIGEST_BYTES])
{
    store(XXH3_128bits_withSeed(bytes, len, seed), out);
}

bool qcbmi_digest_is(const void *bytes, size_t len, const uint8_t digest[QCBMI_DIGEST_BYTES])
{
    uint8_t now[QCBMI_DIGEST_BYTES];

    qcbmi_digest(bytes, len, now);
    return memcmp(now, digest, sizeof(now)) == 0;
}

int qcbmi_digest_begin(struct qcbmi_digest_state *state, struct qcbm_error *err)
{
    state->xxh = XXH3_createState();
    if (!state->xxh)
        return qcbmi_fail_nomem(err);
    XXH3_128bits_reset(state->xxh);
    return 0;
}

void qcbmi_digest_add(struct qcbmi_digest_state *state, const void *bytes, size_t len)
{
    XXH3_128bits_update(state->xxh, bytes, len);
}

void qcbmi_digest_end(struct qcbmi_digest_state *state, uint8_t out[QCBMI_DIGEST_BYTES])
{
    store(XXH3_128bits_digest(state->xxh), out);
    XXH3_freeState(state->xxh);
    state->xxh = NULL;
}
