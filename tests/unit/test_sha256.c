/* test_sha256.c - SHA-256: known digests, in one piece and in many
 * SPDX-License-Identifier: MIT */
#include "unit.h"

#include "base/sha256.h"

/* FIPS 180-4: of "abc", and of nothing. */
static const uint8_t of_abc[] = { 0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41, 0x40,
                                  0xde, 0x5d, 0xae, 0x22, 0x23, 0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17,
                                  0x7a, 0x9c, 0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad };
static const uint8_t of_nothing[] = { 0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4,
                                      0xc8, 0x99, 0x6f, 0xb9, 0x24, 0x27, 0xae, 0x41, 0xe4, 0x64, 0x9b,
                                      0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55 };

static struct qcbmi_sha256 sha;

/* A build without it says so, and has nothing else to be tested. */
static void open_it(void)
{
    struct qcbm_error err = { 0 };
    int ret = qcbmi_sha256_open(&sha, &err);

    if (ret == QCBM_E_UNSUPPORTED) {
        assert_true(err.message[0] != '\0');
        skip();
    }
    assert_int_equal(ret, 0);
}

static void known_digests(void **state)
{
    uint8_t out[QCBMI_SHA256_BYTES];

    (void)state;
    open_it();
    assert_int_equal(qcbmi_sha256(&sha, "abc", 3, out, NULL), 0);
    assert_memory_equal(out, of_abc, sizeof(out));
    assert_int_equal(qcbmi_sha256(&sha, "", 0, out, NULL), 0);
    assert_memory_equal(out, of_nothing, sizeof(out));
    qcbmi_sha256_close(&sha);
    qcbmi_sha256_close(&sha);
}

struct source {
    const uint8_t *bytes;
    size_t len, at, piece;
};

static int64_t more(void *opaque, void *buf, size_t len, struct qcbm_error *err)
{
    struct source *s = opaque;
    size_t n = s->len - s->at < s->piece ? s->len - s->at : s->piece;

    (void)err;
    n = n < len ? n : len;
    memcpy(buf, s->bytes + s->at, n);
    s->at += n;
    return (int64_t)n;
}

static int64_t fails(void *opaque, void *buf, size_t len, struct qcbm_error *err)
{
    (void)opaque, (void)buf, (void)len, (void)err;
    return QCBM_E_IO;
}

static void pieces_give_what_the_whole_gives(void **state)
{
    static uint8_t bytes[200000];
    uint8_t whole[QCBMI_SHA256_BYTES], out[QCBMI_SHA256_BYTES];
    const size_t pieces[] = { 1000, 65536, 200000 };

    (void)state;
    open_it();
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)(i * 7 + i / 251);
    assert_int_equal(qcbmi_sha256(&sha, bytes, sizeof(bytes), whole, NULL), 0);
    for (size_t i = 0; i < ARRAY_LEN(pieces); i++) {
        struct source s = { bytes, sizeof(bytes), 0, pieces[i] };

        assert_int_equal(qcbmi_sha256_pieces(&sha, more, &s, out, NULL), 0);
        assert_memory_equal(out, whole, sizeof(out));
    }
    assert_int_equal(qcbmi_sha256_pieces(&sha, fails, NULL, out, NULL), QCBM_E_IO);
    qcbmi_sha256_close(&sha);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_digests),
        cmocka_unit_test(pieces_give_what_the_whole_gives),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
