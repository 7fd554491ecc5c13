/* q2_header.c - the header, versions 2 and 3: bytes to struct with every rule that it alone can tell, and back
 * SPDX-License-Identifier: MIT
 *
 * The rules run in the order in which QEMU applies them, so that an image with several faults gets the same verdict. */
#include "format/q2_header.h"

#include <stddef.h>
#include <string.h>

#include "base/bytes.h"
#include "base/checked.h"
#include "base/error.h"
#include "format/q2_limits.h"
#include "format/q2_snapshot.h"

#define COMPRESSION_ZSTD 1u
#define CRYPT_LUKS 2u

#define MEMBER(name) offsetof(struct q2_header, name)

const struct q2_header_field q2_header_fields[] = {
    { "magic", Q2_OFF_MAGIC, 4, 0, Q2_NO_MEMBER },
    { "version", Q2_OFF_VERSION, 4, 0, MEMBER(version) },
    { "backing_file_offset", Q2_OFF_BACKING_OFFSET, 8, 0, MEMBER(backing_offset) },
    { "backing_file_size", Q2_OFF_BACKING_SIZE, 4, 0, MEMBER(backing_size) },
    { "cluster_bits", Q2_OFF_CLUSTER_BITS, 4, 0, MEMBER(cluster_bits) },
    { "size", Q2_OFF_SIZE, 8, 0, MEMBER(size) },
    { "crypt_method", Q2_OFF_CRYPT_METHOD, 4, 0, MEMBER(crypt_method) },
    { "l1_size", Q2_OFF_L1_ENTRIES, 4, 0, MEMBER(l1_entries) },
    { "l1_table_offset", Q2_OFF_L1_OFFSET, 8, 0, MEMBER(l1_offset) },
    { "refcount_table_offset", Q2_OFF_REFTABLE_OFFSET, 8, 0, MEMBER(reftable_offset) },
    { "refcount_table_clusters", Q2_OFF_REFTABLE_CLUSTERS, 4, 0, MEMBER(reftable_clusters) },
    { "nb_snapshots", Q2_OFF_N_SNAPSHOTS, 4, 0, MEMBER(n_snapshots) },
    { "snapshots_offset", Q2_OFF_SNAPSHOTS_OFFSET, 8, 0, MEMBER(snapshots_offset) },
    { "incompatible_features", Q2_OFF_INCOMPATIBLE, 8, 3, MEMBER(incompatible) },
    { "compatible_features", Q2_OFF_COMPATIBLE, 8, 3, MEMBER(compatible) },
    { "autoclear_features", Q2_OFF_AUTOCLEAR, 8, 3, MEMBER(autoclear) },
    { "refcount_order", Q2_OFF_REFCOUNT_ORDER, 4, 3, MEMBER(refcount_order) },
    { "header_length", Q2_OFF_HEADER_LENGTH, 4, 3, MEMBER(header_length) },
    { "compression_type", Q2_OFF_COMPRESSION_TYPE, 1, 3, MEMBER(compression_type) },
};
const unsigned q2_header_n_fields = sizeof(q2_header_fields) / sizeof(q2_header_fields[0]);

bool q2_header_has_field(const struct q2_header_field *f, uint32_t version, uint32_t header_length)
{
    return version >= f->version && (f->offset < Q2_V3_MIN_HEADER_LENGTH || f->offset < header_length);
}

uint64_t q2_header_field_load(const struct q2_header_field *f, const uint8_t *bytes)
{
    const uint8_t *at = bytes + f->offset;

    return f->length == 8 ? be64_load(at) : f->length == 4 ? be32_load(at) : *at;
}

/* Between a member of the struct and the number that is in it. */
static void set_member(struct q2_header *h, const struct q2_header_field *f, uint64_t value)
{
    void *member = (uint8_t *)h + f->member;

    if (f->length == 8)
        *(uint64_t *)member = value;
    else if (f->length == 4)
        *(uint32_t *)member = (uint32_t)value;
    else
        *(uint8_t *)member = (uint8_t)value;
}

