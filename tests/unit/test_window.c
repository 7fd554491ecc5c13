/* test_window.c - tables in pieces: what is read, what holes tell, what lies past the end of the file
 * SPDX-License-Identifier: MIT */
#include "unit.h"

#include "image/window.h"

#define SIZE (UINT64_C(1) << 20)
#define STEP (UINT64_C(128) << 10) /* data and holes take turns */

static unsigned n_reads;
static uint64_t n_bytes;
static bool fails;

static bool is_data_at(uint64_t off)
{
    return off < SIZE && off / STEP % 2 == 0;
}

static uint8_t byte_at(uint64_t off)
{
    return is_data_at(off) ? (uint8_t)(off / 256 % 255 + 1) : 0;
}

static int striped_read(void *self, uint64_t off, void *buf, size_t len, struct qcbm_error *err)
{
    (void)self;
    (void)err;
    if (fails)
        return QCBM_E_IO;
    n_reads++;
    n_bytes += len;
    for (size_t i = 0; i < len; i++)
        ((uint8_t *)buf)[i] = byte_at(off + i);
    return 0;
}

static int striped_size(void *self, uint64_t *size, struct qcbm_error *err)
{
    (void)self;
    (void)err;
    *size = SIZE;
    return 0;
}

static int striped_extent(void *self, uint64_t off, bool *is_data, uint64_t *end, struct qcbm_error *err)
{
    (void)self;
    (void)err;
    *is_data = is_data_at(off);
    *end = (off / STEP + 1) * STEP;
    return 0;
}

static void striped_close(void *self)
{
    (void)self;
}

static const struct qcbm_io_ops striped_ops = {
    .struct_size = sizeof(struct qcbm_io_ops),
    .read_at = striped_read,
    .size = striped_size,
    .extent = striped_extent,
    .close = striped_close,
};

static void begin(struct qcbmi_io *io)
{
    fails = false;
    assert_int_equal(qcbmi_io_init(io, &striped_ops, NULL, false, NULL), 0);
    n_reads = 0;
    n_bytes = 0;
}

static void expect(struct qcbmi_window *w, struct qcbmi_io *io, uint64_t off, uint64_t need, uint64_t rest)
{
    const uint8_t *bytes;

    assert_int_equal(qcbmi_window_at(w, io, off, need, rest, &bytes, NULL), 0);
    for (uint64_t i = 0; i < need; i++)
        assert_int_equal(bytes[i], byte_at(off + i));
}

static void any_place_reads_as_the_file(void **state)
{
    struct qcbmi_window w = { 0 };
    struct qcbmi_io io;
    uint64_t seed = 5;

    (void)state;
    begin(&io);
    for (unsigned i = 0; i < 3000; i++) {
        uint64_t r = next_random(&seed), off = r % (SIZE + 4096), need = 1 + (r >> 32) % 4096;

        expect(&w, &io, off, need, need + (r >> 44) % 100000);
    }
    qcbmi_window_free(&w);
    qcbmi_io_close(&io);
}

static void neighbours_take_one_read_and_a_lone_entry_no_more_than_its_table(void **state)
{
    struct qcbmi_window w = { 0 };
    struct qcbmi_io io;

    (void)state;
    begin(&io);
    expect(&w, &io, 0, 8, 512);
    assert_int_equal(n_bytes, 512);
    expect(&w, &io, 504, 8, 8);
    assert_int_equal(n_reads, 1);
    for (uint64_t off = 512; off < 60000; off += 8) /* close to what was read: as much as fits */
        expect(&w, &io, off, 8, 512);
    assert_int_equal(n_reads, 2);
    qcbmi_window_free(&w);
    qcbmi_io_close(&io);
}

static void a_hole_is_known_once_its_beginning_was_read(void **state)
{
    struct qcbmi_window w = { 0 };
    struct qcbmi_io io;

    (void)state;
    begin(&io);
    assert_false(qcbmi_window_is_zero(&w, STEP, 8));
    assert_int_equal(qcbmi_window_zero_end(&w, STEP), STEP);
    expect(&w, &io, STEP, 8, 8);
    assert_true(qcbmi_window_is_zero(&w, STEP, STEP));
    assert_false(qcbmi_window_is_zero(&w, STEP, STEP + 1));
    assert_int_equal(qcbmi_window_zero_end(&w, STEP + 100), 2 * STEP);
    for (uint64_t off = STEP; off + 4096 <= 2 * STEP; off += 4096)
        expect(&w, &io, off, 4096, 4096);
    assert_int_equal(n_reads, 1);
    qcbmi_window_free(&w);
    qcbmi_io_close(&io);
}

static void windows_share_what_is_known_of_holes(void **state)
{
    struct qcbmi_holes holes;
    struct qcbmi_window a = { .holes = &holes }, b = { .holes = &holes };
    struct qcbmi_io io;

    (void)state;
    begin(&io);
    qcbmi_holes_init(&holes, &io);
    expect(&a, &io, STEP, 8, 8);
    assert_true(qcbmi_window_is_zero(&b, STEP + 8, STEP - 8));
    assert_false(qcbmi_window_is_zero(&b, 0, 8));
    qcbmi_window_free(&a);
    qcbmi_window_free(&b);
    qcbmi_holes_free(&holes);
    qcbmi_io_close(&io);
}

static void a_read_that_fails_leaves_nothing_behind(void **state)
{
    struct qcbmi_window w = { 0 };
    struct qcbm_error err = { 0 };
    struct qcbmi_io io;
    const uint8_t *bytes;

    (void)state;
    begin(&io);
    expect(&w, &io, 0, 8, 512);
    fails = true;
    assert_int_equal(qcbmi_window_at(&w, &io, 4 * STEP, 8, 8, &bytes, &err), QCBM_E_IO);
    assert_int_equal(err.code, QCBM_E_IO);
    assert_int_equal(qcbmi_window_at(&w, &io, 0, 8, 8, &bytes, &err), QCBM_E_IO); /* not what was there before */
    fails = false;
    expect(&w, &io, 4 * STEP, 8, 8);
    qcbmi_window_free(&w);
    qcbmi_window_free(&w);
    qcbmi_io_close(&io);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_place_reads_as_the_file),
        cmocka_unit_test(neighbours_take_one_read_and_a_lone_entry_no_more_than_its_table),
        cmocka_unit_test(a_hole_is_known_once_its_beginning_was_read),
        cmocka_unit_test(windows_share_what_is_known_of_holes),
        cmocka_unit_test(a_read_that_fails_leaves_nothing_behind),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
