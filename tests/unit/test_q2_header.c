/* test_q2_header.c - the header: every field, every rule with code and place, and back to bytes
 * SPDX-License-Identifier: MIT */
#include "unit.h"

#include "base/bytes.h"
#include "format/q2_header.h"
#include "format/q2_limits.h"

/* A legal version 3 header of an image of 10 GiB with 64 KiB clusters; written out, not made by the code under test. */
static void sample_v3(uint8_t b[112])
{
    memset(b, 0, 112);
    be32_store(b, 0x514649fb);
    be32_store(b + 4, 3);
    be64_store(b + 8, 600); /* backing name */
    be32_store(b + 16, 9);
    be32_store(b + 20, 16); /* cluster bits */
    be64_store(b + 24, UINT64_C(10) << 30);
    be32_store(b + 36, 20); /* L1 entries: 512 MiB each */
    be64_store(b + 40, 0x30000);
    be64_store(b + 48, 0x10000); /* refcount table */
    be32_store(b + 56, 1);
    be32_store(b + 60, 2); /* snapshots */
    be64_store(b + 64, 0x50000);
    be64_store(b + 80, 1); /* compatible */
    be64_store(b + 88, 1); /* autoclear */
    be32_store(b + 96, 4);
    be32_store(b + 100, 112);
}

static void sample_v2(uint8_t b[112])
{
    sample_v3(b);
    be32_store(b + 4, 2);
    memset(b + 72, 0xee, 40); /* nothing of a version 2 header */
}

static void put(uint8_t *b, unsigned offset, unsigned width, uint64_t value)
{
    switch (width) {
    case 1:
        b[offset] = (uint8_t)value;
        break;
    case 4:
        be32_store(b + offset, (uint32_t)value);
        break;
    default:
        be64_store(b + offset, value);
        break;
    }
}

static int parse(const uint8_t *bytes, size_t len, struct q2_header *h, struct qcbm_error *err)
{
    uint8_t *p = exact_copy(bytes, len);
    int ret = q2_header_parse(p, len, h, err);

    free(p);
    return ret;
}

static void version_3_gives_every_field(void **state)
{
    uint8_t b[112];
    struct q2_header h;
    struct qcbm_error err = { .code = 99 };

    (void)state;
    sample_v3(b);
    be64_store(b + 72, 0x8 | 0x4 | 0x3);
    be64_store(b + 88, 0x3);
    b[104] = 1;
    assert_int_equal(parse(b, 112, &h, &err), 0);
    assert_int_equal(err.code, 99); /* success never touches it */
    assert_int_equal(h.version, 3);
    assert_int_equal(h.backing_offset, 600);
    assert_int_equal(h.backing_size, 9);
    assert_int_equal(h.cluster_bits, 16);
    assert_int_equal(h.size, UINT64_C(10) << 30);
    assert_int_equal(h.crypt_method, 0);
    assert_int_equal(h.l1_entries, 20);
    assert_int_equal(h.l1_offset, 0x30000);
    assert_int_equal(h.reftable_offset, 0x10000);
    assert_int_equal(h.reftable_clusters, 1);
    assert_int_equal(h.n_snapshots, 2);
    assert_int_equal(h.snapshots_offset, 0x50000);
    assert_int_equal(h.incompatible, 0xf);
    assert_int_equal(h.compatible, 1);
    assert_int_equal(h.autoclear, 3);
    assert_int_equal(h.refcount_order, 4);
    assert_int_equal(h.header_length, 112);
    assert_int_equal(h.compression_type, 1);
}

static void version_2_ends_at_72(void **state)
{
    uint8_t b[112];
    struct q2_header h;

    (void)state;
    sample_v2(b);
    assert_int_equal(parse(b, 72, &h, NULL), 0);
    assert_int_equal(h.version, 2);
    assert_int_equal(h.incompatible | h.compatible | h.autoclear, 0);
    assert_int_equal(h.refcount_order, 4);
    assert_int_equal(h.header_length, 72);
    assert_int_equal(h.compression_type, 0);
    assert_int_equal(h.snapshots_offset, 0x50000);
    assert_int_equal(parse(b, 112, &h, NULL), 0);
    assert_int_equal(h.header_length, 72);
}

static void a_header_of_104_bytes_has_no_compression_type(void **state)
{
    uint8_t b[112];
    struct q2_header h;

    (void)state;
    sample_v3(b);
    be32_store(b + 100, 104);
    b[104] = 0xe2; /* first byte of an extension */
    assert_int_equal(parse(b, 112, &h, NULL), 0);
    assert_int_equal(h.compression_type, 0);
    assert_int_equal(parse(b, 104, &h, NULL), 0);
    /* with one byte more the type is there */
    be32_store(b + 100, 105);
    assert_int_equal(parse(b, 112, &h, NULL), QCBM_E_UNSUPPORTED);
    b[104] = 0;
    assert_int_equal(parse(b, 105, &h, NULL), 0);
}

