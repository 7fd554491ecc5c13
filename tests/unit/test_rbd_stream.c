/* test_rbd_stream.c - the records of an rbd diff: every record, every rule
 * SPDX-License-Identifier: MIT */
#include "unit.h"

#include "format/rbd_stream.h"

/* Written from Ceph's page on the format, not by the code: two snapshots, 64 KiB, data, zeros. */
#define V1 "rbd diff v1\n"
#define F_OLD "f\3\0\0\0old"
#define T_NEW "t\3\0\0\0new"
#define S_64K "s\0\0\1\0\0\0\0\0"
#define W(off_hi, len) "w\0" off_hi "\0\0\0\0\0\0" len "\0\0\0\0\0\0\0"
#define Z(off_hi, len_hi) "z\0" off_hi "\0\0\0\0\0\0\0" len_hi "\0\0\0\0\0\0"

/* All records of a stream in a block of exactly its length; @n gets how many there were. */
static int parse_all(const char *text, size_t len, struct qcbmi_rbd_record *out, size_t max, size_t *n,
                     struct qcbm_error *err)
{
    uint8_t *bytes = exact_copy(text, len);
    struct qcbmi_rbd_order order = { .version = qcbmi_rbd_version(bytes) };
    uint64_t at = QCBMI_RBD_BANNER;
    int ret = 0;

    *n = 0;
    do {
        assert_true(*n < max);
        ret = qcbmi_rbd_parse(bytes + at, len - at, at, &order, &out[*n], err);
        at += ret == 0 ? out[*n].head + out[*n].payload : 0;
        *n += ret == 0;
    } while (ret == 0 && out[*n - 1].kind != QCBMI_RBD_END && at <= len);
    free(bytes);
    return ret;
}

static void banners_tell_the_version(void **state)
{
    (void)state;
    assert_int_equal(qcbmi_rbd_version((const uint8_t *)"rbd diff v1\n"), 1);
    assert_int_equal(qcbmi_rbd_version((const uint8_t *)"rbd diff v2\n"), 2);
    assert_int_equal(qcbmi_rbd_version((const uint8_t *)"rbd diff v3\n"), 0);
    assert_int_equal(qcbmi_rbd_version((const uint8_t *)"rbd image v1"), 0);
}

static void a_stream_of_version_1_is_read_and_stored_as_documented(void **state)
{
    static const char stream[] = V1 F_OLD T_NEW S_64K W("\x10", "\4") "data" Z("\x20", "\x10") "e";
    static const struct qcbmi_rbd_record expected[] = {
        { QCBMI_RBD_FROM, 0, 0, 5, 3 },          { QCBMI_RBD_TO, 0, 0, 5, 3 },
        { QCBMI_RBD_SIZE, 0, 65536, 9, 0 },      { QCBMI_RBD_DATA, 0x1000, 4, 17, 4 },
        { QCBMI_RBD_ZERO, 0x2000, 4096, 17, 0 }, { QCBMI_RBD_END, 0, 0, 1, 0 },
    };
    struct qcbmi_rbd_record got[8];
    struct qcbm_error err = { 0 };
    uint8_t head[QCBMI_RBD_MAX_HEAD];
    size_t n, at = QCBMI_RBD_BANNER;

    (void)state;
    assert_int_equal(parse_all(stream, sizeof stream - 1, got, ARRAY_LEN(got), &n, &err), 0);
    assert_int_equal(n, ARRAY_LEN(expected));
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(got[i].kind, expected[i].kind);
        assert_int_equal(got[i].offset, expected[i].offset);
        assert_int_equal(got[i].length, expected[i].length);
        assert_int_equal(got[i].head, expected[i].head);
        assert_int_equal(got[i].payload, expected[i].payload);
        assert_int_equal(qcbmi_rbd_store(head, &got[i]), got[i].head);
        assert_memory_equal(head, stream + at, got[i].head);
        at += got[i].head + got[i].payload;
    }
    assert_int_equal(qcbmi_rbd_banner_store(head), QCBMI_RBD_BANNER);
    assert_memory_equal(head, stream, QCBMI_RBD_BANNER);
}

static void version_2_tells_lengths_and_unknown_records_are_skipped(void **state)
{
    static const char stream[] = "rbd diff v2\n"
                                 "t\7\0\0\0\0\0\0\0\3\0\0\0new"
                                 "p\1\0\0\0\0\0\0\0\1"
                                 "s\x8\0\0\0\0\0\0\0\0\0\1\0\0\0\0\0"
                                 "w\x14\0\0\0\0\0\0\0\0\x10\0\0\0\0\0\0\4\0\0\0\0\0\0\0data"
                                 "?\3\0\0\0\0\0\0\0abc"
                                 "z\x10\0\0\0\0\0\0\0\0\x20\0\0\0\0\0\0\1\0\0\0\0\0\0\0"
                                 "e";
    static const struct qcbmi_rbd_record expected[] = {
        { QCBMI_RBD_TO, 0, 0, 13, 3 },        { QCBMI_RBD_OTHER, 0, 0, 9, 1 }, { QCBMI_RBD_SIZE, 0, 65536, 17, 0 },
        { QCBMI_RBD_DATA, 0x1000, 4, 25, 4 }, { QCBMI_RBD_OTHER, 0, 0, 9, 3 }, { QCBMI_RBD_ZERO, 0x2000, 1, 25, 0 },
        { QCBMI_RBD_END, 0, 0, 1, 0 },
    };
    struct qcbmi_rbd_record got[8];
    struct qcbm_error err = { 0 };
    size_t n;

    (void)state;
    assert_int_equal(parse_all(stream, sizeof stream - 1, got, ARRAY_LEN(got), &n, &err), 0);
    assert_int_equal(n, ARRAY_LEN(expected));
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(got[i].kind, expected[i].kind);
        assert_int_equal(got[i].offset, expected[i].offset);
        assert_int_equal(got[i].length, expected[i].length);
        assert_int_equal(got[i].head, expected[i].head);
        assert_int_equal(got[i].payload, expected[i].payload);
    }
}