static void store_member(uint8_t *bytes, const struct q2_header_field *f, const struct q2_header *h)
{
    const void *member = (const uint8_t *)h + f->member;

    if (f->length == 8)
        be64_store(bytes + f->offset, *(const uint64_t *)member);
    else if (f->length == 4)
        be32_store(bytes + f->offset, *(const uint32_t *)member);
    else
        bytes[f->offset] = *(const uint8_t *)member;
}

void q2_header_load(const uint8_t *bytes, size_t len, struct q2_header *out)
{
    *out = (struct q2_header){ .refcount_order = 4, .header_length = Q2_V2_HEADER_LENGTH };
    for (unsigned i = 0; i < q2_header_n_fields; i++) {
        const struct q2_header_field *f = &q2_header_fields[i];

        if (f->member != Q2_NO_MEMBER && len >= f->offset + (size_t)f->length &&
            q2_header_has_field(f, out->version, out->header_length))
            set_member(out, f, q2_header_field_load(f, bytes));
    }
}

static int fail_short(struct qcbm_error *err, size_t len, size_t wanted)
{
    return qcbmi_fail(err, QCBM_E_CORRUPT, len, "header: the file ends after %zu of %zu bytes", len, wanted);
}

static uint64_t cluster_size(const struct q2_header *h)
{
    return UINT64_C(1) << h->cluster_bits;
}

/* Magic, version, and as many bytes as the version has at least. */
static int check_start(const uint8_t *bytes, size_t len, struct qcbm_error *err)
{
    uint32_t version, least;

    if (len < 4 || be32_load(bytes + Q2_OFF_MAGIC) != Q2_MAGIC)
        return qcbmi_fail(err, QCBM_E_NOT_QCOW2, Q2_OFF_MAGIC, "Image is not in qcow2 format: %s",
                          len ? "the magic bytes are missing" : "the file is empty");
    if (len < 8)
        return fail_short(err, len, Q2_V2_HEADER_LENGTH);
    version = be32_load(bytes + Q2_OFF_VERSION);
    if (version != 2 && version != 3)
        return qcbmi_fail(err, QCBM_E_UNSUPPORTED, Q2_OFF_VERSION, "Unsupported qcow2 version %" PRIu32, version);
    least = version == 2 ? Q2_V2_HEADER_LENGTH : Q2_V3_MIN_HEADER_LENGTH;
    return len < least ? fail_short(err, len, least) : 0;
}

/* Cluster size and header length, on which everything else hangs. */
static int check_sizes(const struct q2_header *h, size_t len, struct qcbm_error *err)
{
    size_t wanted;

    if (h->cluster_bits < Q2_MIN_CLUSTER_BITS || h->cluster_bits > Q2_MAX_CLUSTER_BITS)
        return qcbmi_fail(err, h->cluster_bits < Q2_MIN_CLUSTER_BITS ? QCBM_E_CORRUPT : QCBM_E_LIMIT,
                          Q2_OFF_CLUSTER_BITS, "Unsupported cluster size: 2^%" PRIu32 " (allowed: 2^9 to 2^21)",
                          h->cluster_bits);
    if (h->version == 2)
        return 0;
    if (h->header_length < Q2_V3_MIN_HEADER_LENGTH)
        return qcbmi_fail(err, QCBM_E_CORRUPT, Q2_OFF_HEADER_LENGTH,
                          "qcow2 header too short: header_length %" PRIu32 ", at least %u", h->header_length,
                          Q2_V3_MIN_HEADER_LENGTH);
    if (h->header_length > cluster_size(h))
        return qcbmi_fail(err, QCBM_E_CORRUPT, Q2_OFF_HEADER_LENGTH,
                          "qcow2 header exceeds cluster size: header_length %" PRIu32 ", cluster size %" PRIu64,
                          h->header_length, cluster_size(h));
    wanted = h->header_length < Q2_HEADER_BYTES ? h->header_length : Q2_HEADER_BYTES;
    return len < wanted ? fail_short(err, len, wanted) : 0;
}