static void a_file_shorter_than_its_header_is_corrupt(void **state)
{
    uint8_t b[112];
    struct q2_header h;

    (void)state;
    for (size_t len = 0; len <= 112; len++) {
        struct qcbm_error err = { 0 };
        int ret;

        sample_v3(b);
        ret = parse(b, len, &h, &err);
        if (len < 4)
            assert_failure(ret, &err, QCBM_E_NOT_QCOW2, 0, "Image is not in qcow2 format");
        else if (len < 112)
            assert_failure(ret, &err, QCBM_E_CORRUPT, len, "the file ends after");
        else
            assert_int_equal(ret, 0);
        sample_v2(b);
        memset(&err, 0, sizeof(err));
        ret = parse(b, len, &h, &err);
        if (len < 4)
            assert_failure(ret, &err, QCBM_E_NOT_QCOW2, 0, "Image is not in qcow2 format");
        else if (len < 72)
            assert_failure(ret, &err, QCBM_E_CORRUPT, len, "the file ends after");
        else
            assert_int_equal(ret, 0);
    }
}

/* Bytes past the first 112 are not asked for, however long the header is. */
static void a_long_header_needs_112_bytes(void **state)
{
    uint8_t b[112];
    struct q2_header h;

    (void)state;
    sample_v3(b);
    be32_store(b + 100, 65536);
    assert_int_equal(parse(b, 112, &h, NULL), 0);
    assert_int_equal(h.header_length, 65536);
}

struct defect {
    unsigned offset, width;
    uint64_t value;
    int code;
    uint64_t at;
    const char *text;
};

static void reject_each(const struct defect *defects, size_t n, void (*sample)(uint8_t *))
{
    for (size_t i = 0; i < n; i++) {
        const struct defect *d = &defects[i];
        struct q2_header h, before;
        struct qcbm_error err = { 0 };
        uint8_t b[112];

        sample(b);
        put(b, d->offset, d->width, d->value);
        memset(&h, 0xcd, sizeof(h));
        before = h;
        assert_failure(parse(b, 112, &h, &err), &err, d->code, d->at, d->text);
        assert_memory_equal(&h, &before, sizeof(h)); /* nothing is given out on failure */
        assert_int_equal(parse(b, 112, &h, NULL), d->code);
    }
}

static void accept_each(const struct defect *edges, size_t n, void (*sample)(uint8_t *))
{
    for (size_t i = 0; i < n; i++) {
        struct q2_header h;
        struct qcbm_error err = { 0 };
        uint8_t b[112];

        sample(b);
        put(b, edges[i].offset, edges[i].width, edges[i].value);
        if (parse(b, 112, &h, &err) != 0)
            fail_msg("edge %zu: %s", i, err.message);
    }
}

#define CORRUPT QCBM_E_CORRUPT
#define LIMIT QCBM_E_LIMIT
#define UNSUPPORTED QCBM_E_UNSUPPORTED
#define TOP (UINT64_C(1) << 63)