static void every_rule_is_kept(void **state)
{
#define CASE(stream, where, text)                                                                                      \
    {                                                                                                                  \
        stream, sizeof(stream) - 1, where, text                                                                        \
    }
    static const struct {
        const char *stream;
        size_t len;
        uint64_t where;
        const char *text;
    } cases[] = {
        CASE(V1, 12, "without its end mark"),
        CASE(V1 "x", 12, "0x78 begins no record"),
        CASE(V1 "p\1", 12, "begins no record"), /* of version 2 */
        CASE(V1 "e", 12, "no size"),
        CASE(V1 F_OLD F_OLD, 20, "'f' that was there already"),
        CASE(V1 S_64K S_64K, 21, "'s' that was there already"),
        CASE(V1 "f\1\x10\0\0", 12, "4097 bytes"),
        CASE(V1 "f\xff\xff\xff\xff", 12, "4294967295 bytes"),
        CASE(V1 "f\3\0\0", 12, "ends inside a record"),
        CASE(V1 "s\0\0\1\0\0\0\0", 12, "ends inside a record"),
        CASE(V1 "s\0\0\0\0\0\0\0\x80", 12, "allowed: up to 2^63"),
        CASE(V1 W("\0", "\4") "data", 12, "no size of the disk in front"),
        CASE(V1 S_64K W("\0", "\0"), 21, "'w' of no bytes"),
        CASE(V1 S_64K Z("\0", "\0"), 21, "'z' of no bytes"),
        CASE(V1 S_64K Z("\x10", "\x10") Z("\x10", "\1"), 38, "disk offset 4096, where the one before ends at 8192"),
        CASE(V1 S_64K "z\0\0\1\0\0\0\0\0\1\0\0\0\0\0\0\0", 21, "1 bytes at disk offset 65536 pass the end"),
        CASE(V1 S_64K Z("\xf0", "\x11"), 21, "pass the end of the disk, 65536"),
        CASE(V1 S_64K "w\1\0\0\0\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff", 21, "pass the end"),
        CASE(V1 S_64K Z("\0", "\1") T_NEW, 38, "'t' behind the first one of data"),
        CASE(V1 S_64K Z("\0", "\1") S_64K, 38, "'s' that was there"),
        CASE("rbd diff v2\ns\7\0\0\0\0\0\0\0\0\0\1\0\0\0\0\0", 12, "'s' that is 7 bytes long"),
        CASE("rbd diff v2\nf\4\0\0\0\0\0\0\0\1\0\0\0", 12, "'f' that is 4 bytes long and tells of 1"),
        CASE("rbd diff v2\nw\x10\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0", 12, "tells of 1"),
        CASE("rbd diff v2\nw\xf\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff", 12, "15 bytes long"),
        CASE("rbd diff v2\n?\1\0\0\0", 12, "ends inside"),
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct qcbmi_rbd_record got[8];
        struct qcbm_error err = { 0 };
        size_t n;
        int ret = parse_all(cases[i].stream, cases[i].len, got, ARRAY_LEN(got), &n, &err);

        assert_failure(ret, &err, QCBM_E_CORRUPT, cases[i].where, cases[i].text);
    }
}

static void what_is_stored_is_what_is_parsed(void **state)
{
    uint64_t seed = 4711;

    (void)state;
    for (unsigned i = 0; i < 1000; i++) {
        struct qcbmi_rbd_order order = { .version = 1, .size = INT64_MAX, .seen = { [QCBMI_RBD_SIZE] = true } };
        struct qcbmi_rbd_record r = { .kind = i % 2 ? QCBMI_RBD_DATA : QCBMI_RBD_ZERO }, again;
        struct qcbm_error err = { 0 };
        uint8_t bytes[QCBMI_RBD_MAX_HEAD];

        r.offset = next_random(&seed) >> 1 >> next_random(&seed) % 63;
        r.length = next_random(&seed) % (INT64_MAX - r.offset) + 1;
        assert_int_equal(qcbmi_rbd_store(bytes, &r), 17);
        assert_int_equal(qcbmi_rbd_parse(bytes, 17, 0, &order, &again, &err), 0);
        assert_int_equal(again.kind, r.kind);
        assert_int_equal(again.offset, r.offset);
        assert_int_equal(again.length, r.length);
        assert_int_equal(order.end, r.offset + r.length);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(banners_tell_the_version),
        cmocka_unit_test(a_stream_of_version_1_is_read_and_stored_as_documented),
        cmocka_unit_test(version_2_tells_lengths_and_unknown_records_are_skipped),
        cmocka_unit_test(every_rule_is_kept),
        cmocka_unit_test(what_is_stored_is_what_is_parsed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
