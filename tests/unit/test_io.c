/* test_io.c - the checked front of a backend, and the common backend test over file and memory
 * SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io/io.h"
#include "io/io_file.h"

/* ---- a backend that does what it is told ---- */

struct fake {
    uint64_t size;
    int ret; /* of every call but size() */
    bool fill_error;
    int size_ret;
    bool extent_data; /* what extent() answers */
    uint64_t extent_end;
    unsigned calls, closed;
};

static int answer(struct fake *f, struct qcbm_error *err)
{
    f->calls++;
    if (f->ret && f->fill_error)
        *err = (struct qcbm_error){ f->ret, 5, 77, "the disk is gone" };
    return f->ret;
}

static int fake_read_at(void *self, uint64_t off, void *buf, size_t len, struct qcbm_error *err)
{
    struct fake *f = self;

    assert_true(off <= f->size && len <= f->size - off);
    memset(buf, 0x5a, len);
    return answer(f, err);
}

static int fake_write_at(void *self, uint64_t off, const void *buf, size_t len, struct qcbm_error *err)
{
    (void)off;
    (void)buf;
    (void)len;
    return answer(self, err);
}

static int fake_flush(void *self, struct qcbm_error *err)
{
    return answer(self, err);
}

static int fake_size(void *self, uint64_t *len_bytes, struct qcbm_error *err)
{
    struct fake *f = self;

    (void)err;
    *len_bytes = f->size;
    return f->size_ret;
}

static int fake_grow(void *self, uint64_t len_bytes, struct qcbm_error *err)
{
    (void)len_bytes;
    return answer(self, err);
}

static int fake_extent(void *self, uint64_t off, bool *is_data, uint64_t *end, struct qcbm_error *err)
{
    struct fake *f = self;

    assert_true(off < f->size);
    *is_data = f->extent_data;
    *end = f->extent_end;
    return answer(f, err);
}

static void fake_close(void *self)
{
    ((struct fake *)self)->closed++;
}

static const struct qcbm_io_ops fake_ops = {
    .struct_size = sizeof(fake_ops),
    .read_at = fake_read_at,
    .write_at = fake_write_at,
    .flush = fake_flush,
    .size = fake_size,
    .grow = fake_grow,
    .close = fake_close,
};

static const struct qcbm_error untouched = { 4711, 4712, 4713, "untouched" };

static void open_fake(struct qcbmi_io *io, struct fake *f, bool writable)
{
    struct qcbm_error err = untouched;

    assert_int_equal(qcbmi_io_init(io, &fake_ops, f, writable, &err), 0);
    assert_memory_equal(&err, &untouched, sizeof(err));
}

/* ---- init ---- */

static void expect_init_fails(const struct qcbm_io_ops *ops, struct fake *f, bool writable, int code, unsigned closed)
{
    struct qcbm_error err = { 0 };
    struct qcbmi_io io;

    assert_int_equal(qcbmi_io_init(&io, ops, f, writable, &err), code);
    assert_int_equal(err.code, code);
    assert_true(err.message[0]);
    assert_int_equal(f->closed, closed);
    assert_int_equal(qcbmi_io_init(&io, ops, f, writable, NULL), code);
    qcbmi_io_close(&io);
}

static void init_refuses_a_table_without_what_it_needs(void **state)
{
    struct qcbm_io_ops ops = fake_ops;
    struct fake f = { 0 };

    (void)state;
    expect_init_fails(NULL, &f, false, QCBM_E_ARG, 0);
    ops.struct_size = offsetof(struct qcbm_io_ops, close) + sizeof(ops.close) - 1;
    expect_init_fails(&ops, &f, false, QCBM_E_ARG, 0); /* close may lie past its end */
    ops = fake_ops;
    ops.close = NULL;
    expect_init_fails(&ops, &f, false, QCBM_E_ARG, 0);
    ops = fake_ops;
    ops.read_at = NULL;
    expect_init_fails(&ops, &f, false, QCBM_E_ARG, 1);
    ops = fake_ops;
    ops.size = NULL;
    expect_init_fails(&ops, &f, false, QCBM_E_ARG, 3);
    ops = fake_ops;
    ops.flush = NULL;
    expect_init_fails(&ops, &f, true, QCBM_E_ARG, 5);
    ops = fake_ops;
    ops.grow = NULL;
    expect_init_fails(&ops, &f, true, QCBM_E_ARG, 7);
}

