/* test_undo_file.c - header, records and end mark of an undo file: round trips, and every rule
 * SPDX-License-Identifier: MIT */
#include "unit.h"

#include "base/bytes.h"
#include "format/undo_file.h"

#define H QCBMI_UNDO_HEADER_BYTES

static const struct qcbmi_undo_header sound = { .version = 2,
                                                .recording = true,
                                                .first_switch = 1,
                                                .written = { true, { 1700000000, 123456789 } },
                                                .n_stages = 3,
                                                .len_before = 4096,
                                                .len_after = 8192,
                                                .n_records = 2,
                                                .file_len = 1024,
                                                .identity = { 1, 2, 3 } };

static void reseal_header(uint8_t *bytes)
{
    qcbmi_digest(bytes, H - QCBMI_DIGEST_BYTES, bytes + H - QCBMI_DIGEST_BYTES);
}

static void a_header_comes_back(void **state)
{
    uint8_t *bytes = malloc(H);
    struct qcbmi_undo_header h;
    struct qcbm_error err = { 0 };

    (void)state;
    assert_non_null(bytes);
    qcbmi_undo_header_store(bytes, &sound);
    assert_memory_equal(bytes, "QCBMUNDO\0\0\0\2\0\0\0\3", 16);
    assert_int_equal(qcbmi_undo_header_parse(bytes, &h, &err), 0);
    assert_int_equal(h.n_stages, 3);
    assert_int_equal(h.len_before, 4096);
    assert_int_equal(h.len_after, 8192);
    assert_int_equal(h.n_records, 2);
    assert_int_equal(h.file_len, 1024);
    assert_memory_equal(h.identity, sound.identity, sizeof(h.identity));
    assert_true(h.version == 2 && h.recording && h.first_switch == 1 && h.written.known);
    assert_true(h.written.time.seconds == 1700000000 && h.written.time.nanoseconds == 123456789);
    free(bytes);
}

static void expect_header_fails(const uint8_t *bytes, int code, const char *text)
{
    struct qcbmi_undo_header h = sound;
    struct qcbm_error err = { 0 };
    uint8_t *copy = exact_copy(bytes, H);

    assert_failure(qcbmi_undo_header_parse(copy, &h, &err), &err, code, QCBM_NO_OFFSET, text);
    assert_int_equal(qcbmi_undo_header_parse(copy, &h, NULL), code);
    assert_true(h.n_stages == 3 && h.len_before == 4096 && h.file_len == 1024); /* written only if all is good */
    free(copy);
}

static void bad_headers_are_told_apart(void **state)
{
    uint8_t bytes[H];

    (void)state;
    memset(bytes, 0, H);
    expect_header_fails(bytes, QCBM_E_CORRUPT, "incomplete");
    qcbmi_undo_header_store(bytes, &sound);
    bytes[0] = 'X';
    expect_header_fails(bytes, QCBM_E_ARG, "no undo file");
    qcbmi_undo_header_store(bytes, &sound);
    be32_store(bytes + 8, 3);
    expect_header_fails(bytes, QCBM_E_UNSUPPORTED, "version 3");
    be32_store(bytes + 8, 0);
    expect_header_fails(bytes, QCBM_E_UNSUPPORTED, "version 0");
    for (size_t i = 12; i < H; i++) {
        qcbmi_undo_header_store(bytes, &sound);
        bytes[i] ^= 1;
        expect_header_fails(bytes, QCBM_E_CORRUPT, "damaged: header at 0x0");
    }
}