static const struct defect v3_defects[] = {
    { 0, 4, 0x514649fa, QCBM_E_NOT_QCOW2, 0, "magic" },
    { 4, 4, 0, UNSUPPORTED, 4, "Unsupported qcow2 version 0" },
    { 4, 4, 1, UNSUPPORTED, 4, "Unsupported qcow2 version 1" },
    { 4, 4, 4, UNSUPPORTED, 4, "Unsupported qcow2 version 4" },
    { 4, 4, 0xffffffff, UNSUPPORTED, 4, "Unsupported qcow2 version 4294967295" },
    { 8, 8, 65537, CORRUPT, 8, "Invalid backing file offset" },
    { 8, 8, UINT64_MAX, CORRUPT, 8, "Invalid backing file offset" },
    { 8, 8, 65536, CORRUPT, 16, "Backing file name too long" },
    { 8, 8, 65536 - 8, CORRUPT, 16, "Backing file name too long" },
    { 16, 4, 1024, CORRUPT, 16, "Backing file name too long" },
    { 16, 4, 0xffffffff, CORRUPT, 16, "Backing file name too long" },
    { 20, 4, 8, CORRUPT, 20, "Unsupported cluster size: 2^8" },
    { 20, 4, 0, CORRUPT, 20, "Unsupported cluster size: 2^0" },
    { 20, 4, 22, LIMIT, 20, "Unsupported cluster size: 2^22" },
    { 20, 4, 64, LIMIT, 20, "Unsupported cluster size: 2^64" },
    { 20, 4, 0xffffffff, LIMIT, 20, "Unsupported cluster size: 2^4294967295" },
    { 24, 8, (UINT64_C(10) << 30) + 1, CORRUPT, 36, "L1 table is too small" },
    { 24, 8, TOP - 1, LIMIT, 24, "Image is too big" },
    { 24, 8, TOP, LIMIT, 24, "Image is too big" },
    { 24, 8, UINT64_MAX, LIMIT, 24, "Image is too big" },
    { 32, 4, 3, UNSUPPORTED, 32, "Unsupported encryption method 3" },
    { 32, 4, 0xffffffff, UNSUPPORTED, 32, "Unsupported encryption method" },
    { 36, 4, 19, CORRUPT, 36, "L1 table is too small" },
    { 36, 4, 0, CORRUPT, 36, "L1 table is too small" },
    { 36, 4, 4194305, LIMIT, 36, "Active L1 table too large" },
    { 36, 4, 0xffffffff, LIMIT, 36, "Active L1 table too large" },
    { 40, 8, 0x30200, CORRUPT, 40, "Active L1 table offset invalid" },
    { 40, 8, 1, CORRUPT, 40, "Active L1 table offset invalid" },
    { 40, 8, TOP, CORRUPT, 40, "Active L1 table offset invalid" },
    { 40, 8, UINT64_MAX - 0xffff, CORRUPT, 40, "Active L1 table offset invalid" },
    { 48, 8, 0x10001, CORRUPT, 48, "Reference count table offset invalid" },
    { 48, 8, TOP - 0x10000, CORRUPT, 48, "Reference count table offset invalid" }, /* its end is 2^63 */
    { 48, 8, UINT64_MAX - 0xffff, CORRUPT, 48, "Reference count table offset invalid" },
    { 56, 4, 129, LIMIT, 56, "Reference count table too large" },
    { 56, 4, 0xffffffff, LIMIT, 56, "Reference count table too large" },
    { 60, 4, 65537, LIMIT, 60, "Snapshot table too large" },
    { 60, 4, 0xffffffff, LIMIT, 60, "Snapshot table too large" },
    { 64, 8, 0x50008, CORRUPT, 64, "Snapshot table offset invalid" },
    { 64, 8, TOP, CORRUPT, 64, "Snapshot table offset invalid" },
    { 72, 8, 8, CORRUPT, 72, "Compression type incompatible feature bit must not be set" },
    { 88, 8, 2, CORRUPT, 88, "data-file-raw requires a data file" },
    { 96, 4, 7, CORRUPT, 96, "Reference count entry width too large" },
    { 96, 4, 0xffffffff, CORRUPT, 96, "Reference count entry width too large" },
    { 100, 4, 0, CORRUPT, 100, "qcow2 header too short" },
    { 100, 4, 103, CORRUPT, 100, "qcow2 header too short" },
    { 100, 4, 65537, CORRUPT, 100, "qcow2 header exceeds cluster size" },
    { 100, 4, 0xffffffff, CORRUPT, 100, "qcow2 header exceeds cluster size" },
    { 104, 1, 1, CORRUPT, 72, "Compression type incompatible feature bit must be set" },
    { 104, 1, 2, UNSUPPORTED, 104, "unknown compression type: 2" },
    { 104, 1, 255, UNSUPPORTED, 104, "unknown compression type: 255" },
};

/* How many of them, which are in file order, lie in the part that both versions have. */
static size_t of_version_2(const struct defect *defects, size_t n)
{
    size_t i = 0;

    while (i < n && defects[i].offset < 72)
        i++;
    return i;
}

static void version_3_rejects_each_bad_field(void **state)
{
    (void)state;
    reject_each(v3_defects, ARRAY_LEN(v3_defects), sample_v3);
}

static void version_2_rejects_each_bad_field_that_it_has(void **state)
{
    size_t n = of_version_2(v3_defects, ARRAY_LEN(v3_defects));

    (void)state;
    assert_true(n > 30 && n < ARRAY_LEN(v3_defects));
    reject_each(v3_defects, n, sample_v2);
}

