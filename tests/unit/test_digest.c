/* test_digest.c - XXH3-128 in its canonical form
 * SPDX-License-Identifier: MIT */
#include "unit.h"

#include "base/digest.h"

/* The values of xxhsum -H2. */
static void known_digests(void **state)
{
    static const struct {
        const char *text;
        uint8_t digest[QCBMI_DIGEST_BYTES];
    } cases[] = {
        { "", { 0x99, 0xaa, 0x06, 0xd3, 0x01, 0x47, 0x98, 0xd8, 0x60, 0x01, 0xc3, 0x24, 0x46, 0x8d, 0x49, 0x7f } },
        { "a", { 0xa9, 0x6f, 0xaf, 0x70, 0x5a, 0xf1, 0x68, 0x34, 0xe6, 0xc6, 0x32, 0xb6, 0x1e, 0x96, 0x4e, 0x1f } },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        size_t len = strlen(cases[i].text);
        uint8_t *bytes = exact_copy(cases[i].text, len), got[QCBMI_DIGEST_BYTES];

        qcbmi_digest(bytes, len, got);
        assert_memory_equal(got, cases[i].digest, sizeof(got));
        assert_true(qcbmi_digest_is(bytes, len, cases[i].digest));
        free(bytes);
    }
}

static void one_bit_makes_another_digest(void **state)
{
    uint8_t bytes[512] = { 0 }, digest[QCBMI_DIGEST_BYTES];

    (void)state;
    qcbmi_digest(bytes, sizeof(bytes), digest);
    for (unsigned bit = 0; bit < 8 * sizeof(bytes); bit++) {
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_false(qcbmi_digest_is(bytes, sizeof(bytes), digest));
        bytes[bit / 8] = 0;
    }
    assert_true(qcbmi_digest_is(bytes, sizeof(bytes), digest));
    assert_false(qcbmi_digest_is(bytes, sizeof(bytes) - 1, digest));
}

static void pieces_give_what_the_whole_gives(void **state)
{
    uint8_t bytes[3000], whole[QCBMI_DIGEST_BYTES], got[QCBMI_DIGEST_BYTES];
    uint64_t seed = 7;

    (void)state;
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)next_random(&seed);
    qcbmi_digest(bytes, sizeof(bytes), whole);
    for (size_t piece = 1; piece <= sizeof(bytes); piece = piece * 3 + 1) {
        struct qcbmi_digest_state s;

        assert_int_equal(qcbmi_digest_begin(&s, NULL), 0);
        for (size_t at = 0; at < sizeof(bytes); at += piece)
            qcbmi_digest_add(&s, bytes + at, sizeof(bytes) - at < piece ? sizeof(bytes) - at : piece);
        qcbmi_digest_end(&s, got);
        assert_memory_equal(got, whole, sizeof(whole));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_digests),
        cmocka_unit_test(one_bit_makes_another_digest),
        cmocka_unit_test(pieces_give_what_the_whole_gives),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
