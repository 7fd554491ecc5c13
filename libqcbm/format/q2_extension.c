/* q2_extension.c - the list of header extensions; unknown ones are kept verbatim
 * SPDX-License-Identifier: MIT */
#include "format/q2_extension.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/checked.h"
#include "base/error.h"
#include "format/q2_limits.h"

#define EXT_HEADER 8u
#define CRYPTO_LEN 16u
#define CRYPT_LUKS 2u
#define FEATURE_LEN 48u
#define FEATURE_NAME_LEN 46u
#define OFF_CRYPT_METHOD 32u /* in the header */

/* What the first cluster holds where the extension list is read; bytes that the file does not have are zeros. */
struct area {
    const uint8_t *cluster;
    size_t len;
    uint64_t limit;
};

/* The 8 bytes in front of the data of the extension at @at. */
static void load_ext_header(const struct area *a, uint64_t at, uint32_t *type, uint32_t *len)
{
    uint8_t raw[EXT_HEADER] = { 0 };

    if (at < a->len)
        memcpy(raw, a->cluster + at, (size_t)u64_min(EXT_HEADER, a->len - at));
    *type = be32_load(raw);
    *len = be32_load(raw + 4);
}

static int check_crypto(const struct q2_extension *ext, const struct q2_header *h, struct qcbm_error *err)
{
    uint64_t offset, len;

    if (h->crypt_method != CRYPT_LUKS)
        return qcbmi_fail(err, QCBM_E_CORRUPT, ext->offset,
                          "CRYPTO header extension only expected with LUKS encryption method, not with %" PRIu32,
                          h->crypt_method);
    if (ext->len != CRYPTO_LEN)
        return qcbmi_fail(err, QCBM_E_CORRUPT, ext->offset + 4,
                          "CRYPTO header extension size %" PRIu32 ", but expected size %u", ext->len, CRYPTO_LEN);
    offset = be64_load(ext->data);
    len = be64_load(ext->data + 8);
    if (!is_aligned(offset, UINT64_C(1) << h->cluster_bits))
        return qcbmi_fail(err, QCBM_E_CORRUPT, ext->offset + EXT_HEADER,
                          "Encryption header offset '%" PRIu64 "' is not a multiple of cluster size '%" PRIu64 "'",
                          offset, UINT64_C(1) << h->cluster_bits);
    if (!range_fits(offset, len, Q2_MAX_OFFSET))
        return qcbmi_fail(err, QCBM_E_CORRUPT, ext->offset + EXT_HEADER + 8,
                          "Encryption header at 0x%" PRIx64 ": length 0x%" PRIx64 " passes 2^63 - 1", offset, len);
    return 0;
}

static int check_known(const struct q2_extension *ext, const struct q2_header *h, struct qcbm_error *err)
{
    switch (ext->type) {
    case Q2_EXT_BACKING_FORMAT:
        if (ext->len > Q2_MAX_BACKING_FORMAT)
            return qcbmi_fail(err, QCBM_E_CORRUPT, ext->offset + 4,
                              "ext_backing_format: length %" PRIu32 " is too large, at most %u", ext->len,
                              Q2_MAX_BACKING_FORMAT);
        return 0;
    case Q2_EXT_CRYPTO:
        return check_crypto(ext, h, err);
    default:
        return 0;
    }
}

/* The extension whose header stands at @at, which is below the limit. */
static int parse_one(const struct area *a, uint64_t at, const struct q2_header *h, struct q2_extension *ext,
                     struct qcbm_error *err)
{
    uint64_t data_at = at + EXT_HEADER;

    /* an extension may end exactly at the limit and be the last one; a few bytes more, and QEMU refuses the image */
    if (a->limit - at < EXT_HEADER)
        return qcbmi_fail(err, QCBM_E_CORRUPT, at,
                          "Header extension too large: %" PRIu64 " bytes are left for the next one or the end mark",
                          a->limit - at);
    ext->offset = at;
    load_ext_header(a, at, &ext->type, &ext->len);
    ext->stored_len = ext->len;
    if (ext->type == Q2_EXT_BITMAPS)
        ext->len = Q2_BITMAPS_EXT_LEN;
    if (ext->len > a->limit - data_at) /* QEMU looks at the length before the type, so also at that of the end mark */
        return qcbmi_fail(err, QCBM_E_CORRUPT, at + 4,
                          "Header extension too large: type 0x%08" PRIx32 ", length %" PRIu32 ", %" PRIu64
                          " bytes are left",
                          ext->type, ext->len, a->limit - data_at);
    if (ext->type == Q2_EXT_END)
        return 0;
    if (!range_fits(data_at, ext->len, a->len))
        return qcbmi_fail(err, QCBM_E_CORRUPT, at + 4,
                          "header extension of type 0x%08" PRIx32 ", length %" PRIu32 ": the file ends inside it",
                          ext->type, ext->len);
    ext->data = a->cluster + data_at;
    return check_known(ext, h, err);
}

static int parse_list(const struct area *a, const struct q2_header *h, struct q2_extensions *exts,
                      struct qcbm_error *err)
{
    uint64_t at = h->header_length;
    size_t capacity = 0;

    exts->limit = exts->end_offset = a->limit;
    while (at < a->limit) {
        struct q2_extension ext = { 0 };
        int ret = parse_one(a, at, h, &ext, err);

        if (ret < 0)
            return ret;
        if (ext.type == Q2_EXT_END) {
            exts->has_end = true;
            exts->end_offset = at;
            return 0;
        }
        /* each takes 8 bytes of the cluster at least, which bounds the list */
        ret = qcbmi_grow_array(&exts->list, &capacity, exts->n, sizeof(ext), err);
        if (ret < 0)
            return ret;
        exts->list[exts->n++] = ext;
        at += EXT_HEADER + align_up(ext.len, 8);
    }
    return 0;
}

