/* test_luks_header.c - the LUKS header: what cryptsetup writes is read, each field that is none is refused where it
 * lies
 * SPDX-License-Identifier: MIT */
#include "luks_unit.h"

#define PLACE UINT64_C(0x50000)

static void a_header_is_read(void **state)
{
    uint8_t *h = good_header();
    struct qcbm_luks_info out;
    struct qcbm_error err = { 0 };

    (void)state;
    assert_int_equal(qcbmi_luks_parse(h, LUKS_HEADER_BYTES, PLACE, &out, &err), 0);
    assert_string_equal(out.cipher, "aes-256");
    assert_string_equal(out.mode, "xts");
    assert_string_equal(out.ivgen, "plain64");
    assert_string_equal(out.ivgen_hash, "");
    assert_string_equal(out.hash, "sha256");
    assert_string_equal(out.uuid, "7cb1b1a5-6a29-4a1b-9bb4-b9a4ba1cbe11");
    assert_int_equal(out.payload_offset, 4040 * 512);
    assert_int_equal(out.iterations, 1000);
    for (unsigned i = 0; i < QCBM_LUKS_SLOTS; i++) {
        assert_int_equal(out.slots[i].active, i == 1);
        assert_int_equal(out.slots[i].iterations, i == 1 ? 70000 : 0);
        assert_int_equal(out.slots[i].key_offset, 512 * (8 + 504 * i));
        assert_int_equal(out.slots[i].stripes, 4000);
    }
    free(h);
}

/* No number of it overflows, and a UUID that fills its field ends all the same. */
static void the_largest_numbers_are_read(void **state)
{
    uint8_t *h = good_header();
    struct qcbm_luks_info out;

    (void)state;
    memset(h + 104, 0xff, 4);
    memset(h + 168, 'u', 40);
    memset(h + 248, 0xff, 8);
    assert_int_equal(qcbmi_luks_parse(h, LUKS_HEADER_BYTES, PLACE, &out, NULL), 0);
    assert_int_equal(out.payload_offset, UINT64_C(512) * UINT32_MAX);
    assert_int_equal(strlen(out.uuid), 40);
    assert_int_equal(out.slots[0].key_offset, UINT64_C(512) * UINT32_MAX);
    assert_int_equal(out.slots[0].stripes, UINT32_MAX);
    free(h);
}

static void cipher_modes_are_taken_apart(void **state)
{
    static const struct {
        const char *typed, *cipher, *mode, *ivgen, *hash;
        uint32_t key_bytes;
    } cases[] = {
        { "cbc-essiv:sha256", "serpent-128", "cbc", "essiv", "sha256", 16 },
        { "cbc-plain:sha1", "serpent-256", "cbc", "plain", "", 32 }, /* QEMU shows no hash that is not used */
        { "ecb-plain64", "serpent-192", "ecb", "plain64", "", 24 },
        { "xts-plain64", "serpent-128", "xts", "plain64", "", 33 }, /* half of it, as QEMU rounds */
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint8_t *h = good_header();
        struct qcbm_luks_info out;

        memcpy(h + 8, "serpent", 7);
        memset(h + 40, 0, 32);
        memcpy(h + 40, cases[i].typed, strlen(cases[i].typed));
        put32(h + 108, cases[i].key_bytes);
        assert_int_equal(qcbmi_luks_parse(h, LUKS_HEADER_BYTES, PLACE, &out, NULL), 0);
        assert_string_equal(out.cipher, cases[i].cipher);
        assert_string_equal(out.mode, cases[i].mode);
        assert_string_equal(out.ivgen, cases[i].ivgen);
        assert_string_equal(out.ivgen_hash, cases[i].hash);
        free(h);
    }
}

static void each_defect_is_told_where_it_lies(void **state)
{
    static const struct {
        size_t at, len;
        const char *bytes;
        int code;
        uint64_t told;
        const char *text;
    } defects[] = {
        { 0, 1, "M", QCBM_E_CORRUPT, 0, "magic" },
        { 7, 1, "\2", QCBM_E_UNSUPPORTED, 6, "version" },
        { 6, 1, "\1", QCBM_E_UNSUPPORTED, 6, "version" },
        { 8, 3, "des", QCBM_E_CORRUPT, 8, "unknown cipher" },
        { 8, 32, "aesaesaesaesaesaesaesaesaesaesae", QCBM_E_CORRUPT, 8, "does not end" },
        { 40, 32, "xts-plain64xxxxxxxxxxxxxxxxxxxxx", QCBM_E_CORRUPT, 40, "does not end" },
        { 43, 1, "x", QCBM_E_CORRUPT, 40, "form of cipher mode" },
        { 40, 3, "gcm", QCBM_E_CORRUPT, 40, "unknown cipher mode" },
        { 44, 5, "bench", QCBM_E_CORRUPT, 40, "unknown cipher mode" },
        { 44, 8, "essiv\0\0\0", QCBM_E_CORRUPT, 40, "hash of the cipher mode" },
        { 44, 9, "essiv:sha", QCBM_E_CORRUPT, 40, "hash of the cipher mode" },
        { 72, 6, "sha255", QCBM_E_CORRUPT, 72, "unknown hash" },
        { 72, 32, "sha256sha256sha256sha256sha256sh", QCBM_E_CORRUPT, 72, "unknown hash" },
        { 108, 4, "\0\0\0\x82", QCBM_E_CORRUPT, 8, "unknown key length" },
        { 108, 4, "\0\0\0\x22", QCBM_E_CORRUPT, 8, "unknown cipher" },
        { 208, 1, "\1", QCBM_E_CORRUPT, 208, "neither" },
        { 208 + 7 * 48, 1, "\1", QCBM_E_CORRUPT, 208 + 7 * 48, "neither" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(defects); i++) {
        uint8_t *h = good_header();
        struct qcbm_luks_info out;
        struct qcbm_error err = { 0 };

        memcpy(h + defects[i].at, defects[i].bytes, defects[i].len);
        memset(&out, 0x5a, sizeof(out));
        assert_failure(qcbmi_luks_parse(h, LUKS_HEADER_BYTES, PLACE, &out, &err), &err, defects[i].code,
                       PLACE + defects[i].told, defects[i].text);
        assert_non_null(strstr(err.message, "LUKS header at 0x50000: "));
        assert_int_equal(out.cipher[0], 0x5a); /* untouched */
        free(h);
    }
}

static void a_shorter_one_is_refused_at_every_length(void **state)
{
    uint8_t *whole = good_header();

    (void)state;
    for (size_t len = 0; len < LUKS_HEADER_BYTES; len++) {
        uint8_t *h = exact_copy(whole, len);
        struct qcbm_luks_info out;
        struct qcbm_error err = { 0 };

        assert_failure(qcbmi_luks_parse(h, len, PLACE, &out, &err), &err, QCBM_E_CORRUPT, PLACE, "cannot be read");
        free(h);
    }
    free(whole);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_header_is_read),
        cmocka_unit_test(the_largest_numbers_are_read),
        cmocka_unit_test(cipher_modes_are_taken_apart),
        cmocka_unit_test(each_defect_is_told_where_it_lies),
        cmocka_unit_test(a_shorter_one_is_refused_at_every_length),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
