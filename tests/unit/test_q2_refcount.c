/* test_q2_refcount.c - refcount blocks of all seven widths
 * SPDX-License-Identifier: MIT */
#include "unit.h"

#include "format/q2_refcount.h"

#define BLOCK 512u

static void max_of_each_width(void **state)
{
    static const uint64_t want[] = { 1, 3, 15, 255, 65535, UINT32_MAX, UINT64_MAX };

    (void)state;
    for (uint32_t order = 0; order <= 6; order++)
        assert_int_equal(q2_refcount_max(order), want[order]);
}

/* Order 1, as QEMU stores it: refcounts 1,1,1,1,2,2,2,2,1,1 */
static void packing_example_of_two_bits(void **state)
{
    static const uint64_t counts[] = { 1, 1, 1, 1, 2, 2, 2, 2, 1, 1 };
    uint8_t *block = exact_copy("\0\0\0", 3);

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(counts); i++)
        q2_refcount_set(block, i, 1, counts[i]);
    assert_memory_equal(block, "\x55\xaa\x05", 3);
    for (size_t i = 0; i < ARRAY_LEN(counts); i++)
        assert_int_equal(q2_refcount_get(block, i, 1), counts[i]);
    free(block);
}

static void packing_of_each_width(void **state)
{
    static const struct {
        uint32_t order;
        uint64_t index, value;
        size_t byte, len;
        const char *bytes;
    } cases[] = {
        { 0, 0, 1, 0, 1, "\x01" },
        { 0, 7, 1, 0, 1, "\x80" },
        { 0, 8, 1, 1, 1, "\x01" },
        { 0, 4095, 1, 511, 1, "\x80" },
        { 1, 3, 3, 0, 1, "\xc0" },
        { 1, 5, 2, 1, 1, "\x08" },
        { 1, 2047, 1, 511, 1, "\x40" },
        { 2, 0, 10, 0, 1, "\x0a" },
        { 2, 1, 10, 0, 1, "\xa0" },
        { 2, 1023, 15, 511, 1, "\xf0" },
        { 3, 0, 255, 0, 1, "\xff" },
        { 3, 511, 1, 511, 1, "\x01" },
        { 4, 1, 0x1234, 2, 2, "\x12\x34" },
        { 4, 255, 1, 510, 2, "\x00\x01" },
        { 5, 1, 0x12345678, 4, 4, "\x12\x34\x56\x78" },
        { 5, 127, 1, 508, 4, "\x00\x00\x00\x01" },
        { 6, 1, UINT64_C(0x123456789abcdef0), 8, 8, "\x12\x34\x56\x78\x9a\xbc\xde\xf0" },
        { 6, 63, 1, 504, 8, "\x00\x00\x00\x00\x00\x00\x00\x01" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint8_t want[BLOCK] = { 0 };
        uint8_t *block = exact_copy(want, BLOCK);

        memcpy(want + cases[i].byte, cases[i].bytes, cases[i].len);
        q2_refcount_set(block, cases[i].index, cases[i].order, cases[i].value);
        assert_memory_equal(block, want, BLOCK);
        assert_int_equal(q2_refcount_get(block, cases[i].index, cases[i].order), cases[i].value);
        free(block);
    }
}

static void set_leaves_the_neighbours_alone(void **state)
{
    (void)state;
    for (uint32_t order = 0; order <= 6; order++) {
        uint64_t n = BLOCK * 8 >> order, max = q2_refcount_max(order), seed = 77 + order;
        uint64_t *naive = calloc((size_t)n, sizeof(*naive));
        uint8_t zeros[BLOCK] = { 0 };
        uint8_t *block = exact_copy(zeros, BLOCK);

        assert_non_null(naive);
        for (int i = 0; i < 20000; i++) {
            uint64_t at = next_random(&seed) % n, value = next_random(&seed) & max;

            q2_refcount_set(block, at, order, value);
            naive[at] = value;
            at = next_random(&seed) % n;
            assert_int_equal(q2_refcount_get(block, at, order), naive[at]);
        }
        for (uint64_t at = 0; at < n; at++)
            assert_int_equal(q2_refcount_get(block, at, order), naive[at]);
        free(block);
        free(naive);
    }
}

/* Runs of all lengths from all places, over words and short of their ends. */
static void runs_end_where_the_value_does(void **state)
{
    (void)state;
    for (uint32_t order = 0; order <= 6; order++) {
        uint64_t n = BLOCK * 8 >> order, max = q2_refcount_max(order), seed = 5 + order;
        uint8_t *block = exact_copy((uint8_t[BLOCK]){ 0 }, BLOCK);

        for (int round = 0; round < 300; round++) {
            uint64_t at = next_random(&seed) % n, len = next_random(&seed) % (n - at) + 1, end = at + 1;
            uint64_t value = round % 2 ? next_random(&seed) & max : next_random(&seed) % 2;
            uint64_t limit = at + 1 + next_random(&seed) % (n - at);

            for (uint64_t i = at; i < at + len; i++)
                q2_refcount_set(block, i, order, value);
            at -= at ? next_random(&seed) % at % 70 : 0;
            end = at + 1;
            while (end < limit && q2_refcount_get(block, end, order) == q2_refcount_get(block, at, order))
                end++;
            assert_int_equal(q2_refcount_run_end(block, at, limit, order), end);
        }
        free(block);
    }
}

/* Blocks all in use, none, and with any mixture of numbers, each of whose bits counts. */
static void a_bit_tells_which_are_not_0(void **state)
{
    (void)state;
    for (uint32_t order = 0; order <= 6; order++) {
        uint64_t n = BLOCK * 8 >> order, max = q2_refcount_max(order), seed = 50 + order, bits[BLOCK * 8 / 64];
        uint8_t *block = exact_copy((uint8_t[BLOCK]){ 0 }, BLOCK);

        for (int round = 0; round < 300; round++) {
            for (uint64_t i = 0; i < n; i++) {
                uint64_t value = UINT64_C(1) << next_random(&seed) % (UINT64_C(1) << order);

                value = round % 3 ? value : next_random(&seed) & max;
                if (i >= (uint64_t)round * 7 && next_random(&seed) % 32 < (uint64_t)round % 33)
                    value = 0;
                q2_refcount_set(block, i, order, value);
            }
            q2_refcount_used(block, n, order, bits);
            for (uint64_t i = 0; i < n; i++)
                assert_int_equal(bits[i / 64] >> i % 64 & 1, q2_refcount_get(block, i, order) != 0);
        }
        free(block);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(max_of_each_width),
        cmocka_unit_test(packing_example_of_two_bits),
        cmocka_unit_test(packing_of_each_width),
        cmocka_unit_test(set_leaves_the_neighbours_alone),
        cmocka_unit_test(runs_end_where_the_value_does),
        cmocka_unit_test(a_bit_tells_which_are_not_0),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
