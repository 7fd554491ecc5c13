/* q2_header.c - the header, versions 2 and 3: bytes to struct with every rule that it alone can tell, and back
 * SPDX-License-Identifier: MIT
 *
 * The rules run in the order in which QEMU applies them, so that an image with several faults gets the same verdict. */
#include "format/q2_header.h"

#include <string.h>

#include "base/bytes.h"
#include "base/checked.h"
#include "base/error.h"
#include "format/q2_limits.h"
#include "format/q2_snapshot.h"

#define COMPRESSION_ZSTD 1u
#define CRYPT_LUKS 2u

enum { /* where the fields lie */
       OFF_MAGIC = 0,
       OFF_VERSION = 4,
       OFF_BACKING_OFFSET = Q2_HEADER_OFF_BACKING_OFFSET,
       OFF_BACKING_SIZE = 16,
       OFF_CLUSTER_BITS = 20,
       OFF_SIZE = 24,
       OFF_CRYPT_METHOD = 32,
       OFF_L1_ENTRIES = 36,
       OFF_L1_OFFSET = 40,
       OFF_REFTABLE_OFFSET = Q2_HEADER_OFF_REFTABLE,
       OFF_REFTABLE_CLUSTERS = 56,
       OFF_N_SNAPSHOTS = 60,
       OFF_SNAPSHOTS_OFFSET = 64,
       OFF_INCOMPATIBLE = 72,
       OFF_COMPATIBLE = 80,
       OFF_AUTOCLEAR = Q2_HEADER_OFF_AUTOCLEAR,
       OFF_REFCOUNT_ORDER = 96,
       OFF_HEADER_LENGTH = 100,
       OFF_COMPRESSION_TYPE = 104
};

static int fail_short(struct qcbm_error *err, size_t len, size_t wanted)
{
    return qcbmi_fail(err, QCBM_E_CORRUPT, len, "header: the file ends after %zu of %zu bytes", len, wanted);
}

static uint64_t cluster_size(const struct q2_header *h)
{
    return UINT64_C(1) << h->cluster_bits;
}

/* Magic, version, and the length that follows from them; fills version and header_length. */
static int parse_start(const uint8_t *bytes, size_t len, struct q2_header *h, struct qcbm_error *err)
{
    if (len < 4 || be32_load(bytes + OFF_MAGIC) != Q2_MAGIC)
        return qcbmi_fail(err, QCBM_E_NOT_QCOW2, OFF_MAGIC, "not a qcow2 image: the magic bytes are missing");
    if (len < 8)
        return fail_short(err, len, Q2_V2_HEADER_LENGTH);
    h->version = be32_load(bytes + OFF_VERSION);
    if (h->version != 2 && h->version != 3)
        return qcbmi_fail(err, QCBM_E_UNSUPPORTED, OFF_VERSION, "Unsupported qcow2 version %" PRIu32, h->version);
    h->header_length = h->version == 2 ? Q2_V2_HEADER_LENGTH : Q2_V3_MIN_HEADER_LENGTH;
    if (len < h->header_length)
        return fail_short(err, len, h->header_length);
    if (h->version == 3)
        h->header_length = be32_load(bytes + OFF_HEADER_LENGTH);
    return 0;
}

static void parse_fields(const uint8_t *bytes, struct q2_header *h)
{
    h->backing_offset = be64_load(bytes + OFF_BACKING_OFFSET);
    h->backing_size = h->backing_offset ? be32_load(bytes + OFF_BACKING_SIZE) : 0;
    h->cluster_bits = be32_load(bytes + OFF_CLUSTER_BITS);
    h->size = be64_load(bytes + OFF_SIZE);
    h->crypt_method = be32_load(bytes + OFF_CRYPT_METHOD);
    h->l1_entries = be32_load(bytes + OFF_L1_ENTRIES);
    h->l1_offset = be64_load(bytes + OFF_L1_OFFSET);
    h->reftable_offset = be64_load(bytes + OFF_REFTABLE_OFFSET);
    h->reftable_clusters = be32_load(bytes + OFF_REFTABLE_CLUSTERS);
    h->n_snapshots = be32_load(bytes + OFF_N_SNAPSHOTS);
    h->snapshots_offset = be64_load(bytes + OFF_SNAPSHOTS_OFFSET);
    h->refcount_order = 4;
    if (h->version == 2)
        return;
    h->incompatible = be64_load(bytes + OFF_INCOMPATIBLE);
    h->compatible = be64_load(bytes + OFF_COMPATIBLE);
    h->autoclear = be64_load(bytes + OFF_AUTOCLEAR);
    h->refcount_order = be32_load(bytes + OFF_REFCOUNT_ORDER);
}