static int check_compression(const struct q2_header *h, struct qcbm_error *err)
{
    bool flagged = h->incompatible & QCBM_INCOMPAT_COMPRESSION;

    if (h->compression_type > COMPRESSION_ZSTD)
        return qcbmi_fail(err, QCBM_E_UNSUPPORTED, Q2_OFF_COMPRESSION_TYPE, "qcow2: unknown compression type: %u",
                          h->compression_type);
    if (flagged && h->compression_type == 0)
        return qcbmi_fail(err, QCBM_E_CORRUPT, Q2_OFF_INCOMPATIBLE,
                          "qcow2: Compression type incompatible feature bit must not be set: the type is 0 (deflate)");
    if (!flagged && h->compression_type != 0)
        return qcbmi_fail(err, QCBM_E_CORRUPT, Q2_OFF_INCOMPATIBLE,
                          "qcow2: Compression type incompatible feature bit must be set: the type is %u",
                          h->compression_type);
    return 0;
}

static int check_features(const struct q2_header *h, struct qcbm_error *err)
{
    int ret;

    if ((h->autoclear & QCBM_AUTOCLEAR_RAW_DATA_FILE) && !(h->incompatible & QCBM_INCOMPAT_DATA_FILE))
        return qcbmi_fail(err, QCBM_E_CORRUPT, Q2_OFF_AUTOCLEAR,
                          "data-file-raw requires a data file: autoclear features 0x%" PRIx64 " without one",
                          h->autoclear);
    ret = check_compression(h, err);
    if (ret < 0)
        return ret;
    if ((h->incompatible & QCBM_INCOMPAT_EXTENDED_L2) && h->cluster_bits < Q2_MIN_CLUSTER_BITS_EXTL2)
        return qcbmi_fail(err, QCBM_E_CORRUPT, Q2_OFF_CLUSTER_BITS,
                          "Unsupported subcluster size: %" PRIu64 " (extended L2 entries need clusters of 16384 bytes)",
                          cluster_size(h) / 32);
    if (h->refcount_order > Q2_MAX_REFCOUNT_ORDER)
        return qcbmi_fail(err, QCBM_E_CORRUPT, Q2_OFF_REFCOUNT_ORDER,
                          "Reference count entry width too large; may not exceed 64 bits: refcount_order %" PRIu32
                          ", at most 6",
                          h->refcount_order);
    if (h->crypt_method > CRYPT_LUKS)
        return qcbmi_fail(err, QCBM_E_UNSUPPORTED, Q2_OFF_CRYPT_METHOD, "Unsupported encryption method %" PRId32,
                          (int32_t)h->crypt_method); /* signed, as QEMU prints it */
    return 0;
}

/* A contiguous table of @n elements: few enough, aligned, and its end is an offset. @n_at and @offset_at are where the
 * two numbers stand. */
static int check_table_place(const struct q2_header *h, const char *what, uint64_t offset, unsigned offset_at,
                             uint64_t n, unsigned n_at, uint64_t elem_size, uint64_t max_n, struct qcbm_error *err)
{
    if (n > max_n)
        return qcbmi_fail(err, QCBM_E_LIMIT, n_at, "%s too large: %" PRIu64 " entries, at most %" PRIu64, what, n,
                          max_n);
    if (!is_aligned(offset, cluster_size(h)) || !range_fits(offset, n * elem_size, Q2_MAX_OFFSET))
        return qcbmi_fail(err, QCBM_E_CORRUPT, offset_at, "%s offset invalid: 0x%" PRIx64 " with %" PRIu64 " bytes",
                          what, offset, n * elem_size);
    return 0;
}

