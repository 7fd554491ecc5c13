/* test_io_shadow.c - writes over another backend that stay in memory
 * SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "io/io_shadow.h"

#define BELOW_LEN 10000u
#define MAX_HELD (UINT64_C(4) << 20)

struct ground {
    struct qcbm_mem *mem;
    struct qcbmi_io below, io;
};

static int setup(void **state)
{
    struct ground *g = calloc(1, sizeof(*g));
    struct qcbmi_shadow *shadow;
    uint8_t bytes[BELOW_LEN];

    assert_non_null(g);
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)(i % 251);
    assert_int_equal(qcbm_mem_new(bytes, sizeof(bytes), &g->mem, NULL), 0);
    assert_int_equal(qcbmi_io_init(&g->below, qcbm_mem_ops(), g->mem, false, NULL), 0);
    assert_int_equal(qcbmi_shadow_new(&g->below, MAX_HELD, &shadow, NULL), 0);
    assert_int_equal(qcbmi_io_init(&g->io, qcbmi_shadow_ops(), shadow, true, NULL), 0);
    *state = g;
    return 0;
}

static int teardown(void **state)
{
    struct ground *g = *state;

    qcbmi_io_close(&g->io);
    qcbmi_io_close(&g->below);
    free(g);
    return 0;
}

static void expect(struct qcbmi_io *io, uint64_t off, size_t len, const uint8_t *want)
{
    uint8_t *buf = malloc(len);

    assert_non_null(buf);
    assert_int_equal(qcbmi_io_read(io, off, buf, len, "bytes", NULL), 0);
    assert_memory_equal(buf, want, len);
    free(buf);
}

static void what_is_written_is_read_and_not_below(void **state)
{
    struct ground *g = *state;
    uint8_t want[BELOW_LEN];
    size_t len;

    memcpy(want, qcbm_mem_data(g->mem, &len), sizeof(want));
    expect(&g->io, 0, BELOW_LEN, want);
    memset(want + 4090, 0xee, 12); /* over the edge of two pages */
    memset(want + 4095, 0xdd, 1);
    assert_int_equal(qcbmi_io_write(&g->io, 4090, want + 4090, 12, NULL), 0);
    assert_int_equal(qcbmi_io_write(&g->io, 9999, "x", 1, NULL), 0);
    want[9999] = 'x';
    expect(&g->io, 0, BELOW_LEN, want);
    expect(&g->io, 4095, 1, want + 4095);
    assert_int_equal(((const uint8_t *)qcbm_mem_data(g->mem, &len))[4095], 4095 % 251);
    assert_int_equal(len, BELOW_LEN);
}

static void it_grows_with_zeros(void **state)
{
    struct ground *g = *state;
    uint8_t zeros[5000] = { 0 };

    assert_int_equal(qcbmi_io_grow(&g->io, 30000, NULL), 0);
    assert_int_equal(g->io.size, 30000);
    expect(&g->io, BELOW_LEN, sizeof(zeros), zeros);
    assert_int_equal(qcbmi_io_write(&g->io, 12288, "y", 1, NULL), 0);
    expect(&g->io, 12289, sizeof(zeros), zeros);
    assert_int_equal(qcbmi_io_write(&g->io, 40000, "z", 1, NULL), 0);
    assert_int_equal(g->io.size, 40001);
    expect(&g->io, 35000, sizeof(zeros), zeros);
}

static void pages_that_were_written_are_no_hole(void **state)
{
    struct ground *g = *state;
    bool is_data;
    uint64_t end;

    assert_int_equal(qcbmi_io_grow(&g->io, 1 << 20, NULL), 0);
    assert_true(qcbmi_io_is_hole(&g->io, 12288, 1 << 19));
    assert_int_equal(qcbmi_io_write(&g->io, 65536, "y", 1, NULL), 0);
    assert_true(qcbmi_io_is_hole(&g->io, 12288, 65536 - 12288));
    assert_false(qcbmi_io_is_hole(&g->io, 12288, 65537 - 12288));
    assert_int_equal(qcbmi_io_extent(&g->io, 65537, &is_data, &end, NULL), 0);
    assert_true(is_data);
    assert_int_equal(end, 65536 + 4096);
}

/* In no order, with all distances: each page is found, and what lies between two of them. */
static void pages_are_found_wherever_they_lie(void **state)
{
    struct ground *g = *state;
    uint64_t at = 7;

    assert_int_equal(qcbmi_io_grow(&g->io, UINT64_C(1) << 62, NULL), 0);
    for (unsigned i = 0; i < 100; i++, at = at * 2 % 101) { /* all of 1 to 100 */
        uint64_t off = ((UINT64_C(1) << (at % 50)) + at) << 12;

        assert_int_equal(qcbmi_io_write(&g->io, off + 8, &off, sizeof(off), NULL), 0);
    }
    for (unsigned k = 1; k <= 100; k++) {
        uint64_t off = ((UINT64_C(1) << (k % 50)) + k) << 12, end, now;
        bool is_data;

        assert_int_equal(qcbmi_io_read(&g->io, off + 8, &now, sizeof(now), "bytes", NULL), 0);
        assert_int_equal(now, off);
        assert_int_equal(qcbmi_io_extent(&g->io, off + 100, &is_data, &end, NULL), 0);
        assert_true(is_data);
        assert_int_equal(end, off + 4096);
    }
}

static void more_than_it_may_hold_is_refused(void **state)
{
    struct ground *g = *state;
    uint64_t off = 0;
    int ret = 0;

    for (; ret == 0; off += 1 << 20) /* a page of each megabyte */
        ret = qcbmi_io_write(&g->io, off, "x", 1, NULL);
    assert_int_equal(ret, QCBM_E_LIMIT);
    assert_true(off >> 20 > MAX_HELD / 4096 / 2);
    assert_true(off >> 20 < MAX_HELD / 4096);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_written_is_read_and_not_below, setup, teardown),
        cmocka_unit_test_setup_teardown(it_grows_with_zeros, setup, teardown),
        cmocka_unit_test_setup_teardown(pages_that_were_written_are_no_hole, setup, teardown),
        cmocka_unit_test_setup_teardown(pages_are_found_wherever_they_lie, setup, teardown),
        cmocka_unit_test_setup_teardown(more_than_it_may_hold_is_refused, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
