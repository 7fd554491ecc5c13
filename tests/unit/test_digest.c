/* test_digest.c - XXH3-128: known values, and pieces of any length give what the whole gives
 * SPDX-License-Identifier: MIT */
#include "unit.h"

#include "digest.h"

/* What XXH3-128 gives for no bytes is widely known. */
static void known_values(void **state)
{
    static const uint8_t empty[16] = { 0x99, 0xaa, 0x06, 0xd3, 0x01, 0x47, 0x98, 0xd8,
                                       0x60, 0x01, 0xc3, 0x24, 0x46, 0x8d, 0x49, 0x7f };
    uint8_t got[QCBMI_DIGEST_BYTES];

    (void)state;
    qcbmi_digest("", 0, got);
    assert_memory_equal(got, empty, sizeof(empty));
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
    bytes[1234] ^= 1;
    assert_false(qcbmi_digest_is(bytes, sizeof(bytes), whole));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_values),
        cmocka_unit_test(pieces_give_what_the_whole_gives),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