int q2_extensions_parse(const uint8_t *cluster, size_t len, const struct q2_header *h, struct q2_extensions *out,
                        struct qcbm_error *err)
{
    uint64_t cluster_size = UINT64_C(1) << h->cluster_bits;
    struct area a = { cluster, (size_t)u64_min(len, cluster_size),
                      h->backing_offset ? h->backing_offset : cluster_size };
    int ret;

    memset(out, 0, sizeof(*out));
    ret = parse_list(&a, h, out, err);
    if (ret == 0 && h->crypt_method == CRYPT_LUKS && !q2_extension_find(out, Q2_EXT_CRYPTO))
        ret = qcbmi_fail(err, QCBM_E_CORRUPT, OFF_CRYPT_METHOD, "Missing CRYPTO header for crypt method 2 (LUKS)");
    if (ret < 0)
        q2_extensions_free(out);
    return ret;
}

void q2_extensions_free(struct q2_extensions *exts)
{
    free(exts->list);
    memset(exts, 0, sizeof(*exts));
}

const struct q2_extension *q2_extension_find(const struct q2_extensions *exts, uint32_t type)
{
    for (size_t i = exts->n; i > 0; i--)
        if (exts->list[i - 1].type == type)
            return &exts->list[i - 1];
    return NULL;
}

bool q2_feature_get(const struct q2_extensions *exts, uint32_t index, struct q2_feature *out)
{
    const struct q2_extension *table = q2_extension_find(exts, Q2_EXT_FEATURE_TABLE);
    const uint8_t *feature;

    if (!table || index >= table->len / FEATURE_LEN)
        return false;
    feature = table->data + (size_t)index * FEATURE_LEN;
    *out = (struct q2_feature){ .kind = feature[0], .bit = feature[1] };
    memcpy(out->name, feature + 2, FEATURE_NAME_LEN);
    return true;
}

bool q2_feature_name(const struct q2_extensions *exts, unsigned kind, unsigned bit, char to[48])
{
    struct q2_feature f;

    for (uint32_t i = 0; q2_feature_get(exts, i, &f); i++) {
        if (f.kind != kind || f.bit != bit || !*f.name)
            continue;
        memcpy(to, f.name, sizeof(f.name));
        return true;
    }
    return false;
}

enum q2_tag q2_tag_get(const struct q2_extensions *exts, uint8_t tag[Q2_TAG_LEN])
{
    const uint8_t *found = NULL;

    for (size_t i = 0; i < exts->n; i++) {
        const struct q2_extension *e = &exts->list[i];

        if (e->type != Q2_EXT_TAG)
            continue;
        if (e->len != Q2_TAG_LEN || (found && memcmp(found, e->data, Q2_TAG_LEN) != 0))
            return Q2_TAG_BAD;
        found = e->data;
    }
    if (found && tag)
        memcpy(tag, found, Q2_TAG_LEN);
    return found ? Q2_TAG_KNOWN : Q2_TAG_NONE;
}

void q2_bitmaps_ext_parse(const uint8_t *data, struct q2_bitmaps_ext *out)
{
    out->n_bitmaps = be32_load(data);
    out->reserved = be32_load(data + 4);
    out->directory_size = be64_load(data + 8);
    out->directory_offset = be64_load(data + 16);
}

void q2_bitmaps_ext_store(uint8_t *to, const struct q2_bitmaps_ext *ext)
{
    be32_store(to, ext->n_bitmaps);
    be32_store(to + 4, ext->reserved);
    be64_store(to + 8, ext->directory_size);
    be64_store(to + 16, ext->directory_offset);
}

int q2_bitmaps_ext_check(const struct q2_bitmaps_ext *ext, uint64_t payload_offset, uint32_t cluster_size,
                         struct qcbm_error *err)
{
    if (ext->n_bitmaps == 0)
        return qcbmi_fail(err, QCBM_E_CORRUPT, payload_offset, "found bitmaps extension with zero bitmaps");
    if (ext->n_bitmaps > Q2_MAX_BITMAPS)
        return qcbmi_fail(err, QCBM_E_LIMIT, payload_offset,
                          "bitmaps_ext: Image has %" PRIu32 " bitmaps, exceeding the QEMU supported maximum of %u",
                          ext->n_bitmaps, Q2_MAX_BITMAPS);
    if (ext->reserved != 0)
        return qcbmi_fail(err, QCBM_E_CORRUPT, payload_offset + 4,
                          "bitmaps_ext: Reserved field is 0x%" PRIx32 ", must be zero", ext->reserved);
    if (ext->directory_size == 0)
        return qcbmi_fail(err, QCBM_E_CORRUPT, payload_offset + 8, "bitmaps_ext: bitmap directory size is zero");
    if (ext->directory_size > Q2_MAX_BITMAP_DIRECTORY)
        return qcbmi_fail(err, QCBM_E_LIMIT, payload_offset + 8,
                          "bitmaps_ext: bitmap directory size (%" PRIu64
                          ") exceeds the maximum supported size (%" PRIu64 ")",
                          ext->directory_size, Q2_MAX_BITMAP_DIRECTORY);
    /* offset 0 is the header: reading it as a directory would go wrong later, freeing it would lose the image */
    if (ext->directory_offset == 0 || !is_aligned(ext->directory_offset, cluster_size) ||
        !range_fits(ext->directory_offset, ext->directory_size, Q2_MAX_OFFSET))
        return qcbmi_fail(err, QCBM_E_CORRUPT, payload_offset + 16,
                          "bitmaps_ext: invalid bitmap directory offset 0x%" PRIx64, ext->directory_offset);
    return 0;
}