static void the_last_legal_value_passes(void **state)
{
    static const struct defect edges[] = {
        { 8, 8, 0, 0, 0, "" },
        { 8, 8, 1, 0, 0, "" }, /* qemu accepts a name inside the header */
        { 8, 8, 65536 - 9, 0, 0, "" },
        { 16, 4, 1023, 0, 0, "" },
        { 16, 4, 0, 0, 0, "" },
        { 24, 8, 0, 0, 0, "" },
        { 24, 8, 1000001, 0, 0, "" },
        { 32, 4, 1, 0, 0, "" },
        { 32, 4, 2, 0, 0, "" },
        { 36, 4, 21, 0, 0, "" },
        { 36, 4, 4194304, 0, 0, "" },
        { 40, 8, 0, 0, 0, "" },
        { 40, 8, TOP - 0x10000, 0, 0, "" }, /* 160 bytes end below 2^63 */
        { 48, 8, TOP - 0x20000, 0, 0, "" },
        { 56, 4, 0, 0, 0, "" },
        { 56, 4, 128, 0, 0, "" },
        { 60, 4, 0, 0, 0, "" },
        { 60, 4, 65536, 0, 0, "" },
        { 72, 8, 7, 0, 0, "" },
        { 72, 8, UINT64_C(0xffffffffffffffe0), 0, 0, "" }, /* unknown bits: for the caller */
        { 80, 8, UINT64_MAX, 0, 0, "" },
        { 88, 8, UINT64_MAX - 2, 0, 0, "" },
        { 96, 4, 0, 0, 0, "" },
        { 96, 4, 6, 0, 0, "" },
        { 100, 4, 104, 0, 0, "" },
        { 100, 4, 108, 0, 0, "" },
        { 100, 4, 65536, 0, 0, "" },
    };

    (void)state;
    accept_each(edges, ARRAY_LEN(edges), sample_v3);
    accept_each(edges, of_version_2(edges, ARRAY_LEN(edges)), sample_v2);
}

static void name_length_counts_only_with_an_offset(void **state)
{
    uint8_t b[112];
    struct q2_header h;

    (void)state;
    sample_v3(b);
    be64_store(b + 8, 0);
    be32_store(b + 16, 0xffffffff);
    assert_int_equal(parse(b, 112, &h, NULL), 0);
    assert_int_equal(h.backing_size, 0);
    be64_store(b + 8, 65536); /* the end of the cluster, for a name of no bytes */
    be32_store(b + 16, 0);
    assert_int_equal(parse(b, 112, &h, NULL), 0);
    assert_int_equal(h.backing_offset, 65536);
}

static void raw_data_file_needs_the_data_file(void **state)
{
    uint8_t b[112];
    struct q2_header h;

    (void)state;
    sample_v3(b);
    be64_store(b + 72, 4);
    be64_store(b + 88, 2);
    assert_int_equal(parse(b, 112, &h, NULL), 0);
}

static void extended_l2_needs_clusters_of_16_kib(void **state)
{
    (void)state;
    for (uint32_t bits = 9; bits <= 21; bits++) {
        struct qcbm_error err = { 0 };
        struct q2_header h;
        uint8_t b[112];
        int ret;

        sample_v3(b);
        be32_store(b + 20, bits);
        be64_store(b + 8, 0);
        be64_store(b + 24, 0);
        be64_store(b + 40, 0);
        be64_store(b + 48, 0);
        be64_store(b + 64, 0);
        be64_store(b + 72, 16);
        ret = parse(b, 112, &h, &err);
        if (bits < 14)
            assert_failure(ret, &err, QCBM_E_CORRUPT, 20, "Unsupported subcluster size");
        else
            assert_int_equal(ret, 0);
    }
}

/* Limits that depend on the cluster size: the largest image that 32 MiB of L1 can map, the refcount table. */
static void limits_follow_the_cluster_size(void **state)
{
    (void)state;
    for (uint32_t bits = 9; bits <= 21; bits++)
        for (unsigned ext = 0; ext <= (bits >= 14 ? 1 : 0); ext++) {
            uint64_t span = UINT64_C(1) << (2 * bits - 3 - ext);
            struct qcbm_error err = { 0 };
            struct q2_header h;
            uint8_t b[112];

            sample_v3(b);
            be64_store(b + 8, 0);
            be32_store(b + 20, bits);
            be64_store(b + 24, span << 22);
            be32_store(b + 36, 4194304);
            be64_store(b + 40, UINT64_C(1) << 40);
            be64_store(b + 48, 0);
            be32_store(b + 56, (UINT32_C(8) << 20) >> bits);
            be64_store(b + 64, 0);
            be64_store(b + 72, ext ? 16 : 0);
            assert_int_equal(parse(b, 112, &h, NULL), 0);
            be64_store(b + 24, (span << 22) + 1);
            assert_failure(parse(b, 112, &h, &err), &err, QCBM_E_CORRUPT, 36, "L1 table is too small");
            be32_store(b + 56, ((UINT32_C(8) << 20) >> bits) + 1);
            assert_failure(parse(b, 112, &h, &err), &err, QCBM_E_LIMIT, 56, "Reference count table too large");
        }
}

