/* test_fidx_file.c - the fixed index of Proxmox Backup Server: every field, every rule
 * SPDX-License-Identifier: MIT */
#include "unit.h"

#include "format/fidx_file.h"

/* 9 MiB in chunks of 4 MiB: 3 of them. */
static const uint8_t sample[FIDX_FIXED] = {
    0x2f, 0x7f, 0x41, 0xed, 0x91, 0xfd, 0x0f, 0xcd, 1, 2, 3,    4, 5, 6, 7, 8,
    9,    10,   11,   12,   13,   14,   15,   16,                                 /* UUID */
    1,    0,    0,    0x65, 0,    0,    0,    0,                                  /* time */
    0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf, 0xb0, 0xb1, 0, 0, 0,    0, 0, 0, 0, 0,    /* sum */
    0,    0,    0,    0,    0,    0,    0,    0,    0, 0, 0,    0, 0, 0, 0, 0xbf, /* sum */
    0,    0,    0x90, 0,    0,    0,    0,    0,    0, 0, 0x40, 0, 0, 0, 0, 0,    /* sizes */
};
#define LENGTH (4096 + 3 * 32)

static void it_is_read_as_documented(void **state)
{
    uint8_t *exact = exact_copy(sample, sizeof(sample));
    struct qcbm_error err = { 0 };
    struct fidx_header h;

    (void)state;
    assert_int_equal(qcbmi_fidx_parse(exact, LENGTH, &h, &err), 0);
    assert_int_equal(h.uuid[0], 1);
    assert_int_equal(h.uuid[15], 16);
    assert_int_equal(h.time, 0x65000001);
    assert_int_equal(h.checksum[0], 0xaa);
    assert_int_equal(h.checksum[31], 0xbf);
    assert_int_equal(h.size, 9 << 20);
    assert_int_equal(h.chunk_bits, 22);
    free(exact);
}

static void every_rule_is_kept(void **state)
{
    static const struct {
        unsigned at;
        uint8_t value;
        uint64_t length, where;
        const char *text;
    } cases[] = {
        { 0, 0, LENGTH, 0, "not a fixed index" },
        { 66, 0, LENGTH, 64, "a disk of 0 bytes" },
        { 71, 0x80, LENGTH, 64, "a disk of" },
        { 74, 0x80, LENGTH, 72, "chunks of 8388608 bytes" },
        { 74, 0x60, LENGTH, 72, "chunks of" },
        { 74, 0, LENGTH, 72, "chunks of 0 bytes" },
        { 79, 1, LENGTH, 72, "chunks of" },
        { 8, 1, LENGTH - 1, QCBM_NO_OFFSET, "3 chunks" },
        { 8, 1, LENGTH - 32, QCBM_NO_OFFSET, "3 chunks" },
        { 8, 1, LENGTH + 32, QCBM_NO_OFFSET, "3 chunks" },
        { 8, 1, 4095, QCBM_NO_OFFSET, "3 chunks" },
        { 8, 1, 80, QCBM_NO_OFFSET, "3 chunks" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint8_t *bytes = exact_copy(sample, sizeof(sample));
        struct qcbm_error err = { 0 };
        struct fidx_header h;

        bytes[cases[i].at] = cases[i].value;
        assert_failure(qcbmi_fidx_parse(bytes, cases[i].length, &h, &err), &err, QCBM_E_CORRUPT, cases[i].where,
                       cases[i].text);
        free(bytes);
    }
}

/* Of chunks of 4 KiB, the smallest. */
static void the_limits_are_reached(void **state)
{
    uint8_t *bytes = exact_copy(sample, sizeof(sample));
    struct qcbm_error err = { 0 };
    struct fidx_header h;

    (void)state;
    bytes[73] = 0x10;
    bytes[74] = 0;
    assert_int_equal(qcbmi_fidx_parse(bytes, 4096 + (9 << 8) * 32, &h, &err), 0);
    assert_int_equal(h.chunk_bits, 12);
    bytes[73] = 0x08;
    assert_failure(qcbmi_fidx_parse(bytes, 4096, &h, &err), &err, QCBM_E_CORRUPT, 72, "chunks of 2048 bytes");
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_read_as_documented),
        cmocka_unit_test(every_rule_is_kept),
        cmocka_unit_test(the_limits_are_reached),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