static void init_takes_a_longer_table_of_a_newer_caller(void **state)
{
    struct qcbm_io_ops ops = fake_ops;
    struct fake f = { .size = 9 };
    struct qcbmi_io io;

    (void)state;
    ops.struct_size += sizeof(void *);
    assert_int_equal(qcbmi_io_init(&io, &ops, &f, true, NULL), 0);
    assert_int_equal(io.size, 9);
    qcbmi_io_close(&io);
}

/* The first release had all up to close: no later one may ask for more. */
static void init_takes_the_table_of_the_first_release(void **state)
{
    size_t len = offsetof(struct qcbm_io_ops, close) + sizeof(fake_ops.close);
    void *ops = malloc(len); /* to the byte, for ASan */
    struct fake f = { .size = 9 };
    struct qcbmi_io io;

    (void)state;
    assert_non_null(ops);
    assert_int_equal(len, sizeof(size_t) + 11 * sizeof(void *));
    memcpy(ops, &fake_ops, len);
    memcpy(ops, &len, sizeof(len)); /* struct_size */
    assert_int_equal(qcbmi_io_init(&io, ops, &f, true, NULL), 0);
    assert_int_equal(io.size, 9);
    qcbmi_io_close(&io);
    free(ops);
}

static void init_closes_when_the_size_is_not_to_be_had(void **state)
{
    struct fake f = { .size_ret = QCBM_E_IO };

    (void)state;
    expect_init_fails(&fake_ops, &f, true, QCBM_E_IO, 1);
    f = (struct fake){ .size = UINT64_C(1) << 63 };
    expect_init_fails(&fake_ops, &f, true, QCBM_E_LIMIT, 1);
}

static void close_is_fine_on_zeroes_and_twice(void **state)
{
    struct qcbmi_io io = { 0 };
    struct fake f = { 0 };

    (void)state;
    qcbmi_io_close(&io);
    open_fake(&io, &f, false);
    qcbmi_io_close(&io);
    qcbmi_io_close(&io);
    assert_int_equal(f.closed, 1);
}

/* ---- reading ---- */

static void read_refuses_what_passes_the_end(void **state)
{
    static const struct {
        uint64_t off, len;
        bool ok;
    } cases[] = {
        { 0, 0, true },
        { 0, 100, true },
        { 99, 1, true },
        { 100, 0, true },
        { 0, 101, false },
        { 100, 1, false },
        { 101, 0, false },
        { 99, 2, false },
        { UINT64_MAX, 1, false },
        { 1, UINT64_MAX, false },
        { UINT64_MAX, UINT64_MAX, false },
    };
    struct fake f = { .size = 100 };
    struct qcbmi_io io;
    uint8_t buf[100];

    (void)state;
    open_fake(&io, &f, false);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct qcbm_error err = untouched;
        int ret = qcbmi_io_read(&io, cases[i].off, buf, cases[i].len, "L2 table", &err);

        assert_int_equal(ret, cases[i].ok ? 0 : QCBM_E_CORRUPT);
        if (cases[i].ok) {
            assert_memory_equal(&err, &untouched, sizeof(err));
        } else {
            assert_true(err.offset == cases[i].off);
            assert_non_null(strstr(err.message, "L2 table at 0x"));
            assert_non_null(strstr(err.message, "end of the file at 0x64"));
        }
    }
    qcbmi_io_close(&io);
}

