/* test_q2_extension.c - the list of header extensions in every arrangement of the first cluster
 * SPDX-License-Identifier: MIT */
#include "unit.h"

#include "base/bytes.h"
#include "format/q2_extension.h"
#include "format/q2_limits.h"

#define UNKNOWN UINT32_C(0x11223344)

/* A first cluster under construction, and the header that goes with it. */
struct build {
    struct q2_header h;
    uint8_t *cluster;
    size_t len, at;
};

static void build_init(struct build *b, uint32_t cluster_bits)
{
    memset(b, 0, sizeof(*b));
    b->h.version = 3;
    b->h.cluster_bits = cluster_bits;
    b->h.header_length = 112;
    b->len = (size_t)1 << cluster_bits;
    b->cluster = calloc(1, b->len);
    assert_non_null(b->cluster);
    b->at = 112;
}

static void build_free(struct build *b)
{
    free(b->cluster);
}

/* An extension with @len bytes of 1, 2, 3 ... */
static void add(struct build *b, uint32_t type, uint32_t len)
{
    be32_store(b->cluster + b->at, type);
    be32_store(b->cluster + b->at + 4, len);
    for (uint32_t i = 0; i < len; i++)
        b->cluster[b->at + 8 + i] = (uint8_t)(i + 1);
    b->at += 8 + ((len + 7) & ~7u);
}

static void add_crypto(struct build *b, uint64_t offset, uint64_t len)
{
    size_t at = b->at + 8;

    add(b, Q2_EXT_CRYPTO, 16);
    be64_store(b->cluster + at, offset);
    be64_store(b->cluster + at + 8, len);
}

/* On a copy of exactly @len bytes; what is kept of it must not be used when the copy is gone. */
static int parse_len(const struct build *b, size_t len, struct q2_extensions *out, struct qcbm_error *err)
{
    uint8_t *p = exact_copy(b->cluster, len);
    int ret = q2_extensions_parse(p, len, &b->h, out, err);

    for (size_t i = 0; ret == 0 && i < out->n; i++) {
        const struct q2_extension *e = &out->list[i];

        assert_ptr_equal(e->data, p + e->offset + 8);
        assert_memory_equal(e->data, b->cluster + e->offset + 8, e->len);
    }
    free(p);
    return ret;
}

static void parses(const struct build *b, size_t n, bool has_end, uint64_t end_offset)
{
    struct q2_extensions exts;
    struct qcbm_error err = { 0 };

    if (parse_len(b, b->len, &exts, &err) != 0)
        fail_msg("%s", err.message);
    assert_int_equal(exts.n, n);
    assert_int_equal(exts.has_end, has_end);
    assert_int_equal(exts.end_offset, end_offset);
    assert_int_equal(exts.limit, b->h.backing_offset ? b->h.backing_offset : b->len);
    q2_extensions_free(&exts);
}

static void rejects(const struct build *b, size_t len, uint64_t at, const char *text)
{
    struct q2_extensions exts;
    struct qcbm_error err = { 0 };

    memset(&exts, 0xcd, sizeof(exts));
    assert_failure(parse_len(b, len, &exts, &err), &err, QCBM_E_CORRUPT, at, text);
    assert_null(exts.list); /* nothing to free, and freeing it is fine */
    assert_int_equal(exts.n, 0);
    q2_extensions_free(&exts);
}

static void list_of_all_kinds_is_read_in_order(void **state)
{
    static const struct {
        uint32_t type, len;
    } kinds[] = { { Q2_EXT_BACKING_FORMAT, 5 },
                  { Q2_EXT_DATA_FILE, 300 },
                  { Q2_EXT_FEATURE_TABLE, 384 },
                  { Q2_EXT_BITMAPS, 24 },
                  { UNKNOWN, 0 },
                  { Q2_EXT_PADDING, 16 },
                  { 0xffffffff, 9 } };
    struct q2_extensions exts;
    struct build b;
    uint64_t at = 112;

    (void)state;
    build_init(&b, 16);
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        add(&b, kinds[i].type, kinds[i].len);
    assert_int_equal(q2_extensions_parse(b.cluster, b.len, &b.h, &exts, NULL), 0);
    assert_int_equal(exts.n, ARRAY_LEN(kinds));
    for (size_t i = 0; i < exts.n; i++) {
        assert_int_equal(exts.list[i].type, kinds[i].type);
        assert_int_equal(exts.list[i].len, kinds[i].len);
        assert_int_equal(exts.list[i].offset, at);
        assert_ptr_equal(exts.list[i].data, b.cluster + at + 8);
        at += 8 + ((kinds[i].len + 7) & ~7u);
    }
    assert_true(exts.has_end);
    assert_int_equal(exts.end_offset, at);
    assert_int_equal(exts.limit, 65536);
    q2_extensions_free(&exts);
    q2_extensions_free(&exts);
    build_free(&b);
}

