/* test_text_out.c - tools/text_out.c: numbers as printf() prints them, all bytes in their order, the first error kept
 * SPDX-License-Identifier: MIT */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "text_out.h"

static struct text_out text;

static void is_as_printf_has_it(uint64_t value)
{
    char got[64], want[64];

    memset(got, '#', sizeof(got));
    *text_u64(got, value) = '\0';
    snprintf(want, sizeof(want), "%" PRIu64, value);
    assert_string_equal(got, want);
    for (unsigned width = 1; width <= 24; width++) {
        *text_u64_right(got, value, width) = '\0';
        snprintf(want, sizeof(want), "%*" PRIu64, (int)width, value);
        assert_string_equal(got, want);
        *text_hex_left(got, value, width) = '\0';
        snprintf(want, sizeof(want), "%-#*" PRIx64, (int)width, value);
        assert_string_equal(got, want);
    }
}

static void numbers_are_those_of_printf(void **state)
{
    uint64_t mixed = 1;

    (void)state;
    for (uint64_t value = 0; value < 2000; value++)
        is_as_printf_has_it(value);
    for (uint64_t power = 10; power < UINT64_MAX / 10; power *= 10)
        for (int step = -2; step <= 2; step++)
            is_as_printf_has_it(power + (uint64_t)step);
    for (unsigned bit = 0; bit < 64; bit++)
        for (int step = -1; step <= 1; step++)
            is_as_printf_has_it((UINT64_C(1) << bit) + (uint64_t)step);
    for (unsigned i = 0; i < 20000; i++) {
        mixed = mixed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        is_as_printf_has_it(mixed >> (i % 64));
    }
}

/* In any order, though it is made for rising numbers. */
static void upper_digits_are_those_of_the_number(void **state)
{
    struct text_high high = { 0 };
    uint64_t value = 99990000;
    char got[64], want[64];

    (void)state;
    for (unsigned i = 0; i < 20000; i++) {
        *text_u64_after(got, value, &high) = '\0';
        snprintf(want, sizeof(want), "%" PRIu64, value);
        assert_string_equal(got, want);
        value = i % 64 == 63 ? value * UINT64_C(6364136223846793005) >> (i / 64 % 64) : value + i;
    }
}

static void put_lines(FILE *out, size_t bytes)
{
    size_t n = 0;

    text_begin(&text, out);
    for (uint64_t i = 0; n < bytes; i++) {
        char *begin = text_room(&text), *at = text_literal(text_u64(begin, i), "\n");

        text_end(&text, at);
        n += (size_t)(at - begin);
    }
    assert_int_equal(text_flush(&text), 0);
    assert_int_equal(fputs("end\n", out) >= 0, 1);
    assert_int_equal(fflush(out), 0);
}

static void expect_lines(FILE *in, size_t bytes)
{
    char got[32], want[32];
    size_t n = 0;

    rewind(in);
    assert_string_equal(fgets(got, sizeof(got), in), "begin\n");
    for (uint64_t i = 0; n < bytes; i++) {
        n += (size_t)snprintf(want, sizeof(want), "%" PRIu64 "\n", i);
        assert_string_equal(fgets(got, sizeof(got), in), want);
    }
    assert_string_equal(fgets(got, sizeof(got), in), "end\n");
    assert_null(fgets(got, sizeof(got), in));
}

/* Nothing is lost where the buffer ends, and what was and what will be printed otherwise stands before and behind it:
 * in a file, and in what has no descriptor. */
static void bytes_come_out_in_their_order(void **state)
{
    static char memory[4 * TEXT_BYTES];
    FILE *files[] = { tmpfile(), fmemopen(memory, sizeof(memory), "w+") };

    (void)state;
    for (size_t k = 0; k < 2; k++) {
        assert_non_null(files[k]);
        assert_true(fputs("begin\n", files[k]) >= 0);
        put_lines(files[k], 3 * (size_t)TEXT_BYTES);
        expect_lines(files[k], 3 * (size_t)TEXT_BYTES);
        fclose(files[k]);
    }
}

static void nothing_is_printed_before_it_is_flushed(void **state)
{
    char *got = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&got, &len);

    (void)state;
    text_begin(&text, out);
    text_put(&text, "x", 1);
    assert_true(fflush(out) == 0 && len == 0);
    assert_int_equal(text_flush(&text), 0);
    assert_true(fflush(out) == 0 && len == 1);
    fclose(out);
    free(got);
}

static void long_text_is_not_cut(void **state)
{
    char *got = NULL, *want = malloc(TEXT_BYTES + 1000);
    size_t len = 0;
    FILE *out = open_memstream(&got, &len);

    (void)state;
    for (size_t i = 0; i < TEXT_BYTES + 1000; i++)
        want[i] = (char)('a' + i % 23);
    text_begin(&text, out);
    text_put(&text, want, TEXT_BYTES + 1000);
    assert_int_equal(text_flush(&text), 0);
    fclose(out);
    assert_int_equal(len, TEXT_BYTES + 1000);
    assert_memory_equal(got, want, len);
    free(got);
    free(want);
}

static void the_first_error_is_kept(void **state)
{
    FILE *out = fopen("/dev/full", "w");

    (void)state;
    text_begin(&text, out);
    text_put(&text, "x", 1);
    text_flush(&text); /* into the FILE, which has room */
    for (unsigned i = 0; i < 2 * TEXT_BYTES / TEXT_LINE; i++)
        text_end(&text, text_room(&text) + TEXT_LINE - 1);
    assert_int_equal(text.lost, ENOSPC);
    errno = 0;
    assert_int_equal(text_flush(&text), ENOSPC);
    fclose(out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_those_of_printf),   cmocka_unit_test(upper_digits_are_those_of_the_number),
        cmocka_unit_test(bytes_come_out_in_their_order), cmocka_unit_test(nothing_is_printed_before_it_is_flushed),
        cmocka_unit_test(long_text_is_not_cut),          cmocka_unit_test(the_first_error_is_kept),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