static void slack_reads_zeros_behind_a_short_last_cluster(void **state)
{
    struct fake f = { .size = 100 };
    struct qcbmi_io io;
    uint8_t *buf = malloc(32); /* to the byte, for ASan */

    (void)state;
    assert_non_null(buf);
    open_fake(&io, &f, false);
    memset(buf, 0xff, 32);
    assert_int_equal(qcbmi_io_read_slack(&io, 90, buf, 32, 128, "data", NULL), 0);
    for (unsigned i = 0; i < 32; i++)
        assert_int_equal(buf[i], i < 10 ? 0x5a : 0);
    assert_int_equal(qcbmi_io_read_slack(&io, 90, buf, 32, 4, "data", NULL), QCBM_E_CORRUPT);
    assert_int_equal(qcbmi_io_read_slack(&io, 90, buf, 32, 0, "data", NULL), QCBM_E_CORRUPT);
    assert_int_equal(qcbmi_io_read_slack(&io, 68, buf, 32, 0, "data", NULL), 0);
    assert_int_equal(qcbmi_io_read_slack(&io, 100, buf, 1, 512, "data", NULL), 0);
    assert_int_equal(buf[0], 0);
    assert_int_equal(qcbmi_io_read_slack(&io, 511, buf, 1, 512, "data", NULL), 0);
    assert_int_equal(qcbmi_io_read_slack(&io, 511, buf, 2, 512, "data", NULL), QCBM_E_CORRUPT);
    assert_int_equal(qcbmi_io_read_slack(&io, 99, buf, 2, 2, "data", NULL), QCBM_E_CORRUPT);
    assert_int_equal(qcbmi_io_read_slack(&io, UINT64_MAX, buf, 32, 512, "data", NULL), QCBM_E_CORRUPT);
    qcbmi_io_close(&io);
    free(buf);
}

static void read_error_says_what_was_read(void **state)
{
    struct fake f = { .size = 100, .ret = QCBM_E_IO, .fill_error = true };
    struct qcbm_error err = { 0 };
    struct qcbmi_io io;
    uint8_t buf[8];

    (void)state;
    open_fake(&io, &f, false);
    assert_int_equal(qcbmi_io_read(&io, 0, buf, 8, "snapshot table", &err), QCBM_E_IO);
    assert_string_equal(err.message, "snapshot table: the disk is gone");
    assert_int_equal(err.sys_errno, 5);
    assert_int_equal(err.offset, 77);
    assert_int_equal(qcbmi_io_read(&io, 0, buf, 8, "snapshot table", NULL), QCBM_E_IO);
    qcbmi_io_close(&io);
}

/* ---- holes ---- */

static void open_fake_with_holes(struct qcbmi_io *io, struct fake *f)
{
    static struct qcbm_io_ops ops;

    ops = fake_ops;
    ops.extent = fake_extent;
    assert_int_equal(qcbmi_io_init(io, &ops, f, false, NULL), 0);
}

static void an_extent_goes_on_behind_the_end_only_as_a_hole(void **state)
{
    static const struct {
        uint64_t off;
        bool data;
        uint64_t end, want;
    } cases[] = {
        { 0, true, 50, 50 },           { 49, true, 50, 50 },
        { 0, false, 50, 50 },          { 0, true, 100, 100 },
        { 0, true, 101, 100 }, /* the file grew, or the backend rounds up */
        { 0, true, UINT64_MAX, 100 },  { 0, false, 99, 99 },
        { 0, false, 100, UINT64_MAX }, { 99, false, UINT64_MAX, UINT64_MAX },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct fake f = { .size = 100, .extent_data = cases[i].data, .extent_end = cases[i].end };
        struct qcbm_error err = untouched;
        struct qcbmi_io io;
        uint64_t end = 0;
        bool data = !cases[i].data;

        open_fake_with_holes(&io, &f);
        assert_int_equal(qcbmi_io_extent(&io, cases[i].off, &data, &end, &err), 0);
        assert_int_equal(data, cases[i].data);
        assert_true(end == cases[i].want);
        assert_memory_equal(&err, &untouched, sizeof(err));
        qcbmi_io_close(&io);
    }
}

static void behind_the_end_is_a_hole_and_nobody_is_asked(void **state)
{
    struct fake f = { .size = 100, .extent_data = true, .extent_end = 100 };
    struct qcbmi_io io;
    uint64_t end = 0;
    bool data = true;

    (void)state;
    open_fake_with_holes(&io, &f);
    assert_int_equal(qcbmi_io_extent(&io, 100, &data, &end, NULL), 0);
    assert_true(!data && end == UINT64_MAX);
    assert_int_equal(qcbmi_io_extent(&io, UINT64_MAX, &data, &end, NULL), 0);
    assert_true(!data && end == UINT64_MAX);
    assert_false(qcbmi_io_is_hole(&io, 100, 1));
    assert_int_equal(f.calls, 0);
    qcbmi_io_close(&io);
}

