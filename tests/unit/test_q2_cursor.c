/* test_q2_cursor.c - a reader that cannot pass its end
 * SPDX-License-Identifier: MIT */
#include "unit.h"

#include "format/q2_cursor.h"

static const uint8_t sample[] = { 0xa1, 0xb1, 0xb2, 0xc1, 0xc2, 0xc3, 0xc4, 0xd1,
                                  0xd2, 0xd3, 0xd4, 0xd5, 0xd6, 0xd7, 0xd8, 0xee };

static void takes_in_order_and_to_the_last_byte(void **state)
{
    uint8_t *p = exact_copy(sample, sizeof(sample));
    struct q2_cursor c;

    (void)state;
    q2_cursor_init(&c, p, sizeof(sample));
    assert_int_equal(q2_cursor_left(&c), 16);
    assert_int_equal(q2_take_u8(&c), 0xa1);
    assert_int_equal(q2_take_u16(&c), 0xb1b2);
    assert_int_equal(q2_take_u32(&c), 0xc1c2c3c4);
    assert_int_equal(q2_take_u64(&c), UINT64_C(0xd1d2d3d4d5d6d7d8));
    assert_int_equal(q2_cursor_left(&c), 1);
    assert_ptr_equal(q2_take(&c, 1), p + 15);
    assert_int_equal(q2_cursor_left(&c), 0);
    assert_false(c.overrun);
    assert_ptr_equal(q2_take(&c, 0), p + 16); /* nothing is always there */
    assert_false(c.overrun);
    free(p);
}

static void a_take_past_the_end_yields_zeros_and_stays_there(void **state)
{
    for (size_t width = 1; width <= 8; width *= 2) {
        uint8_t *p = exact_copy(sample, width - 1);
        struct q2_cursor c;
        uint64_t got = 1;

        q2_cursor_init(&c, p, width - 1);
        got = width == 1   ? q2_take_u8(&c)
              : width == 2 ? q2_take_u16(&c)
              : width == 4 ? q2_take_u32(&c)
                           : q2_take_u64(&c);
        assert_int_equal(got, 0);
        assert_true(c.overrun);
        assert_int_equal(q2_cursor_left(&c), 0);
        assert_int_equal(q2_take_u8(&c), 0);
        assert_null(q2_take(&c, 1));
        assert_true(c.overrun);
        free(p);
    }
    (void)state;
}

static void a_huge_length_does_not_wrap(void **state)
{
    uint8_t *p = exact_copy(sample, 4);
    struct q2_cursor c;

    (void)state;
    q2_cursor_init(&c, p, 4);
    assert_null(q2_take(&c, SIZE_MAX));
    assert_true(c.overrun);
    q2_cursor_init(&c, p, 4);
    assert_null(q2_take(&c, UINT32_MAX));
    assert_null(q2_take(&c, 1));
    assert_true(c.overrun);
    free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_in_order_and_to_the_last_byte),
        cmocka_unit_test(a_take_past_the_end_yields_zeros_and_stays_there),
        cmocka_unit_test(a_huge_length_does_not_wrap),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