/* Cluster size and header length, on which everything else hangs. */
static int check_sizes(const struct q2_header *h, size_t len, struct qcbm_error *err)
{
    size_t wanted;

    if (h->cluster_bits < Q2_MIN_CLUSTER_BITS || h->cluster_bits > Q2_MAX_CLUSTER_BITS)
        return qcbmi_fail(err, h->cluster_bits < Q2_MIN_CLUSTER_BITS ? QCBM_E_CORRUPT : QCBM_E_LIMIT, OFF_CLUSTER_BITS,
                          "Unsupported cluster size: 2^%" PRIu32 " (allowed: 2^9 to 2^21)", h->cluster_bits);
    if (h->version == 2)
        return 0;
    if (h->header_length < Q2_V3_MIN_HEADER_LENGTH)
        return qcbmi_fail(err, QCBM_E_CORRUPT, OFF_HEADER_LENGTH,
                          "qcow2 header too short: header_length %" PRIu32 ", at least %u", h->header_length,
                          Q2_V3_MIN_HEADER_LENGTH);
    if (h->header_length > cluster_size(h))
        return qcbmi_fail(err, QCBM_E_CORRUPT, OFF_HEADER_LENGTH,
                          "qcow2 header exceeds cluster size: header_length %" PRIu32 ", cluster size %" PRIu64,
                          h->header_length, cluster_size(h));
    wanted = h->header_length < Q2_HEADER_BYTES ? h->header_length : Q2_HEADER_BYTES;
    return len < wanted ? fail_short(err, len, wanted) : 0;
}

static int check_compression(const struct q2_header *h, struct qcbm_error *err)
{
    bool flagged = h->incompatible & QCBM_INCOMPAT_COMPRESSION;

    if (h->compression_type > COMPRESSION_ZSTD)
        return qcbmi_fail(err, QCBM_E_UNSUPPORTED, OFF_COMPRESSION_TYPE, "unknown compression type: %u",
                          h->compression_type);
    if (flagged && h->compression_type == 0)
        return qcbmi_fail(err, QCBM_E_CORRUPT, OFF_INCOMPATIBLE,
                          "Compression type incompatible feature bit must not be set: the type is 0 (deflate)");
    if (!flagged && h->compression_type != 0)
        return qcbmi_fail(err, QCBM_E_CORRUPT, OFF_INCOMPATIBLE,
                          "Compression type incompatible feature bit must be set: the type is %u", h->compression_type);
    return 0;
}

static int check_features(const struct q2_header *h, struct qcbm_error *err)
{
    int ret;

    if ((h->autoclear & QCBM_AUTOCLEAR_RAW_DATA_FILE) && !(h->incompatible & QCBM_INCOMPAT_DATA_FILE))
        return qcbmi_fail(err, QCBM_E_CORRUPT, OFF_AUTOCLEAR,
                          "autoclear features 0x%" PRIx64 ": raw external data without an external data file",
                          h->autoclear);
    ret = check_compression(h, err);
    if (ret < 0)
        return ret;
    if ((h->incompatible & QCBM_INCOMPAT_EXTENDED_L2) && h->cluster_bits < Q2_MIN_CLUSTER_BITS_EXTL2)
        return qcbmi_fail(err, QCBM_E_CORRUPT, OFF_CLUSTER_BITS,
                          "Extended L2 entries are only supported with cluster sizes of at least 16384 bytes, "
                          "not %" PRIu64,
                          cluster_size(h));
    if (h->refcount_order > Q2_MAX_REFCOUNT_ORDER)
        return qcbmi_fail(err, QCBM_E_CORRUPT, OFF_REFCOUNT_ORDER,
                          "Reference count entry width too large; may not exceed 64 bits: refcount_order %" PRIu32
                          ", at most 6",
                          h->refcount_order);
    if (h->crypt_method > CRYPT_LUKS)
        return qcbmi_fail(err, QCBM_E_UNSUPPORTED, OFF_CRYPT_METHOD, "Unsupported encryption method %" PRIu32,
                          h->crypt_method);
    return 0;
}

/* A contiguous table of @n elements: few enough, aligned, and its end is an offset. @n_at and @offset_at are where the
 * two numbers stand. */