static void numbers_of_a_header_have_bounds(void **state)
{
    static const struct {
        size_t at;
        uint64_t value;
    } cases[] = {
        { 16, 8193 },                       /* longer before than after */
        { 24, UINT64_C(1) << 63 },          /* no length of a file */
        { 32, 1024 / 64 + 1 },              /* more records than fit */
        { 40, 128 + 32 + 63 },              /* no room for header, end mark and seal */
        { 40, UINT64_C(1) << 63 },          /* no length of a file */
        { 64, UINT64_C(4) << 32 },          /* a flag that is not known */
        { 64, 4 },                          /* the switch behind the last stage */
        { 80, UINT64_C(1000000000) << 32 }, /* a second has no more */
        { 84, 1 },                          /* reserved */
        { 104, UINT64_C(1) << 63 },         /* reserved */
        { 12, UINT64_C(64) << 32 },         /* stages */
    };
    uint8_t bytes[H];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        qcbmi_undo_header_store(bytes, &sound);
        be64_store(bytes + cases[i].at, cases[i].value);
        reseal_header(bytes);
        expect_header_fails(bytes, QCBM_E_CORRUPT, "impossible numbers");
    }
}

static void an_end_mark_belongs_to_one_header(void **state)
{
    struct qcbmi_undo_header other = sound;
    uint8_t header[H], end[QCBMI_UNDO_END_BYTES];
    struct qcbm_error err = { 0 };

    (void)state;
    qcbmi_undo_header_store(header, &sound);
    memset(end, 0, sizeof(end));
    assert_failure(qcbmi_undo_end_check(end, header, &err), &err, QCBM_E_CORRUPT, QCBM_NO_OFFSET, "incomplete");
    qcbmi_undo_end_store(end, header);
    assert_int_equal(qcbmi_undo_end_check(end, header, &err), 0);
    for (size_t i = 0; i < sizeof(end); i++) {
        end[i] ^= 1;
        assert_failure(qcbmi_undo_end_check(end, header, &err), &err, QCBM_E_CORRUPT, QCBM_NO_OFFSET,
                       "damaged: end mark at 0x3a0");
        end[i] ^= 1;
    }
    other.len_before--;
    qcbmi_undo_header_store(header, &other);
    assert_int_equal(qcbmi_undo_end_check(end, header, &err), QCBM_E_CORRUPT);
}

/* As the first release has written it: all the same but for what came with version 2. */
static void version_1_is_read(void **state)
{
    struct qcbmi_undo_header old = sound, h;
    struct qcbm_error err = { 0 };
    uint8_t bytes[H], end[QCBMI_UNDO_END_BYTES] = { 1 };

    (void)state;
    old.version = 1;
    qcbmi_undo_header_store(bytes, &old);
    assert_memory_equal(bytes, "QCBMUNDO\0\0\0\1\0\0\0\3", 16);
    assert_true(bytes_are_zero(bytes + 64, 48));
    assert_int_equal(qcbmi_undo_header_parse(bytes, &h, &err), 0);
    assert_true(h.recording && h.first_switch == 0 && !h.written.known); /* what is not known is taken for the worst */
    assert_int_equal(qcbmi_undo_tail_bytes(&h), 32);
    assert_int_equal(qcbmi_undo_end_offset(&h, 129), 160);
    assert_failure(qcbmi_undo_end_check(end, bytes, &err), &err, QCBM_E_CORRUPT, QCBM_NO_OFFSET, "end mark at 0x3e0");
    bytes[70] = 1;
    reseal_header(bytes);
    expect_header_fails(bytes, QCBM_E_CORRUPT, "impossible numbers");
}

static void a_seal_belongs_to_one_header(void **state)
{
    const struct qcbmi_undo_seal seal = { .kind = QCBMI_UNDO_SEALED, .written = { true, { 1700000001, 7 } } };
    struct qcbmi_undo_header other = sound;
    uint8_t header[H], bytes[QCBMI_UNDO_SEAL_BYTES] = { 0 };
    struct qcbm_error err = { 0 };
    struct qcbmi_undo_seal got;

    (void)state;
    qcbmi_undo_header_store(header, &sound);
    assert_int_equal(qcbmi_undo_seal_parse(bytes, header, &got, &err), 0);
    assert_true(got.kind == QCBMI_UNDO_OPEN && !got.written.known);
    qcbmi_undo_seal_store(bytes, &seal, header);
    assert_int_equal(qcbmi_undo_seal_parse(bytes, header, &got, &err), 0);
    assert_true(got.kind == QCBMI_UNDO_SEALED && got.written.known);
    assert_true(got.written.time.seconds == 1700000001 && got.written.time.nanoseconds == 7);
    for (size_t i = 0; i < sizeof(bytes); i++) {
        bytes[i] ^= 1;
        assert_failure(qcbmi_undo_seal_parse(bytes, header, &got, &err), &err, QCBM_E_CORRUPT, QCBM_NO_OFFSET,
                       "damaged: seal at 0x3c0");
        bytes[i] ^= 1;
    }
    other.len_before--;
    qcbmi_undo_header_store(header, &other);
    assert_int_equal(qcbmi_undo_seal_parse(bytes, header, &got, &err), QCBM_E_CORRUPT);
}