/* An answer that goes nowhere would be asked for again, for ever. */
static void an_extent_that_ends_where_it_begins_is_an_error_of_the_backend(void **state)
{
    static const uint64_t ends[] = { 0, 10, 39, 40 };

    (void)state;
    for (size_t i = 0; i < 2 * sizeof(ends) / sizeof(ends[0]); i++) {
        struct fake f = { .size = 100, .extent_data = i % 2, .extent_end = ends[i / 2] };
        struct qcbm_error err = { 0 };
        struct qcbmi_io io;
        uint64_t end;
        bool data;

        open_fake_with_holes(&io, &f);
        assert_int_equal(qcbmi_io_extent(&io, 40, &data, &end, &err), QCBM_E_IO);
        assert_int_equal(err.code, QCBM_E_IO);
        assert_non_null(strstr(err.message, "backend: extent at 0x28 ends at 0x"));
        assert_true(err.offset == 40);
        assert_int_equal(qcbmi_io_extent(&io, 40, &data, &end, NULL), QCBM_E_IO);
        assert_false(qcbmi_io_is_hole(&io, 40, 1));
        qcbmi_io_close(&io);
    }
}

static void an_extent_that_cannot_be_told_fails_with_a_message(void **state)
{
    static const int rets[] = { QCBM_E_IO, QCBM_E_NOMEM, 1, -4711 };

    (void)state;
    for (size_t i = 0; i < 2 * sizeof(rets) / sizeof(rets[0]); i++) {
        struct fake f = { .size = 100, .extent_end = 100, .ret = rets[i / 2], .fill_error = i % 2 };
        int want = f.ret > 0 || f.ret == -4711 ? QCBM_E_IO : f.ret;
        struct qcbm_error err = { 0 };
        struct qcbmi_io io;
        uint64_t end;
        bool data;

        open_fake_with_holes(&io, &f);
        assert_int_equal(qcbmi_io_extent(&io, 0, &data, &end, &err), want);
        assert_int_equal(err.code, want);
        assert_true(err.message[0]);
        assert_false(qcbmi_io_is_hole(&io, 0, 1)); /* what nobody knows is read */
        qcbmi_io_close(&io);
    }
}

/* ---- writing ---- */

static void every_change_needs_a_writable_handle(void **state)
{
    struct qcbm_io_ops ops = fake_ops;
    struct fake f = { .size = 100 };
    struct qcbmi_io io;

    (void)state;
    for (int round = 0; round < 2; round++) {
        /* Not opened for writing; then opened so, but the backend cannot. */
        ops.write_at = round ? NULL : fake_write_at;
        assert_int_equal(qcbmi_io_init(&io, &ops, &f, round, NULL), 0);
        assert_int_equal(qcbmi_io_write(&io, 0, "x", 1, NULL), QCBM_E_READONLY);
        assert_int_equal(qcbmi_io_grow(&io, 200, NULL), QCBM_E_READONLY);
        assert_int_equal(qcbmi_io_reserve(&io, 0, 1, NULL), QCBM_E_READONLY);
        assert_int_equal(qcbmi_io_flush(&io, NULL), 0);
        assert_int_equal(f.calls, 0);
        qcbmi_io_close(&io);
    }
}

static void size_follows_writes_and_growth_only_when_they_succeed(void **state)
{
    struct fake f = { .size = 100 };
    struct qcbmi_io io;

    (void)state;
    open_fake(&io, &f, true);
    assert_int_equal(qcbmi_io_write(&io, 10, "abc", 3, NULL), 0);
    assert_int_equal(io.size, 100);
    assert_int_equal(qcbmi_io_write(&io, 98, "abc", 3, NULL), 0);
    assert_int_equal(io.size, 101);
    assert_int_equal(qcbmi_io_grow(&io, 200, NULL), 0);
    assert_int_equal(io.size, 200);
    f.calls = 0;
    assert_int_equal(qcbmi_io_grow(&io, 150, NULL), 0); /* never shrinks, does not even ask */
    assert_int_equal(qcbmi_io_write(&io, 500, "", 0, NULL), 0);
    assert_int_equal(io.size, 200);
    assert_int_equal(f.calls, 0);
    f.ret = QCBM_E_NOSPACE;
    assert_int_equal(qcbmi_io_write(&io, 199, "abc", 3, NULL), QCBM_E_NOSPACE);
    assert_int_equal(qcbmi_io_grow(&io, 300, NULL), QCBM_E_NOSPACE);
    assert_int_equal(qcbmi_io_flush(&io, NULL), QCBM_E_NOSPACE);
    assert_int_equal(io.size, 200);
    qcbmi_io_close(&io);
}