static int check_table(const struct q2_header *h, const char *what, uint64_t offset, unsigned offset_at, uint64_t n,
                       unsigned n_at, uint64_t elem_size, uint64_t max_n, struct qcbm_error *err)
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

    ret = check_table(h, "Reference count table", h->reftable_offset, OFF_REFTABLE_OFFSET, h->reftable_clusters,
                      OFF_REFTABLE_CLUSTERS, cluster_size(h), Q2_MAX_REFTABLE_BYTES / cluster_size(h), err);
    if (ret < 0)
        return ret;
    ret = check_table(h, "Snapshot table", h->snapshots_offset, OFF_SNAPSHOTS_OFFSET, h->n_snapshots, OFF_N_SNAPSHOTS,
                      Q2_SNAPSHOT_FIXED, Q2_MAX_SNAPSHOTS, err);
    if (ret < 0)
        return ret;
    ret = check_table(h, "Active L1 table", h->l1_offset, OFF_L1_OFFSET, h->l1_entries, OFF_L1_ENTRIES, 8,
                      Q2_MAX_L1_BYTES / 8, err);
    if (ret < 0)
        return ret;
    if (h->size > Q2_MAX_OFFSET)
        return qcbmi_fail(err, QCBM_E_LIMIT, OFF_SIZE, "Image is too big: size 0x%" PRIx64 " is above 2^63 - 1",
                          h->size);
    if (h->l1_entries < div_up(h->size, l2_span))
        return qcbmi_fail(err, QCBM_E_CORRUPT, OFF_L1_ENTRIES,
                          "L1 table is too small: %" PRIu32 " entries, size %" PRIu64 " needs %" PRIu64, h->l1_entries,
                          h->size, div_up(h->size, l2_span));
    return 0;
}

static int check_backing_offset(const struct q2_header *h, struct qcbm_error *err)
{
    if (h->backing_offset > cluster_size(h))
        return qcbmi_fail(err, QCBM_E_CORRUPT, OFF_BACKING_OFFSET,
                          "Invalid backing file offset: 0x%" PRIx64 " is not in the first cluster", h->backing_offset);
    return 0;
}

static int check_backing_size(const struct q2_header *h, struct qcbm_error *err)
{
    uint64_t max = h->backing_offset ? u64_min(Q2_MAX_BACKING_NAME, cluster_size(h) - h->backing_offset) : 0;

    if (h->backing_size > max)
        return qcbmi_fail(err, QCBM_E_CORRUPT, OFF_BACKING_SIZE,
                          "Backing file name too long: %" PRIu32 " bytes, at most %" PRIu64 " here", h->backing_size,
                          max);
    return 0;
}

int q2_header_parse(const uint8_t *bytes, size_t len, struct q2_header *out, struct qcbm_error *err)
{
    struct q2_header h = { 0 };
    int ret;

    ret = parse_start(bytes, len, &h, err);
    if (ret < 0)
        return ret;
    parse_fields(bytes, &h);
    ret = check_sizes(&h, len, err);
    if (ret < 0)
        return ret;
    if (h.header_length > OFF_COMPRESSION_TYPE)
        h.compression_type = bytes[OFF_COMPRESSION_TYPE];
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
    size_t len;

    be32_store(to + OFF_MAGIC, Q2_MAGIC);
    be32_store(to + OFF_VERSION, h->version);
    be64_store(to + OFF_BACKING_OFFSET, h->backing_offset);
    be32_store(to + OFF_BACKING_SIZE, h->backing_size);
    be32_store(to + OFF_CLUSTER_BITS, h->cluster_bits);
    be64_store(to + OFF_SIZE, h->size);
    be32_store(to + OFF_CRYPT_METHOD, h->crypt_method);
    be32_store(to + OFF_L1_ENTRIES, h->l1_entries);
    be64_store(to + OFF_L1_OFFSET, h->l1_offset);
    be64_store(to + OFF_REFTABLE_OFFSET, h->reftable_offset);
    be32_store(to + OFF_REFTABLE_CLUSTERS, h->reftable_clusters);
    be32_store(to + OFF_N_SNAPSHOTS, h->n_snapshots);
    be64_store(to + OFF_SNAPSHOTS_OFFSET, h->snapshots_offset);
    if (h->version == 2)
        return Q2_V2_HEADER_LENGTH;
    be64_store(to + OFF_INCOMPATIBLE, h->incompatible);
    be64_store(to + OFF_COMPATIBLE, h->compatible);
    be64_store(to + OFF_AUTOCLEAR, h->autoclear);
    be32_store(to + OFF_REFCOUNT_ORDER, h->refcount_order);
    be32_store(to + OFF_HEADER_LENGTH, h->header_length);
    if (h->header_length <= Q2_V3_MIN_HEADER_LENGTH)
        return Q2_V3_MIN_HEADER_LENGTH;
    /* a length of 105 to 111 is odd but opens: the extensions start there and must not be written over */
    len = (size_t)u64_min(h->header_length, Q2_HEADER_BYTES);
    memset(to + OFF_COMPRESSION_TYPE, 0, len - OFF_COMPRESSION_TYPE);
    to[OFF_COMPRESSION_TYPE] = h->compression_type;
    return len;
}
