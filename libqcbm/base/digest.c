/* digest.c - XXH3-128 of bytes: finds damage and change, is no protection against a forger
 * SPDX-License-Identifier: MIT */
#include "digest.h"

#include <string.h>
#include <xxhash.h>

void qcbmi_digest(const void *bytes, size_t len, uint8_t out[QCBMI_DIGEST_BYTES])
{
    XXH128_canonical_t canonical;

    XXH128_canonicalFromHash(&canonical, XXH3_128bits(bytes, len));
    memcpy(out, canonical.digest, QCBMI_DIGEST_BYTES);
}

bool qcbmi_digest_is(const void *bytes, size_t len, const uint8_t digest[QCBMI_DIGEST_BYTES])
{
    uint8_t now[QCBMI_DIGEST_BYTES];

    qcbmi_digest(bytes, len, now);
    return memcmp(now, digest, sizeof(now)) == 0;
}