static void list_starts_at_the_header_length(void **state)
{
    static const uint32_t lengths[] = { 72, 104, 105, 108, 112, 120, 500, 65536 - 16, 65536 - 8 };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
        struct build b;

        build_init(&b, 16);
        b.h.version = lengths[i] == 72 ? 2 : 3;
        b.h.header_length = lengths[i];
        memset(b.cluster, 0x55, lengths[i]);
        b.at = lengths[i];
        add(&b, UNKNOWN, 0);
        if (lengths[i] == 65536 - 8)
            parses(&b, 1, false, 65536);
        else
            parses(&b, 1, true, lengths[i] + 8);
        build_free(&b);
    }
}

static void the_end_mark_ends_and_its_length_is_no_matter(void **state)
{
    struct build b;

    (void)state;
    build_init(&b, 9);
    add(&b, UNKNOWN, 3);
    be32_store(b.cluster + b.at + 4, 512 - 128 - 8);
    be32_store(b.cluster + b.at + 8, UNKNOWN);
    parses(&b, 1, true, 128);
    build_free(&b);
}

static void the_end_mark_may_be_missing_at_the_limit(void **state)
{
    struct build b;

    (void)state;
    build_init(&b, 9);
    add(&b, UNKNOWN, 16);
    memset(b.cluster + b.at, 0x66, 100); /* the backing name */
    b.h.backing_offset = b.at;
    parses(&b, 1, false, b.at);
    /* without a backing file the limit is the end of the cluster */
    b.h.backing_offset = 0;
    b.at = 112;
    add(&b, UNKNOWN, 512 - 120);
    parses(&b, 1, false, 512);
    build_free(&b);
}

static void padding_may_pass_the_limit(void **state)
{
    struct build b;

    (void)state;
    for (uint32_t len = 1; len < 8; len++) {
        build_init(&b, 9);
        add(&b, UNKNOWN, len);
        b.h.backing_offset = 120 + len;
        parses(&b, 1, false, 120 + len);
        build_free(&b);
        build_init(&b, 9);
        b.h.header_length = 512 - 8 - len;
        b.at = b.h.header_length;
        be32_store(b.cluster + b.at, UNKNOWN);
        be32_store(b.cluster + b.at + 4, len);
        parses(&b, 1, false, 512);
        build_free(&b);
    }
}

/* qemu-img 7.2.22: "Header extension too large", also where the few bytes are zeros */
static void a_scrap_before_the_limit_is_refused(void **state)
{
    (void)state;
    for (uint64_t scrap = 1; scrap < 8; scrap++) {
        struct build b;

        build_init(&b, 9);
        add(&b, UNKNOWN, 8);
        b.h.backing_offset = 128 + scrap;
        rejects(&b, b.len, 128, "Header extension too large");
        build_free(&b);
    }
}

static void no_list_where_the_limit_leaves_no_room(void **state)
{
    struct build b;

    (void)state;
    build_init(&b, 9);
    add(&b, UNKNOWN, 200);
    b.h.backing_offset = 112;
    parses(&b, 0, false, 112);
    b.h.backing_offset = 1;
    parses(&b, 0, false, 1);
    b.h.backing_offset = 0;
    b.h.header_length = 512;
    parses(&b, 0, false, 512);
    build_free(&b);
}

static void length_past_the_limit_is_refused(void **state)
{
    static const uint32_t lengths[] = { 9, 16, 0x7fffffff, 0xfffffff8, 0xfffffff9, 0xffffffff };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
        struct build b;

        build_init(&b, 9);
        add(&b, UNKNOWN, 8);
        add(&b, UNKNOWN, 8);
        be32_store(b.cluster + 132, lengths[i]);
        b.h.backing_offset = 128 + 8 + 8;
        rejects(&b, b.len, 132, "Header extension too large");
        build_free(&b);
    }
}

