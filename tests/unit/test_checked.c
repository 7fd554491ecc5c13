/* test_checked.c - checked arithmetic at the edges of 64 bits, and big-endian loads and stores
 * SPDX-License-Identifier: MIT */
#include "unit.h"

#include "base/bytes.h"
#include "base/checked.h"

#define MAX UINT64_MAX

static void add_and_mul_tell_overflow(void **state)
{
    uint64_t r;

    (void)state;
    assert_true(u64_add(MAX - 1, 1, &r) && r == MAX);
    assert_true(u64_add(MAX, 0, &r) && r == MAX);
    assert_false(u64_add(MAX, 1, &r));
    assert_false(u64_add(MAX, MAX, &r));
    assert_true(u64_mul(MAX, 1, &r) && r == MAX);
    assert_true(u64_mul(MAX, 0, &r) && r == 0);
    assert_true(u64_mul(UINT64_C(1) << 32, 0xffffffff, &r) && r == UINT64_C(0xffffffff00000000));
    assert_false(u64_mul(UINT64_C(1) << 32, UINT64_C(1) << 32, &r));
    assert_false(u64_mul(MAX / 2 + 1, 2, &r));
    assert_true(u64_mul(MAX / 2, 2, &r) && r == MAX - 1);
}

static void range_fits_without_wrapping(void **state)
{
    (void)state;
    assert_true(range_fits(0, 0, 0));
    assert_true(range_fits(10, 0, 10));
    assert_true(range_fits(0, 10, 10));
    assert_true(range_fits(3, 7, 10));
    assert_false(range_fits(3, 8, 10));
    assert_false(range_fits(11, 0, 10));
    assert_false(range_fits(MAX, 1, MAX));
    assert_true(range_fits(MAX, 0, MAX));
    assert_true(range_fits(MAX - 1, 1, MAX));
    assert_false(range_fits(2, MAX, MAX));
    assert_false(range_fits(MAX, MAX, 10));
}

static void alignment_up_saturates(void **state)
{
    (void)state;
    for (unsigned bits = 0; bits < 64; bits++) {
        uint64_t a = UINT64_C(1) << bits, top = MAX - (a - 1);

        assert_int_equal(align_up(0, a), 0);
        assert_int_equal(align_up(1, a), a);
        assert_int_equal(align_up(a, a), a);
        assert_int_equal(align_up(top, a), top);
        assert_int_equal(align_up(MAX, a), top); /* the largest multiple below 2^64 */
        assert_int_equal(align_down(MAX, a), top);
        assert_int_equal(align_down(a - 1, a), 0);
        assert_true(is_aligned(top, a));
        assert_true(is_aligned(0, a));
        assert_int_equal(is_aligned(MAX, a), bits == 0);
    }
    assert_int_equal(align_up(65537, 65536), 131072);
}

static void div_up_cannot_overflow(void **state)
{
    (void)state;
    assert_int_equal(div_up(0, 1), 0);
    assert_int_equal(div_up(0, MAX), 0);
    assert_int_equal(div_up(1, MAX), 1);
    assert_int_equal(div_up(MAX, 1), MAX);
    assert_int_equal(div_up(MAX, 2), UINT64_C(1) << 63);
    assert_int_equal(div_up(MAX, MAX), 1);
    assert_int_equal(div_up(MAX, MAX - 1), 2);
    assert_int_equal(div_up(8, 8), 1);
    assert_int_equal(div_up(9, 8), 2);
}

static void min_and_max(void **state)
{
    (void)state;
    assert_int_equal(u64_min(1, 2), 1);
    assert_int_equal(u64_min(MAX, 2), 2);
    assert_int_equal(u64_max(1, 2), 2);
    assert_int_equal(u64_max(MAX, 2), MAX);
    assert_int_equal(u64_max(3, 3), 3);
}

static void bytes_are_big_endian_at_any_alignment(void **state)
{
    static const uint8_t want[] = { 0x81, 0x02, 0xf3, 0x04, 0x05, 0x86, 0x07, 0xff };

    (void)state;
    for (size_t shift = 0; shift < 8; shift++) {
        uint8_t buf[16] = { 0 };
        uint8_t *p = exact_copy(buf, shift + 8);

        be64_store(p + shift, UINT64_C(0x8102f304058607ff));
        assert_memory_equal(p + shift, want, 8);
        assert_int_equal(be64_load(p + shift), UINT64_C(0x8102f304058607ff));
        assert_int_equal(be32_load(p + shift), 0x8102f304);
        assert_int_equal(be16_load(p + shift), 0x8102);
        assert_int_equal(be32_load(p + shift + 4), 0x058607ff);
        be32_store(p + shift + 4, 0xfedcba98);
        be16_store(p + shift, 0xabcd);
        assert_int_equal(be64_load(p + shift), UINT64_C(0xabcdf304fedcba98));
        free(p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(add_and_mul_tell_overflow),
        cmocka_unit_test(range_fits_without_wrapping),
        cmocka_unit_test(alignment_up_saturates),
        cmocka_unit_test(div_up_cannot_overflow),
        cmocka_unit_test(min_and_max),
        cmocka_unit_test(bytes_are_big_endian_at_any_alignment),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
