/* manifest_file.c - the file of a manifest: header and records (docs/manifest-format.md)
 * SPDX-License-Identifier: MIT */
#include "format/manifest_file.h"

#include <inttypes.h>
#include <string.h>

#include "base/bytes.h"
#include "base/checked.h"
#include "base/digest.h"
#include "base/error.h"
#include "base/sha256.h"

enum { /* where the fields of the header lie */
       OFF_MAGIC = 0,
       OFF_VERSION = 8,
       OFF_LENGTH = 12,
       OFF_SIZE = 16,
       OFF_GRANULARITY = 24,
       OFF_KIND = 28,
       OFF_SEED = 32,
       OFF_TIME = 40,
       OFF_IMAGE_ID = 48,
       OFF_TEXT_LEN = 64,
       OFF_RESERVED = 68
};

/* The line feed shows a file that was sent as text, the first byte one that lost its eighth bit. */
static const uint8_t magic[MNF_MAGIC_BYTES] = { 0x89, 'Q', 'C', 'B', 'M', 'A', 'N', '\n' };

bool qcbmi_mnf_is(const uint8_t bytes[MNF_MAGIC_BYTES])
{
    return memcmp(bytes, magic, sizeof(magic)) == 0;
}

size_t qcbmi_mnf_digest_bytes(uint32_t kind)
{
    return kind == QCBM_DIGEST_XXH3 ? QCBMI_DIGEST_BYTES : kind == QCBM_DIGEST_SHA256 ? QCBMI_SHA256_BYTES : 0;
}

static int check_fields(const struct mnf_header *h, const uint8_t *bytes, struct qcbm_error *err)
{
    if (h->size == 0 || h->size > Q2_MAX_OFFSET || !is_aligned(h->size, Q2_SECTOR))
        return qcbmi_fail(err, QCBM_E_CORRUPT, OFF_SIZE,
                          "manifest: size %" PRIu64 ", allowed: multiples of 512 up to 2^63", h->size);
    if (h->gran_bits < MNF_MIN_GRANULARITY_BITS || h->gran_bits > MNF_MAX_GRANULARITY_BITS)
        return qcbmi_fail(err, QCBM_E_CORRUPT, OFF_GRANULARITY,
                          "manifest: granularity 2^%" PRIu32 ", allowed: 2^9 to 2^22", h->gran_bits);
    if (h->kind != QCBM_DIGEST_XXH3 && h->seed)
        return qcbmi_fail(err, QCBM_E_CORRUPT, OFF_SEED, "manifest: a seed for digests that take none");
    if (h->time < 0)
        return qcbmi_fail(err, QCBM_E_CORRUPT, OFF_TIME, "manifest: a time before 1970");
    if (h->text_len > MNF_MAX_TEXT)
        return qcbmi_fail(err, QCBM_E_CORRUPT, OFF_TEXT_LEN, "manifest: text of %" PRIu32 " bytes, allowed: up to %u",
                          h->text_len, MNF_MAX_TEXT);
    if (h->length != align_up(MNF_FIXED + (uint64_t)h->text_len, 8))
        return qcbmi_fail(err, QCBM_E_CORRUPT, OFF_LENGTH,
                          "manifest: header of %" PRIu32 " bytes with a text of %" PRIu32, h->length, h->text_len);
    if (!bytes_are_zero(bytes + OFF_RESERVED, MNF_FIXED - OFF_RESERVED))
        return qcbmi_fail(err, QCBM_E_CORRUPT, OFF_RESERVED, "manifest: reserved bytes are not zero");
    return 0;
}

int qcbmi_mnf_header_parse(const uint8_t *bytes, struct mnf_header *out, struct qcbm_error *err)
{
    uint32_t version = be32_load(bytes + OFF_VERSION);

    memset(out, 0, sizeof(*out));
    if (!qcbmi_mnf_is(bytes))
        return qcbmi_fail(err, QCBM_E_CORRUPT, OFF_MAGIC, "not a manifest of qcbm");
    if (version != MNF_VERSION)
        return qcbmi_fail(err, QCBM_E_UNSUPPORTED, OFF_VERSION,
                          "manifest: version %" PRIu32 ", this program knows version %u", version, MNF_VERSION);
    out->length = be32_load(bytes + OFF_LENGTH);
    out->size = be64_load(bytes + OFF_SIZE);
    out->gran_bits = be32_load(bytes + OFF_GRANULARITY);
    out->kind = be32_load(bytes + OFF_KIND);
    out->seed = be64_load(bytes + OFF_SEED);
    out->time = (int64_t)be64_load(bytes + OFF_TIME);
    memcpy(out->image_id, bytes + OFF_IMAGE_ID, sizeof(out->image_id));
    out->text_len = be32_load(bytes + OFF_TEXT_LEN);
    if (qcbmi_mnf_digest_bytes(out->kind) == 0)
        return qcbmi_fail(err, QCBM_E_UNSUPPORTED, OFF_KIND,
                          "manifest: digests of kind %" PRIu32 ", this program knows 1 and 2", out->kind);
    return check_fields(out, bytes, err);
}

int qcbmi_mnf_text_check(const uint8_t *bytes, const struct mnf_header *h, struct qcbm_error *err)
{
    const struct granule_text text = { "manifest", "text", MNF_FIXED, h->text_len, h->length - MNF_FIXED };

    return qcbmi_granule_text_check(bytes, &text, err);
}

size_t qcbmi_mnf_header_store(uint8_t *to, const struct mnf_header *h, const char *text)
{
    size_t length = (size_t)align_up(MNF_FIXED + (uint64_t)h->text_len, 8);

    memset(to, 0, length);
    memcpy(to + OFF_MAGIC, magic, sizeof(magic));
    be32_store(to + OFF_VERSION, MNF_VERSION);
    be32_store(to + OFF_LENGTH, (uint32_t)length);
    be64_store(to + OFF_SIZE, h->size);
    be32_store(to + OFF_GRANULARITY, h->gran_bits);
    be32_store(to + OFF_KIND, h->kind);
    be64_store(to + OFF_SEED, h->seed);
    be64_store(to + OFF_TIME, (uint64_t)h->time);
    memcpy(to + OFF_IMAGE_ID, h->image_id, sizeof(h->image_id));
    be32_store(to + OFF_TEXT_LEN, h->text_len);
    if (h->text_len)
        memcpy(to + MNF_FIXED, text, h->text_len);
    return length;
}

int qcbmi_mnf_record_parse(const uint8_t *bytes, uint64_t left, const struct granule_record *before, uint64_t offset,
                           struct granule_record *out, struct qcbm_error *err)
{
    int ret = qcbmi_granule_record_parse(bytes, "manifest", MNF_DIGESTS, left, offset, out, err);

    if (ret < 0 || out->kind == MNF_END)
        return ret;
    if (out->kind == MNF_DIGESTS && out->granules > MNF_MAX_DIGESTS)
        return qcbmi_fail(err, QCBM_E_CORRUPT, offset,
                          "manifest: a record of %" PRIu64 " digests, allowed: up to %" PRIu64, out->granules,
                          MNF_MAX_DIGESTS);
    if (before->kind == out->kind && (out->kind == MNF_ZEROS || before->granules != MNF_MAX_DIGESTS))
        return qcbmi_fail(err, QCBM_E_CORRUPT, offset, "manifest: a record that belongs to the one in front of it");
    return 0;
}