static void a_seal_keeps_what_is_known_of_the_change(void **state)
{
    const struct qcbmi_undo_seal begun = { QCBMI_UNDO_BEGUN, { true, { 1700000001, 7 } }, true, 0x12345678 };
    const struct qcbmi_undo_seal open = { .kind = QCBMI_UNDO_OPEN };
    uint8_t header[H], bytes[QCBMI_UNDO_SEAL_BYTES];
    struct qcbm_error err = { 0 };
    struct qcbmi_undo_seal got;

    (void)state;
    qcbmi_undo_header_store(header, &sound);
    qcbmi_undo_seal_store(bytes, &begun, header);
    assert_int_equal(qcbmi_undo_seal_parse(bytes, header, &got, &err), 0);
    assert_true(got.kind == QCBMI_UNDO_BEGUN && got.written.known && got.written.time.seconds == 1700000001);
    assert_true(got.cut && got.image == 0x12345678);
    for (int i = 0; i < 2; i++) { /* neither is of the seal of a change */
        qcbmi_undo_seal_store(bytes, &begun, header);
        be32_store(bytes + 8, QCBMI_UNDO_SEALED);
        be32_store(bytes + (i ? 28 : 12), i ? 0 : 2);
        qcbmi_digest(bytes, 48, bytes + 48);
        assert_int_equal(qcbmi_undo_seal_parse(bytes, header, &got, &err), QCBM_E_CORRUPT);
    }
    qcbmi_undo_seal_store(bytes, &open, header);
    assert_true(bytes_are_zero(bytes, sizeof(bytes)));
}

static void records_have_room_for_what_is_in_them(void **state)
{
    static const struct {
        struct qcbmi_undo_record r;
        uint64_t sectors, bytes;
    } cases[] = {
        { { QCBMI_UNDO_OVERWRITTEN, 0, 1000, 24, 0 }, 1, 32 + 16 + 24 + 16 },
        { { QCBMI_UNDO_OVERWRITTEN, 0, 1024, 1024, 0 }, 2, 32 + 32 + 1024 + 16 },
        { { QCBMI_UNDO_APPENDED, 0, 4096, 1024, 0 }, 2, 32 + 32 + 16 },
        { { QCBMI_UNDO_UNTOUCHED, 0, 1, 3000, 0 }, 6, 32 + 16 + 16 },
        { { QCBMI_UNDO_OVERWRITTEN, 0, 0, 1 << 20, 0 }, 2048, QCBMI_UNDO_MAX_RECORD_BYTES },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_int_equal(qcbmi_undo_sectors(&cases[i].r), cases[i].sectors);
        assert_int_equal(qcbmi_undo_record_bytes(&cases[i].r), cases[i].bytes);
    }
}

