/* bitmap_file.c - qcbm's own file of one bitmap: header and records (docs/bitmap-format.md)
 * SPDX-License-Identifier: MIT */
#include "format/bitmap_file.h"

#include <inttypes.h>
#include <string.h>

#include "base/bytes.h"
#include "base/checked.h"
#include "base/error.h"

enum { /* where the fields of the header lie */
       OFF_MAGIC = 0,
       OFF_VERSION = 8,
       OFF_LENGTH = 12,
       OFF_SIZE = 16,
       OFF_FLAGS = 24,
       OFF_GRANULARITY = 28,
       OFF_NAME_LEN = 32,
       OFF_RESERVED = 36,
       OFF_FINGERPRINT = 48
};

/* The line feed shows a file that was sent as text, the first byte one that lost its eighth bit. */
static const uint8_t magic[8] = { 0x89, 'Q', 'C', 'B', 'M', 'A', 'P', '\n' };

static int check_fields(const struct bmf_header *h, const uint8_t *bytes, struct qcbm_error *err)
{
    if (h->size == 0 || h->size > Q2_MAX_OFFSET || !is_aligned(h->size, Q2_SECTOR))
        return qcbmi_fail(err, QCBM_E_CORRUPT, OFF_SIZE,
                          "bitmap file: size %" PRIu64 ", allowed: multiples of 512 up to 2^63", h->size);
    if (h->flags & ~(BMF_ENABLED | BMF_HAS_FINGERPRINT))
        return qcbmi_fail(err, QCBM_E_CORRUPT, OFF_FLAGS, "bitmap file: unknown flags 0x%" PRIx32, h->flags);
    if (h->gran_bits < Q2_MIN_GRANULARITY_BITS || h->gran_bits > Q2_MAX_GRANULARITY_BITS)
        return qcbmi_fail(err, QCBM_E_CORRUPT, OFF_GRANULARITY,
                          "bitmap file: granularity 2^%" PRIu32 ", allowed: 2^9 to 2^31", h->gran_bits);
    if (h->name_len == 0 || h->name_len > Q2_MAX_BITMAP_NAME)
        return qcbmi_fail(err, QCBM_E_CORRUPT, OFF_NAME_LEN, "bitmap file: name of %" PRIu32 " bytes, allowed: 1 to %u",
                          h->name_len, Q2_MAX_BITMAP_NAME);
    if (h->length != align_up(BMF_FIXED + (uint64_t)h->name_len, 8))
        return qcbmi_fail(err, QCBM_E_CORRUPT, OFF_LENGTH,
                          "bitmap file: header of %" PRIu32 " bytes with a name of %" PRIu32, h->length, h->name_len);
    if (!bytes_are_zero(bytes + OFF_RESERVED, OFF_FINGERPRINT - OFF_RESERVED))
        return qcbmi_fail(err, QCBM_E_CORRUPT, OFF_RESERVED, "bitmap file: reserved bytes are not zero");
    if (!(h->flags & BMF_HAS_FINGERPRINT) && !bytes_are_zero(h->fingerprint, sizeof(h->fingerprint)))
        return qcbmi_fail(err, QCBM_E_CORRUPT, OFF_FINGERPRINT, "bitmap file: a fingerprint without its flag");
    return 0;
}

int qcbmi_bmf_header_parse(const uint8_t *bytes, struct bmf_header *out, struct qcbm_error *err)
{
    uint32_t version = be32_load(bytes + OFF_VERSION);

    memset(out, 0, sizeof(*out));
    if (memcmp(bytes + OFF_MAGIC, magic, sizeof(magic)) != 0)
        return qcbmi_fail(err, QCBM_E_CORRUPT, OFF_MAGIC, "not a bitmap file of qcbm");
    if (version != BMF_VERSION)
        return qcbmi_fail(err, QCBM_E_UNSUPPORTED, OFF_VERSION,
                          "bitmap file: version %" PRIu32 ", this program knows version %u", version, BMF_VERSION);
    out->length = be32_load(bytes + OFF_LENGTH);
    out->size = be64_load(bytes + OFF_SIZE);
    out->flags = be32_load(bytes + OFF_FLAGS);
    out->gran_bits = be32_load(bytes + OFF_GRANULARITY);
    out->name_len = be32_load(bytes + OFF_NAME_LEN);
    memcpy(out->fingerprint, bytes + OFF_FINGERPRINT, sizeof(out->fingerprint));
    return check_fields(out, bytes, err);
}

int qcbmi_bmf_name_check(const uint8_t *bytes, const struct bmf_header *h, struct qcbm_error *err)
{
    const struct granule_text name = { "bitmap file", "name", BMF_FIXED, h->name_len, h->length - BMF_FIXED };

    return qcbmi_granule_text_check(bytes, &name, err);
}

size_t qcbmi_bmf_header_store(uint8_t *to, const struct bmf_header *h, const char *name)
{
    size_t length = (size_t)align_up(BMF_FIXED + (uint64_t)h->name_len, 8);

    memset(to, 0, length);
    memcpy(to + OFF_MAGIC, magic, sizeof(magic));
    be32_store(to + OFF_VERSION, BMF_VERSION);
    be32_store(to + OFF_LENGTH, (uint32_t)length);
    be64_store(to + OFF_SIZE, h->size);
    be32_store(to + OFF_FLAGS, h->flags);
    be32_store(to + OFF_GRANULARITY, h->gran_bits);
    be32_store(to + OFF_NAME_LEN, h->name_len);
    memcpy(to + OFF_FINGERPRINT, h->fingerprint, sizeof(h->fingerprint));
    memcpy(to + BMF_FIXED, name, h->name_len);
    return length;
}

int qcbmi_bmf_record_parse(const uint8_t *bytes, uint64_t left, uint64_t offset, struct granule_record *out,
                           struct qcbm_error *err)
{
    int ret = qcbmi_granule_record_parse(bytes, "bitmap file", BMF_BITS, left, offset, out, err);
    uint64_t n = out->granules;

    if (ret == 0 && n % 8 && n != left)
        return qcbmi_fail(
            err, QCBM_E_CORRUPT, offset,
            "bitmap file: a record of %" PRIu64 " granules that is not the last; it must be a multiple of 8", n);
    if (ret == 0 && out->kind == BMF_BITS && n > BMF_MAX_BITS)
        return qcbmi_fail(err, QCBM_E_CORRUPT, offset,
                          "bitmap file: a record of %" PRIu64 " bits, allowed: up to %" PRIu32, n, BMF_MAX_BITS);
    return ret;
}
