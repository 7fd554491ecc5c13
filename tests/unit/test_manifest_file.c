/* test_manifest_file.c - the file of a manifest: every field, every rule
 * SPDX-License-Identifier: MIT */
#include "unit.h"

#include "format/manifest_file.h"

/* 1 MiB, granularity 64 KiB, XXH3, "text"; written from docs/manifest-format.md, not by the code. */
static const uint8_t sample[88] = {
    0x89, 'Q',  'C',  'B',  'M',  'A',  'N',  '\n', /* magic */
    0,    0,    0,    1,    0,    0,    0,    88,   /* version, length of the header */
    0,    0,    0,    0,    0,    0x10, 0,    0,    /* size */
    0,    0,    0,    16,   0,    0,    0,    1,    /* granularity, kind */
    0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, /* seed */
    0,    0,    0,    0,    0x65, 0,    0,    1,    /* time */
    1,    2,    3,    4,    5,    6,    7,    8,    /* image id */
    9,    10,   11,   12,   13,   14,   15,   16,   /* image id */
    0,    0,    0,    4,    0,    0,    0,    0,    /* length of the text, reserved */
    0,    0,    0,    0,    0,    0,    0,    0,    /* reserved */
    't',  'e',  'x',  't',  0,    0,    0,    0,
};

static void a_header_is_read_and_stored_as_documented(void **state)
{
    uint8_t *exact = exact_copy(sample, MNF_FIXED), *text = exact_copy(sample + MNF_FIXED, 8);
    uint8_t stored[MNF_MAX_HEADER];
    struct qcbm_error err = { 0 };
    struct mnf_header h;

    (void)state;
    assert_int_equal(qcbmi_mnf_header_parse(exact, &h, &err), 0);
    assert_int_equal(qcbmi_mnf_text_check(text, &h, &err), 0);
    assert_int_equal(h.size, 1 << 20);
    assert_int_equal(h.gran_bits, 16);
    assert_int_equal(h.kind, QCBM_DIGEST_XXH3);
    assert_true(h.seed == UINT64_C(0xa0a1a2a3a4a5a6a7));
    assert_int_equal(h.time, 0x65000001);
    assert_int_equal(h.image_id[15], 16);
    assert_int_equal(h.text_len, 4);
    assert_int_equal(qcbmi_mnf_header_store(stored, &h, "text"), 88);
    assert_memory_equal(stored, sample, sizeof(sample));
    free(exact);
    free(text);
}