static void a_record_comes_back(void **state)
{
    struct qcbmi_undo_record r = { QCBMI_UNDO_OVERWRITTEN, 2, 1024, 512, 7 }, got;
    uint64_t len = qcbmi_undo_record_bytes(&r);
    uint8_t *bytes = calloc(1, (size_t)len);
    struct qcbm_error err = { 0 };

    (void)state;
    assert_non_null(bytes);
    memset(qcbmi_undo_record_old(bytes, &r), 0xab, 512);
    memset(qcbmi_undo_record_digest(bytes, 0), 0xcd, 16);
    qcbmi_undo_record_seal(bytes, &r);
    assert_int_equal(qcbmi_undo_record_parse(bytes, 7, 128, &sound, &got, &err), 0);
    assert_true(got.kind == r.kind && got.stage == 2 && got.off == 1024 && got.len == 512 && got.index == 7);
    assert_int_equal(qcbmi_undo_record_check(bytes, &got, 128, &err), 0);
    assert_int_equal(bytes[len - 17], 0xab);
    assert_int_equal(bytes[32], 0xcd);
    for (size_t i = 0; i < len; i++) {
        bytes[i] ^= 1;
        assert_failure(qcbmi_undo_record_check(bytes, &r, 128, &err), &err, QCBM_E_CORRUPT, QCBM_NO_OFFSET,
                       "damaged: record at 0x80");
        bytes[i] ^= 1;
    }
    free(bytes);
}

static void a_record_keeps_the_rules(void **state)
{
    static const struct qcbmi_undo_record cases[] = {
        { 0, 0, 0, 512, 7 },                                     /* kinds */
        { 4, 0, 0, 512, 7 },                                     /**/
        { QCBMI_UNDO_OVERWRITTEN, 3, 0, 512, 7 },                /* stages */
        { QCBMI_UNDO_UNTOUCHED, 1, 0, 512, 7 },                  /**/
        { QCBMI_UNDO_OVERWRITTEN, 0, 0, 512, 8 },                /* another index */
        { QCBMI_UNDO_OVERWRITTEN, 0, 0, 0, 7 },                  /* empty */
        { QCBMI_UNDO_OVERWRITTEN, 0, 3584, 1024, 7 },            /* passes the old end */
        { QCBMI_UNDO_UNTOUCHED, 0, 4096, 1, 7 },                 /**/
        { QCBMI_UNDO_APPENDED, 0, 3584, 512, 7 },                /* before it */
        { QCBMI_UNDO_APPENDED, 0, 8192, 512, 7 },                /* passes the new end */
        { QCBMI_UNDO_OVERWRITTEN, 0, UINT64_MAX - 511, 512, 7 }, /**/
        { QCBMI_UNDO_OVERWRITTEN, 0, 500, 24, 7 },               /* parts of two sectors */
        { QCBMI_UNDO_OVERWRITTEN, 0, 512, 513, 7 },              /**/
    };
    struct qcbmi_undo_header large = sound;
    struct qcbmi_undo_record r, got;
    uint8_t bytes[QCBMI_UNDO_RECORD_FIXED];
    struct qcbm_error err = { 0 };

    (void)state;
    for (size_t i = 0; i <= ARRAY_LEN(cases); i++) {
        if (i == ARRAY_LEN(cases)) /* too long, in an image that would hold it */
            large.len_before = large.len_after = 1 << 24;
        r = i < ARRAY_LEN(cases) ? cases[i]
                                 : (struct qcbmi_undo_record){ QCBMI_UNDO_UNTOUCHED, 0, 0, (1 << 20) + 1, 7 };
        be32_store(bytes, (uint32_t)r.kind);
        be32_store(bytes + 4, r.stage);
        be64_store(bytes + 8, r.off);
        be64_store(bytes + 16, r.len);
        be64_store(bytes + 24, r.index);
        assert_failure(qcbmi_undo_record_parse(bytes, 7, 640, &large, &got, &err), &err, QCBM_E_CORRUPT, QCBM_NO_OFFSET,
                       "damaged: record at 0x280");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_header_comes_back),
        cmocka_unit_test(bad_headers_are_told_apart),
        cmocka_unit_test(numbers_of_a_header_have_bounds),
        cmocka_unit_test(an_end_mark_belongs_to_one_header),
        cmocka_unit_test(version_1_is_read),
        cmocka_unit_test(a_seal_belongs_to_one_header),
        cmocka_unit_test(a_seal_keeps_what_is_known_of_the_change),
        cmocka_unit_test(records_have_room_for_what_is_in_them),
        cmocka_unit_test(a_record_comes_back),
        cmocka_unit_test(a_record_keeps_the_rules),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