/* qemu-img 7.2.22 has the same words for it: the length is looked at before the type */
static void so_is_that_of_the_end_mark(void **state)
{
    struct build b;

    (void)state;
    build_init(&b, 9);
    add(&b, UNKNOWN, 8);
    add(&b, Q2_EXT_END, 0);
    b.h.backing_offset = 136 + 8;
    parses(&b, 1, true, 128);
    be32_store(b.cluster + 132, 8);
    parses(&b, 1, true, 128);
    be32_store(b.cluster + 132, 9);
    rejects(&b, b.len, 132, "Header extension too large");
    build_free(&b);
}

static void lengths_of_known_kinds_are_checked(void **state)
{
    struct build b;

    (void)state;
    for (uint32_t len = 0; len < 40; len++) {
        build_init(&b, 9);
        add(&b, Q2_EXT_BACKING_FORMAT, len);
        if (len < 16)
            parses(&b, 1, true, b.at);
        else
            rejects(&b, b.len, 116, "ext_backing_format");
        build_free(&b);

        build_init(&b, 9);
        add(&b, UNKNOWN, 1);
        add(&b, Q2_EXT_BITMAPS, len);
        if (len > 16 && len <= 24) /* what it says counts for nothing; the next one is where 24 bytes end */
            parses(&b, 2, true, b.at);
        build_free(&b);

        build_init(&b, 9);
        b.h.crypt_method = 2;
        add(&b, Q2_EXT_CRYPTO, len);
        if (len != 16)
            rejects(&b, b.len, 116, "but expected size 16");
        build_free(&b);
    }
}

static void luks_and_its_extension_need_each_other(void **state)
{
    struct build b;

    (void)state;
    build_init(&b, 9);
    b.h.crypt_method = 2;
    rejects(&b, b.len, 32, "Missing CRYPTO header for crypt method 2");
    add(&b, UNKNOWN, 16);
    rejects(&b, b.len, 32, "Missing CRYPTO header for crypt method 2");
    add_crypto(&b, 0x400, 0x200);
    parses(&b, 2, true, b.at);
    for (uint32_t method = 0; method < 2; method++) {
        b.h.crypt_method = method;
        rejects(&b, b.len, 136, "only expected with LUKS");
    }
    build_free(&b);
}

static void luks_area_must_be_aligned_and_end_below_2_63(void **state)
{
    static const struct {
        uint64_t offset, len, at; /* 0 = fine */
    } cases[] = { { 0x10000, 0x200000, 0 },
                  { 0x10200, 0x1000, 120 },
                  { 1, 0, 120 },
                  { UINT64_MAX, 0, 120 },
                  { 0x10000, UINT64_MAX, 128 },
                  { (UINT64_C(1) << 63) - 0x10000, 0xffff, 0 },
                  { (UINT64_C(1) << 63) - 0x10000, 0x10000, 128 },
                  { UINT64_MAX - 0xffff, 0x10000, 128 } };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct build b;

        build_init(&b, 16);
        b.h.crypt_method = 2;
        add_crypto(&b, cases[i].offset, cases[i].len);
        if (!cases[i].at)
            parses(&b, 1, true, b.at);
        else
            rejects(&b, b.len, cases[i].at, "Encryption header");
        build_free(&b);
    }
}

static void what_the_file_does_not_have_reads_as_zeros(void **state)
{
    struct build b;

    (void)state;
    build_init(&b, 16);
    add(&b, UNKNOWN, 16); /* data 120..135 */
    add(&b, UNKNOWN, 0);  /* 136..143 */
    for (size_t len = 0; len <= 200; len++) {
        struct q2_extensions exts;

        /* an extension that has begun must be there as a whole */
        if (len > 112 && len < 136) {
            rejects(&b, len, 116, "the file ends inside it");
        } else if (len > 136 && len < 144) {
            rejects(&b, len, 140, "the file ends inside it");
        } else {
            assert_int_equal(parse_len(&b, len, &exts, NULL), 0);
            assert_true(exts.has_end);
            assert_int_equal(exts.n, len <= 112 ? 0 : len <= 136 ? 1 : 2);
            assert_int_equal(exts.end_offset, len <= 112 ? 112 : len <= 136 ? 136 : 144);
            q2_extensions_free(&exts);
        }
    }
    build_free(&b);
}