static int check_tables(const struct q2_header *h, struct qcbm_error *err)
{
    uint64_t entry_size = h->incompatible & QCBM_INCOMPAT_EXTENDED_L2 ? 16 : 8;
    uint64_t l2_span = cluster_size(h) * (cluster_size(h) / entry_size);
    int ret;

    ret =
        check_table_place(h, "Reference count table", h->reftable_offset, Q2_OFF_REFTABLE_OFFSET, h->reftable_clusters,
                          Q2_OFF_REFTABLE_CLUSTERS, cluster_size(h), Q2_MAX_REFTABLE_BYTES / cluster_size(h), err);
    if (ret < 0)
        return ret;
    ret = check_table_place(h, "Snapshot table", h->snapshots_offset, Q2_OFF_SNAPSHOTS_OFFSET, h->n_snapshots,
                            Q2_OFF_N_SNAPSHOTS, Q2_SNAPSHOT_FIXED, Q2_MAX_SNAPSHOTS, err);
    if (ret < 0)
        return ret;
    ret = check_table_place(h, "Active L1 table", h->l1_offset, Q2_OFF_L1_OFFSET, h->l1_entries, Q2_OFF_L1_ENTRIES, 8,
                            Q2_MAX_L1_BYTES / 8, err);
    if (ret < 0)
        return ret;
    if (h->size > Q2_MAX_OFFSET)
        return qcbmi_fail(err, QCBM_E_LIMIT, Q2_OFF_SIZE, "Image is too big: size 0x%" PRIx64 " is above 2^63 - 1",
                          h->size);
    if (div_up(h->size, l2_span) > INT32_MAX)
        return qcbmi_fail(err, QCBM_E_LIMIT, Q2_OFF_SIZE,
                          "Image is too big: size %" PRIu64 " needs %" PRIu64 " L2 tables", h->size,
                          div_up(h->size, l2_span));
    if (h->l1_entries < div_up(h->size, l2_span))
        return qcbmi_fail(err, QCBM_E_CORRUPT, Q2_OFF_L1_ENTRIES,
                          "L1 table is too small: %" PRIu32 " entries, size %" PRIu64 " needs %" PRIu64, h->l1_entries,
                          h->size, div_up(h->size, l2_span));
    return 0;
}

static int check_backing_offset(const struct q2_header *h, struct qcbm_error *err)
{
    if (h->backing_offset > cluster_size(h))
        return qcbmi_fail(err, QCBM_E_CORRUPT, Q2_OFF_BACKING_OFFSET,
                          "Invalid backing file offset: 0x%" PRIx64 " is not in the first cluster", h->backing_offset);
    return 0;
}

static int check_backing_size(const struct q2_header *h, struct qcbm_error *err)
{
    uint64_t max = h->backing_offset ? u64_min(Q2_MAX_BACKING_NAME, cluster_size(h) - h->backing_offset) : 0;

    if (h->backing_size > max)
        return qcbmi_fail(err, QCBM_E_CORRUPT, Q2_OFF_BACKING_SIZE,
                          "Backing file name too long: %" PRIu32 " bytes, at most %" PRIu64 " here", h->backing_size,
                          max);
    return 0;
}

int q2_header_parse(const uint8_t *bytes, size_t len, struct q2_header *out, struct qcbm_error *err)
{
    struct q2_header h;
    int ret;

    ret = check_start(bytes, len, err);
    if (ret < 0)
        return ret;
    q2_header_load(bytes, len, &h);
    if (h.backing_offset == 0)
        h.backing_size = 0;
    ret = check_sizes(&h, len, err);
    if (ret < 0)
        return ret;
    ret = check_backing_offset(&h, err);
    if (ret < 0)
        return ret;
    ret = check_features(&h, err);
    if (ret < 0)
        return ret;
    ret = check_tables(&h, err);
    if (ret < 0)
        return ret;
    ret = check_backing_size(&h, err);
    if (ret < 0)
        return ret;
    *out = h;
    return 0;
}

size_t q2_header_store(uint8_t *to, const struct q2_header *h)
{
    size_t len = Q2_V2_HEADER_LENGTH;

    /* a length of 105 to 111 is odd but opens: the extensions start there and must not be written over */
    if (h->version >= 3)
        len = (size_t)u64_min(h->header_length, Q2_HEADER_BYTES);
    memset(to, 0, len);
    be32_store(to + Q2_OFF_MAGIC, Q2_MAGIC);
    for (unsigned i = 0; i < q2_header_n_fields; i++) {
        const struct q2_header_field *f = &q2_header_fields[i];

        if (f->member != Q2_NO_MEMBER && q2_header_has_field(f, h->version, h->header_length))
            store_member(to, f, h);
    }
    return len;
}
