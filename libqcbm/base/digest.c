/* digest.c - XXH3-128 of bytes, at once or piece by piece
 * SPDX-License-Identifier: MIT */
#include "digest.h"

#include <string.h>
#include <xxhash.h>

#include "error.h"

static void store(XXH128_hash_t hash, struct qcbmi_digest *out)
{
    XXH128_canonical_t canonical;

    XXH128_canonicalFromHash(&canonical, hash);
    memcpy(out->bytes, canonical.digest, sizeof(out->bytes));
}

void qcbmi_digest(const void *data, size_t len, struct qcbmi_digest *out)
{
    store(XXH3_128bits(data, len), out);
}

int qcbmi_digest_begin(struct qcbmi_digest_state *state, struct qcbm_error *err)
{
    state->xxh = XXH3_createState();
    if (!state->xxh)
        return qcbmi_fail_nomem(err);
    XXH3_128bits_reset(state->xxh);
    return 0;
}

void qcbmi_digest_add(struct qcbmi_digest_state *state, const void *data, size_t len)
{
    XXH3_128bits_update(state->xxh, data, len);
}

void qcbmi_digest_end(struct qcbmi_digest_state *state, struct qcbmi_digest *out)
{
    if (out)
        store(XXH3_128bits_digest(state->xxh), out);
    XXH3_freeState(state->xxh);
    state->xxh = NULL;
}