static void only_the_first_cluster_counts(void **state)
{
    struct build b;
    struct q2_extensions exts;
    uint8_t *two;

    (void)state;
    build_init(&b, 9);
    two = calloc(1, 1024);
    assert_non_null(two);
    be32_store(two + 112, UNKNOWN);
    be32_store(two + 116, 512 - 120 + 1);
    assert_int_equal(q2_extensions_parse(two, 1024, &b.h, &exts, NULL), QCBM_E_CORRUPT);
    be32_store(two + 116, 512 - 120);
    memset(two + 512, 0xff, 512);
    assert_int_equal(q2_extensions_parse(two, 1024, &b.h, &exts, NULL), 0);
    assert_int_equal(exts.n, 1);
    q2_extensions_free(&exts);
    free(two);
    build_free(&b);
}

static void the_longest_list_fits(void **state)
{
    struct build b;

    (void)state;
    build_init(&b, 21);
    while (b.at < b.len)
        add(&b, UNKNOWN, 0);
    parses(&b, (b.len - 112) / 8, false, b.len);
    build_free(&b);
}

static void the_last_instance_wins(void **state)
{
    struct q2_extensions exts;
    struct build b;

    (void)state;
    build_init(&b, 16);
    add(&b, UNKNOWN, 1);
    add(&b, Q2_EXT_BACKING_FORMAT, 2);
    add(&b, UNKNOWN, 3);
    assert_int_equal(q2_extensions_parse(b.cluster, b.len, &b.h, &exts, NULL), 0);
    assert_ptr_equal(q2_extension_find(&exts, UNKNOWN), &exts.list[2]);
    assert_ptr_equal(q2_extension_find(&exts, Q2_EXT_BACKING_FORMAT), &exts.list[1]);
    assert_null(q2_extension_find(&exts, Q2_EXT_BITMAPS));
    assert_null(q2_extension_find(&exts, Q2_EXT_END));
    q2_extensions_free(&exts);
    assert_null(q2_extension_find(&exts, UNKNOWN));
    build_free(&b);
}

static void add_feature(struct build *b, size_t at, uint8_t kind, uint8_t bit, const char *name)
{
    memset(b->cluster + at, 0, 48);
    b->cluster[at] = kind;
    b->cluster[at + 1] = bit;
    memcpy(b->cluster + at + 2, name, strlen(name));
}

static void feature_names_come_from_the_table(void **state)
{
    struct q2_extensions exts;
    struct build b;
    char name[48];

    (void)state;
    build_init(&b, 16);
    add(&b, Q2_EXT_FEATURE_TABLE, 4 * 48 + 47); /* four, and one cut short */
    add_feature(&b, 120, 0, 0, "dirty bit");
    add_feature(&b, 168, 0, 63, "1234567890123456789012345678901234567890123456"); /* 46 bytes, no NUL */
    add_feature(&b, 216, 2, 1, "raw external data");
    add_feature(&b, 264, 1, 5, "");
    b.cluster[312] = 0;
    b.cluster[313] = 9;
    b.cluster[314] = 'x';
    assert_int_equal(q2_extensions_parse(b.cluster, b.len, &b.h, &exts, NULL), 0);
    assert_true(q2_feature_name(&exts, 0, 0, name));
    assert_string_equal(name, "dirty bit");
    assert_true(q2_feature_name(&exts, 0, 63, name));
    assert_string_equal(name, "1234567890123456789012345678901234567890123456");
    assert_true(q2_feature_name(&exts, 2, 1, name));
    assert_string_equal(name, "raw external data");
    assert_false(q2_feature_name(&exts, 1, 5, name)); /* no name */
    assert_false(q2_feature_name(&exts, 0, 9, name)); /* cut */
    assert_false(q2_feature_name(&exts, 1, 0, name));
    assert_false(q2_feature_name(&exts, 256, 256, name));
    q2_extensions_free(&exts);
    assert_false(q2_feature_name(&exts, 0, 0, name));
    build_free(&b);
}

static const uint8_t bitmaps_payload[24] = { 0, 0, 0, 3, 0, 0, 0,    0,    0, 0, 0, 0,
                                             0, 0, 1, 8, 0, 0, 0x12, 0x34, 0, 7, 0, 0 };