static void the_first_of_two_faults_is_told(void **state)
{
    uint8_t b[112];
    struct q2_header h;
    struct qcbm_error err;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(v3_defects); i++) {
        const struct defect *d = &v3_defects[i];

        if (d->at == 16)
            continue;
        sample_v3(b);
        be32_store(b + 16, 5000); /* the last rule */
        put(b, d->offset, d->width, d->value);
        assert_failure(parse(b, 112, &h, &err), &err, d->code, d->at, d->text);
    }
}

static void parse_of_store_is_the_struct(void **state)
{
    uint64_t seed = 12345;

    (void)state;
    for (int i = 0; i < 2000; i++) {
        struct q2_header h, again;
        uint8_t b[112];
        uint8_t *to;
        size_t len;

        sample_v3(b);
        be32_store(b + 4, next_random(&seed) % 4 ? 3 : 2);
        be64_store(b + 8, next_random(&seed) % 3 ? next_random(&seed) % 60000 : 0);
        be32_store(b + 16, (uint32_t)(next_random(&seed) % 1024));
        be64_store(b + 24, next_random(&seed) % (UINT64_C(5) << 30)); /* extended L2 maps half as much */
        be32_store(b + 32, (uint32_t)(next_random(&seed) % 3));
        be64_store(b + 40, (next_random(&seed) & 0xffffff) << 16);
        be64_store(b + 48, (next_random(&seed) & 0xffffff) << 16);
        be64_store(b + 64, (next_random(&seed) & 0xffffff) << 16);
        be64_store(b + 72, (next_random(&seed) & ~UINT64_C(8)) | 4);
        be64_store(b + 80, next_random(&seed));
        be64_store(b + 88, next_random(&seed));
        be32_store(b + 96, (uint32_t)(next_random(&seed) % 7));
        be32_store(b + 100, 104 + (uint32_t)(next_random(&seed) % 12));
        memset(&h, 0, sizeof(h));
        memset(&again, 0, sizeof(again));
        assert_int_equal(parse(b, 112, &h, NULL), 0);
        len = h.version == 2 ? 72 : h.header_length < 112 ? h.header_length : 112;
        to = exact_copy(b, len);
        memset(to, 0xa5, len);
        assert_int_equal(q2_header_store(to, &h), len);
        assert_int_equal(parse(to, len, &again, NULL), 0);
        assert_memory_equal(&h, &again, sizeof(h));
        free(to);
    }
}

static void store_of_parse_is_the_bytes(void **state)
{
    static const uint32_t lengths[] = { 104, 105, 111, 112, 120, 65536 };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
        struct q2_header h;
        uint8_t b[112], to[120];
        size_t len = lengths[i] < 112 ? lengths[i] : 112;

        sample_v3(b);
        be32_store(b + 100, lengths[i]);
        if (lengths[i] > 104) {
            b[104] = 1;
            be64_store(b + 72, 8);
        }
        assert_int_equal(parse(b, 112, &h, NULL), 0);
        memset(to, 0xa5, sizeof(to));
        assert_int_equal(q2_header_store(to, &h), len);
        assert_memory_equal(to, b, len);
        for (size_t k = len; k < sizeof(to); k++)
            assert_int_equal(to[k], 0xa5); /* an extension may start there */
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(version_3_gives_every_field),
        cmocka_unit_test(version_2_ends_at_72),
        cmocka_unit_test(a_header_of_104_bytes_has_no_compression_type),
        cmocka_unit_test(a_file_shorter_than_its_header_is_corrupt),
        cmocka_unit_test(a_long_header_needs_112_bytes),
        cmocka_unit_test(version_3_rejects_each_bad_field),
        cmocka_unit_test(version_2_rejects_each_bad_field_that_it_has),
        cmocka_unit_test(the_last_legal_value_passes),
        cmocka_unit_test(name_length_counts_only_with_an_offset),
        cmocka_unit_test(raw_data_file_needs_the_data_file),
        cmocka_unit_test(extended_l2_needs_clusters_of_16_kib),
        cmocka_unit_test(limits_follow_the_cluster_size),
        cmocka_unit_test(the_first_of_two_faults_is_told),
        cmocka_unit_test(parse_of_store_is_the_struct),
        cmocka_unit_test(store_of_parse_is_the_bytes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