static void every_rule_of_the_header_is_kept(void **state)
{
    static const struct {
        unsigned at;
        uint8_t value;
        int code;
        unsigned where;
        const char *text;
    } cases[] = {
        { 0, 0x09, QCBM_E_CORRUPT, 0, "not a manifest" },
        { 7, '\r', QCBM_E_CORRUPT, 0, "not a manifest" },
        { 11, 2, QCBM_E_UNSUPPORTED, 8, "version 2" },
        { 15, 96, QCBM_E_CORRUPT, 12, "header of 96 bytes" },
        { 23, 1, QCBM_E_CORRUPT, 16, "size 1048577" },
        { 21, 0, QCBM_E_CORRUPT, 16, "size 0" },
        { 16, 0x80, QCBM_E_CORRUPT, 16, "size 9223372036855824384" },
        { 27, 8, QCBM_E_CORRUPT, 24, "granularity 2^8" },
        { 27, 23, QCBM_E_CORRUPT, 24, "granularity 2^23" },
        { 31, 0, QCBM_E_UNSUPPORTED, 28, "kind 0" },
        { 31, 3, QCBM_E_UNSUPPORTED, 28, "kind 3" },
        { 31, 2, QCBM_E_CORRUPT, 32, "seed" },
        { 40, 0x80, QCBM_E_CORRUPT, 40, "time before 1970" },
        { 66, 4, QCBM_E_CORRUPT, 64, "text of 1028 bytes" },
        { 67, 12, QCBM_E_CORRUPT, 12, "header of 88 bytes with a text of 12" },
        { 68, 1, QCBM_E_CORRUPT, 68, "reserved" },
        { 79, 1, QCBM_E_CORRUPT, 68, "reserved" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint8_t *bytes = exact_copy(sample, MNF_FIXED);
        struct qcbm_error err = { 0 };
        struct mnf_header h;

        bytes[cases[i].at] = cases[i].value;
        assert_failure(qcbmi_mnf_header_parse(bytes, &h, &err), &err, cases[i].code, cases[i].where, cases[i].text);
        free(bytes);
    }
}

static void the_text_has_no_nul_and_its_padding_is_zeros(void **state)
{
    struct qcbm_error err = { 0 };
    struct mnf_header h;
    uint8_t text[8] = { 't', 0, 'x', 't' };

    (void)state;
    assert_int_equal(qcbmi_mnf_header_parse(sample, &h, &err), 0);
    assert_failure(qcbmi_mnf_text_check(text, &h, &err), &err, QCBM_E_CORRUPT, 80, "NUL");
    text[1] = 'e';
    text[7] = 1;
    assert_failure(qcbmi_mnf_text_check(text, &h, &err), &err, QCBM_E_CORRUPT, 84, "padding");
}

static int parse(uint64_t kind, uint64_t n, uint64_t left, struct granule_record before, struct qcbm_error *err)
{
    struct granule_record r;
    uint8_t bytes[GRANULE_RECORD] = { (uint8_t)(kind >> 24), (uint8_t)(kind >> 16), (uint8_t)(kind >> 8),
                                      (uint8_t)kind };
    uint8_t *exact;
    int ret;

    for (unsigned i = 0; i < 8; i++)
        bytes[8 + i] = (uint8_t)(n >> (56 - 8 * i));
    exact = exact_copy(bytes, sizeof(bytes));
    ret = qcbmi_mnf_record_parse(exact, left, &before, 88, &r, err);
    free(exact);
    if (ret == 0) {
        assert_int_equal(r.kind, kind);
        assert_int_equal(r.granules, n);
        qcbmi_granule_record_store(bytes, r.kind, r.granules);
        assert_int_equal(bytes[3], kind);
    }
    return ret;
}

static void every_rule_of_records_is_kept(void **state)
{
    const struct granule_record none = { MNF_END, 0 }, zeros = { MNF_ZEROS, 3 }, some = { MNF_DIGESTS, 3 },
                                full = { MNF_DIGESTS, MNF_MAX_DIGESTS };
    struct qcbm_error err = { 0 };

    (void)state;
    assert_int_equal(parse(1, 5, 5, none, &err), 0);
    assert_int_equal(parse(2, 5, 9, zeros, &err), 0);
    assert_int_equal(parse(1, 5, 9, some, &err), 0);
    assert_int_equal(parse(2, MNF_MAX_DIGESTS, UINT64_MAX, full, &err), 0);
    assert_int_equal(parse(0, 0, 0, some, &err), 0);
    assert_failure(parse(3, 5, 5, none, &err), &err, QCBM_E_CORRUPT, 88, "begins no record");
    assert_failure(parse(UINT32_MAX, 5, 5, none, &err), &err, QCBM_E_CORRUPT, 88, "begins no record");
    assert_failure(parse(0, 0, 1, some, &err), &err, QCBM_E_CORRUPT, 88, "ends 1 granules before");
    assert_failure(parse(0, 1, 0, some, &err), &err, QCBM_E_CORRUPT, 88, "ends");
    assert_failure(parse(1, 0, 5, none, &err), &err, QCBM_E_CORRUPT, 88, "0 granules where 5");
    assert_failure(parse(1, 6, 5, none, &err), &err, QCBM_E_CORRUPT, 88, "6 granules where 5");
    assert_failure(parse(2, MNF_MAX_DIGESTS + 1, UINT64_MAX, none, &err), &err, QCBM_E_CORRUPT, 88, "65537 digests");
    assert_failure(parse(1, 2, 5, zeros, &err), &err, QCBM_E_CORRUPT, 88, "belongs to");
    assert_failure(parse(2, 2, 5, some, &err), &err, QCBM_E_CORRUPT, 88, "belongs to");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_header_is_read_and_stored_as_documented),
        cmocka_unit_test(every_rule_of_the_header_is_kept),
        cmocka_unit_test(the_text_has_no_nul_and_its_padding_is_zeros),
        cmocka_unit_test(every_rule_of_records_is_kept),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