static void bitmaps_payload_round_trip(void **state)
{
    struct q2_bitmaps_ext ext;
    uint8_t *in = exact_copy(bitmaps_payload, 24), *out = exact_copy(bitmaps_payload, 24);
    uint64_t seed = 1;

    (void)state;
    q2_bitmaps_ext_parse(in, &ext);
    assert_int_equal(ext.n_bitmaps, 3);
    assert_int_equal(ext.reserved, 0);
    assert_int_equal(ext.directory_size, 0x108);
    assert_int_equal(ext.directory_offset, UINT64_C(0x123400070000));
    for (int i = 0; i < 100; i++) {
        for (size_t k = 0; k < 24; k++)
            in[k] = (uint8_t)next_random(&seed);
        q2_bitmaps_ext_parse(in, &ext);
        memset(out, 0xa5, 24);
        q2_bitmaps_ext_store(out, &ext);
        assert_memory_equal(in, out, 24);
    }
    free(in);
    free(out);
}

static void bitmaps_payload_rules(void **state)
{
    static const struct {
        struct q2_bitmaps_ext ext;
        int code;
        uint64_t at;
        const char *text;
    } cases[] = {
        { { 1, 0, 1, 0x10000 }, 0, 0, "" },
        { { 65535, 0, 67107840, UINT64_C(0x7fffffff00000000) }, 0, 0, "" },
        { { 0, 0, 32, 0x10000 }, QCBM_E_CORRUPT, 1000, "found bitmaps extension with zero bitmaps" },
        { { 65536, 0, 32, 0x10000 }, QCBM_E_LIMIT, 1000, "bitmaps_ext: Image has 65536 bitmaps, exceeding" },
        { { 0xffffffff, 0, 32, 0x10000 }, QCBM_E_LIMIT, 1000, "bitmaps_ext: Image has 4294967295 bitmaps" },
        { { 1, 1, 32, 0x10000 }, QCBM_E_CORRUPT, 1004, "Reserved field" },
        { { 1, 0x80000000, 32, 0x10000 }, QCBM_E_CORRUPT, 1004, "Reserved field" },
        { { 1, 0, 0, 0x10000 }, QCBM_E_CORRUPT, 1008, "directory size is zero" },
        { { 1, 0, 67107841, 0x10000 }, QCBM_E_LIMIT, 1008, "bitmap directory size (67107841) exceeds" },
        { { 1, 0, UINT64_MAX, 0x10000 }, QCBM_E_LIMIT, 1008, "exceeds" },
        { { 1, 0, 32, 0 }, QCBM_E_CORRUPT, 1016, "directory offset" },
        { { 1, 0, 32, 0x10200 }, QCBM_E_CORRUPT, 1016, "directory offset" },
        { { 1, 0, 32, UINT64_MAX }, QCBM_E_CORRUPT, 1016, "directory offset" },
        { { 1, 0, 65536, (UINT64_C(1) << 63) - 65536 }, QCBM_E_CORRUPT, 1016, "directory offset" },
        { { 1, 0, 65535, (UINT64_C(1) << 63) - 65536 }, 0, 0, "" },
        { { 1, 0, 32, UINT64_MAX - 0xffff }, QCBM_E_CORRUPT, 1016, "directory offset" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct qcbm_error err = { 0 };
        int ret = q2_bitmaps_ext_check(&cases[i].ext, 1000, 65536, &err);

        if (cases[i].code == 0)
            assert_int_equal(ret, 0);
        else
            assert_failure(ret, &err, cases[i].code, cases[i].at, cases[i].text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(list_of_all_kinds_is_read_in_order),
        cmocka_unit_test(list_starts_at_the_header_length),
        cmocka_unit_test(the_end_mark_ends_and_its_length_is_no_matter),
        cmocka_unit_test(the_end_mark_may_be_missing_at_the_limit),
        cmocka_unit_test(padding_may_pass_the_limit),
        cmocka_unit_test(a_scrap_before_the_limit_is_refused),
        cmocka_unit_test(no_list_where_the_limit_leaves_no_room),
        cmocka_unit_test(length_past_the_limit_is_refused),
        cmocka_unit_test(so_is_that_of_the_end_mark),
        cmocka_unit_test(lengths_of_known_kinds_are_checked),
        cmocka_unit_test(luks_and_its_extension_need_each_other),
        cmocka_unit_test(luks_area_must_be_aligned_and_end_below_2_63),
        cmocka_unit_test(what_the_file_does_not_have_reads_as_zeros),
        cmocka_unit_test(only_the_first_cluster_counts),
        cmocka_unit_test(the_longest_list_fits),
        cmocka_unit_test(the_last_instance_wins),
        cmocka_unit_test(feature_names_come_from_the_table),
        cmocka_unit_test(bitmaps_payload_round_trip),
        cmocka_unit_test(bitmaps_payload_rules),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
