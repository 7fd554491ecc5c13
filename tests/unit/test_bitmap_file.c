/* test_bitmap_file.c - the file of one bitmap: every field, every rule
 * SPDX-License-Identifier: MIT */
#include "unit.h"

#include "format/bitmap_file.h"

/* 1 MiB, granularity 4 KiB, enabled, no fingerprint, "name"; written from docs/bitmap-format.md, not by the code. */
static const uint8_t sample[72] = {
    0x89, 'Q', 'C', 'B', 'M', 'A',  'P', '\n', /* magic */
    0,    0,   0,   1,   0,   0,    0,   72,   /* version, length of the header */
    0,    0,   0,   0,   0,   0x10, 0,   0,    /* size */
    0,    0,   0,   1,   0,   0,    0,   12,   /* flags, granularity */
    0,    0,   0,   4,   0,   0,    0,   0,    /* length of the name, reserved */
    0,    0,   0,   0,   0,   0,    0,   0,    /* reserved */
    0,    0,   0,   0,   0,   0,    0,   0,    /* fingerprint */
    0,    0,   0,   0,   0,   0,    0,   0,    /* fingerprint */
    'n',  'a', 'm', 'e', 0,   0,    0,   0,
};

static void a_header_is_read_and_stored_as_documented(void **state)
{
    uint8_t *exact = exact_copy(sample, BMF_FIXED), *name = exact_copy(sample + BMF_FIXED, 8);
    uint8_t stored[BMF_MAX_HEADER];
    struct qcbm_error err = { 0 };
    struct bmf_header h;

    (void)state;
    assert_int_equal(qcbmi_bmf_header_parse(exact, &h, &err), 0);
    assert_int_equal(qcbmi_bmf_name_check(name, &h, &err), 0);
    assert_int_equal(h.size, 1 << 20);
    assert_int_equal(h.flags, BMF_ENABLED);
    assert_int_equal(h.gran_bits, 12);
    assert_int_equal(h.name_len, 4);
    assert_int_equal(h.length, 72);
    assert_int_equal(qcbmi_bmf_header_store(stored, &h, "name"), 72);
    assert_memory_equal(stored, sample, sizeof(sample));
    free(exact);
    free(name);
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
        { 0, 0x09, QCBM_E_CORRUPT, 0, "not a bitmap file" },
        { 7, '\r', QCBM_E_CORRUPT, 0, "not a bitmap file" },
        { 11, 2, QCBM_E_UNSUPPORTED, 8, "version 2" },
        { 8, 1, QCBM_E_UNSUPPORTED, 8, "version" },
        { 15, 80, QCBM_E_CORRUPT, 12, "header of 80 bytes" },
        { 12, 1, QCBM_E_CORRUPT, 12, "header of" },
        { 23, 1, QCBM_E_CORRUPT, 16, "size 1048577" },
        { 21, 0, QCBM_E_CORRUPT, 16, "size 0" },
        { 16, 0x80, QCBM_E_CORRUPT, 16, "size 9223372036855824384" },
        { 27, 5, QCBM_E_CORRUPT, 24, "flags 0x5" },
        { 24, 1, QCBM_E_CORRUPT, 24, "flags" },
        { 31, 8, QCBM_E_CORRUPT, 28, "2^8" },
        { 31, 32, QCBM_E_CORRUPT, 28, "2^32" },
        { 35, 0, QCBM_E_CORRUPT, 32, "name of 0 bytes" },
        { 34, 4, QCBM_E_CORRUPT, 32, "name of 1028 bytes" },
        { 32, 0xff, QCBM_E_CORRUPT, 32, "name of" },
        { 36, 1, QCBM_E_CORRUPT, 36, "reserved" },
        { 47, 1, QCBM_E_CORRUPT, 36, "reserved" },
        { 48, 1, QCBM_E_CORRUPT, 48, "without its flag" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint8_t bytes[BMF_FIXED];
        struct qcbm_error err = { 0 };
        struct bmf_header h;

        memcpy(bytes, sample, sizeof(bytes));
        bytes[cases[i].at] = cases[i].value;
        assert_failure(qcbmi_bmf_header_parse(bytes, &h, &err), &err, cases[i].code, cases[i].where, cases[i].text);
    }
}

static void names_have_no_nul_and_zero_padding(void **state)
{
    struct bmf_header h = { .name_len = 4, .length = 72 };
    struct qcbm_error err = { 0 };

    (void)state;
    assert_failure(qcbmi_bmf_name_check((const uint8_t *)"na\0e\0\0\0\0", &h, &err), &err, QCBM_E_CORRUPT, 64, "NUL");
    assert_failure(qcbmi_bmf_name_check((const uint8_t *)"name\0\0\0x", &h, &err), &err, QCBM_E_CORRUPT, 68, "padding");
}

static void every_rule_of_records_is_kept(void **state)
{
    static const struct {
        uint8_t bytes[GRANULE_RECORD];
        uint64_t left;
        const char *text; /* NULL: fine */
    } cases[] = {
        { { 0 }, 0, NULL },
        { { 0 }, 1, "ends 1 granules before" },
        { { [15] = 1 }, 0, "ends" },
        { { [3] = 1, [15] = 8 }, 8, NULL },
        { { [3] = 1, [15] = 3 }, 3, NULL },
        { { [3] = 2, [15] = 8 }, 9, NULL },
        { { [3] = 2, [15] = 3 }, 9, "multiple of 8" },
        { { [3] = 1, [15] = 0 }, 9, "0 granules where 9" },
        { { [3] = 1, [15] = 10 }, 9, "10 granules where 9" },
        { { [3] = 2, [8] = 0xff, [15] = 1 }, 9, "where 9" },
        { { [3] = 3, [13] = 0x10 }, UINT64_C(1) << 32, NULL },
        { { [3] = 3, [13] = 0x10, [15] = 8 }, UINT64_C(1) << 32, "1048584 bits" },
        { { [3] = 4, [15] = 8 }, 8, "begins no record" },
        { { [0] = 1, [15] = 8 }, 8, "begins no record" },
        { { [3] = 1, [7] = 1, [15] = 8 }, 8, "begins no record" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint8_t *exact = exact_copy(cases[i].bytes, GRANULE_RECORD), again[GRANULE_RECORD];
        struct qcbm_error err = { 0 };
        struct granule_record r;
        int ret = qcbmi_bmf_record_parse(exact, cases[i].left, 4711, &r, &err);

        if (cases[i].text) {
            assert_failure(ret, &err, QCBM_E_CORRUPT, 4711, cases[i].text);
        } else {
            assert_int_equal(ret, 0);
            qcbmi_granule_record_store(again, r.kind, r.granules);
            assert_memory_equal(again, exact, sizeof(again));
        }
        free(exact);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_header_is_read_and_stored_as_documented),
        cmocka_unit_test(every_rule_of_the_header_is_kept),
        cmocka_unit_test(names_have_no_nul_and_zero_padding),
        cmocka_unit_test(every_rule_of_records_is_kept),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