static void no_offset_passes_63_bits(void **state)
{
    struct fake f = { .size = 100 };
    struct qcbmi_io io;

    (void)state;
    open_fake(&io, &f, true);
    assert_int_equal(qcbmi_io_write(&io, INT64_MAX, "x", 1, NULL), QCBM_E_LIMIT);
    assert_int_equal(qcbmi_io_write(&io, UINT64_MAX, "xy", 2, NULL), QCBM_E_LIMIT);
    assert_int_equal(qcbmi_io_grow(&io, UINT64_C(1) << 63, NULL), QCBM_E_LIMIT);
    assert_int_equal(qcbmi_io_reserve(&io, 1, UINT64_MAX, NULL), QCBM_E_LIMIT);
    assert_int_equal(f.calls, 0);
    qcbmi_io_close(&io);
}

static void calls_that_are_not_offered_are_harmless(void **state)
{
    struct fake f = { .size = 100 };
    uint64_t available = 1, allocated = 1;
    struct qcbmi_io io;

    (void)state;
    open_fake(&io, &f, true);
    assert_int_equal(qcbmi_io_reserve(&io, 0, 1000, NULL), 0);
    assert_int_equal(qcbmi_io_space(&io, &available, &allocated, NULL), 0);
    assert_true(available == UINT64_MAX && allocated == UINT64_MAX);
    assert_int_equal(qcbmi_io_lock(&io, QCBM_LOCK_WRITE, NULL), 0);
    assert_int_equal(qcbmi_io_cut(&io, 100, NULL), 0); /* nothing to do */
    assert_int_equal(qcbmi_io_cut(&io, 99, NULL), QCBM_E_UNSUPPORTED);
    assert_int_equal(io.size, 100);
    qcbmi_io_close(&io);
}

static void a_backend_that_returns_nonsense_fails_with_a_code(void **state)
{
    static const int returned[] = { 8, 1, -18, INT32_MIN };
    struct fake f = { .size = 100, .fill_error = true };
    struct qcbm_error err;
    struct qcbmi_io io;

    (void)state;
    open_fake(&io, &f, true);
    for (size_t i = 0; i < sizeof(returned) / sizeof(returned[0]); i++) {
        f.ret = returned[i];
        assert_int_equal(qcbmi_io_flush(&io, &err), QCBM_E_IO);
        assert_int_equal(err.code, QCBM_E_IO);
        assert_non_null(strstr(err.message, "flush"));
    }
    f.ret = QCBM_E_NOSPACE;
    f.fill_error = false;
    assert_int_equal(qcbmi_io_write(&io, 0, "x", 1, &err), QCBM_E_NOSPACE);
    assert_int_equal(err.code, QCBM_E_NOSPACE);
    assert_non_null(strstr(err.message, "write_at"));
    qcbmi_io_close(&io);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(init_refuses_a_table_without_what_it_needs),
        cmocka_unit_test(init_takes_a_longer_table_of_a_newer_caller),
        cmocka_unit_test(init_takes_the_table_of_the_first_release),
        cmocka_unit_test(init_closes_when_the_size_is_not_to_be_had),
        cmocka_unit_test(close_is_fine_on_zeroes_and_twice),
        cmocka_unit_test(read_refuses_what_passes_the_end),
        cmocka_unit_test(slack_reads_zeros_behind_a_short_last_cluster),
        cmocka_unit_test(read_error_says_what_was_read),
        cmocka_unit_test(an_extent_goes_on_behind_the_end_only_as_a_hole),
        cmocka_unit_test(behind_the_end_is_a_hole_and_nobody_is_asked),
        cmocka_unit_test(an_extent_that_ends_where_it_begins_is_an_error_of_the_backend),
        cmocka_unit_test(an_extent_that_cannot_be_told_fails_with_a_message),
        cmocka_unit_test(every_change_needs_a_writable_handle),
        cmocka_unit_test(size_follows_writes_and_growth_only_when_they_succeed),
        cmocka_unit_test(no_offset_passes_63_bits),
        cmocka_unit_test(calls_that_are_not_offered_are_harmless),
        cmocka_unit_test(a_backend_that_returns_nonsense_fails_with_a_code),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
