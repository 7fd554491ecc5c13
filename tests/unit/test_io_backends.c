/* test_io_backends.c - what each backend must do, tried on files and on memory
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

/* ---- the common backend test ---- */

struct backend {
    const char *name;
    char dir[64], path[80];
    struct qcbmi_io io;
};

static void make_file(const char *path, size_t len)
{
    FILE *fp = fopen(path, "wb");

    assert_non_null(fp);
    for (size_t i = 0; i < len; i++)
        assert_int_not_equal(fputc((int)(i % 251), fp), EOF);
    assert_int_equal(fclose(fp), 0);
}

#define BACKEND_LEN 1000u

static int setup_file(void **state)
{
    struct backend *b = calloc(1, sizeof(*b));
    void *self;

    assert_non_null(b);
    snprintf(b->dir, sizeof(b->dir), "%s", "/tmp/qcbm-test-io-XXXXXX");
    assert_non_null(mkdtemp(b->dir));
    snprintf(b->path, sizeof(b->path), "%s/image", b->dir);
    make_file(b->path, BACKEND_LEN);
    assert_int_equal(qcbmi_file_open(b->path, true, &self, NULL), 0);
    assert_int_equal(qcbmi_io_init(&b->io, qcbmi_file_ops(), self, true, NULL), 0);
    *state = b;
    return 0;
}

static int setup_memory(void **state)
{
    struct backend *b = calloc(1, sizeof(*b));
    uint8_t bytes[BACKEND_LEN];
    struct qcbm_mem *mem;

    assert_non_null(b);
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)(i % 251);
    assert_int_equal(qcbm_mem_new(bytes, sizeof(bytes), &mem, NULL), 0);
    assert_int_equal(qcbmi_io_init(&b->io, qcbm_mem_ops(), mem, true, NULL), 0);
    *state = b;
    return 0;
}

static int teardown(void **state)
{
    struct backend *b = *state;

    qcbmi_io_close(&b->io);
    if (b->path[0]) {
        unlink(b->path);
        rmdir(b->dir);
    }
    free(b);
    return 0;
}

static void expect_pattern(struct qcbmi_io *io, uint64_t off, size_t len)
{
    uint8_t *buf = malloc(len);

    assert_non_null(buf);
    assert_int_equal(qcbmi_io_read(io, off, buf, len, "pattern", NULL), 0);
    for (size_t i = 0; i < len; i++)
        assert_int_equal(buf[i], (off + i) % 251);
    free(buf);
}

static void expect_zeros(struct qcbmi_io *io, uint64_t off, size_t len)
{
    uint8_t *buf = malloc(len);

    assert_non_null(buf);
    assert_int_equal(qcbmi_io_read(io, off, buf, len, "zeros", NULL), 0);
    for (size_t i = 0; i < len; i++)
        assert_int_equal(buf[i], 0);
    free(buf);
}

static void backend_reads_and_writes_in_place(void **state)
{
    struct qcbmi_io *io = &((struct backend *)*state)->io;
    uint8_t buf[3];

    assert_int_equal(io->size, BACKEND_LEN);
    expect_pattern(io, 0, BACKEND_LEN);
    expect_pattern(io, 999, 1);
    assert_int_equal(qcbmi_io_write(io, 500, "abc", 3, NULL), 0);
    assert_int_equal(qcbmi_io_flush(io, NULL), 0);
    expect_pattern(io, 0, 500);
    assert_int_equal(qcbmi_io_read(io, 500, buf, 3, "written", NULL), 0);
    assert_memory_equal(buf, "abc", 3);
    expect_pattern(io, 503, 497);
    assert_int_equal(io->size, BACKEND_LEN);
}

static void backend_grows_with_zeros(void **state)
{
    struct qcbmi_io *io = &((struct backend *)*state)->io;
    uint64_t size = 0;

    assert_int_equal(qcbmi_io_grow(io, 70000, NULL), 0);
    expect_pattern(io, 0, BACKEND_LEN);
    expect_zeros(io, BACKEND_LEN, 69000);
    assert_int_equal(io->ops->size(io->self, &size, NULL), 0);
    assert_int_equal(size, 70000);
    assert_int_equal(io->ops->grow(io->self, 10, NULL), 0); /* does not shrink even if asked directly */
    assert_int_equal(io->ops->size(io->self, &size, NULL), 0);
    assert_int_equal(size, 70000);
}

static void backend_is_cut_and_grows_with_zeros_again(void **state)
{
    struct qcbmi_io *io = &((struct backend *)*state)->io;
    uint64_t size = 0;

    assert_int_equal(qcbmi_io_cut(io, 2 * BACKEND_LEN, NULL), 0); /* never grows */
    assert_int_equal(io->size, BACKEND_LEN);
    assert_int_equal(qcbmi_io_cut(io, 300, NULL), 0);
    assert_int_equal(io->size, 300);
    assert_int_equal(io->ops->size(io->self, &size, NULL), 0);
    assert_int_equal(size, 300);
    expect_pattern(io, 0, 300);
    assert_int_equal(qcbmi_io_grow(io, BACKEND_LEN, NULL), 0);
    expect_zeros(io, 300, BACKEND_LEN - 300);
}

static void backend_write_past_the_end_leaves_a_gap_of_zeros(void **state)
{
    struct qcbmi_io *io = &((struct backend *)*state)->io;

    assert_int_equal(qcbmi_io_write(io, 5000, "abc", 3, NULL), 0);
    assert_int_equal(io->size, 5003);
    expect_pattern(io, 0, BACKEND_LEN);
    expect_zeros(io, BACKEND_LEN, 4000);
}

static void backend_reserve_changes_neither_content_nor_size(void **state)
{
    struct qcbmi_io *io = &((struct backend *)*state)->io;
    uint64_t size = 0;

    assert_int_equal(qcbmi_io_reserve(io, 500, 100000, NULL), 0);
    assert_int_equal(io->ops->size(io->self, &size, NULL), 0);
    assert_int_equal(size, BACKEND_LEN);
    expect_pattern(io, 0, BACKEND_LEN);
    assert_int_equal(qcbmi_io_grow(io, 100500, NULL), 0);
    expect_zeros(io, BACKEND_LEN, 99500);
}

static void backend_takes_megabytes_at_once(void **state)
{
    struct qcbmi_io *io = &((struct backend *)*state)->io;
    size_t len = 5u << 20;
    uint8_t *out = malloc(len), *in = malloc(len);

    assert_non_null(out);
    assert_non_null(in);
    for (size_t i = 0; i < len; i++)
        out[i] = (uint8_t)(i * 7 >> 3);
    assert_int_equal(qcbmi_io_write(io, 333, out, len, NULL), 0);
    assert_int_equal(qcbmi_io_read(io, 333, in, len, "much", NULL), 0);
    assert_memory_equal(in, out, len);
    free(out);
    free(in);
}

static void backend_tells_its_space(void **state)
{
    struct qcbmi_io *io = &((struct backend *)*state)->io;
    uint64_t available = 0, allocated = 0;

    assert_int_equal(qcbmi_io_space(io, &available, &allocated, NULL), 0);
    assert_true(available > 0);
    assert_int_not_equal(allocated, UINT64_MAX);
}

static void backend_refuses_a_read_past_the_end_when_asked_directly(void **state)
{
    struct qcbmi_io *io = &((struct backend *)*state)->io;
    struct qcbm_error err = { 0 };
    uint8_t buf[2];

    assert_int_equal(io->ops->read_at(io->self, 999, buf, 2, &err), QCBM_E_IO);
    assert_non_null(strstr(err.message, "end"));
}

#define ON_BOTH(test)                                                                                                  \
    { "file: " #test, test, setup_file, teardown, NULL },                                                              \
    {                                                                                                                  \
        "memory: " #test, test, setup_memory, teardown, NULL                                                           \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_BOTH(backend_reads_and_writes_in_place),
        ON_BOTH(backend_grows_with_zeros),
        ON_BOTH(backend_is_cut_and_grows_with_zeros_again),
        ON_BOTH(backend_write_past_the_end_leaves_a_gap_of_zeros),
        ON_BOTH(backend_reserve_changes_neither_content_nor_size),
        ON_BOTH(backend_takes_megabytes_at_once),
        ON_BOTH(backend_tells_its_space),
        ON_BOTH(backend_refuses_a_read_past_the_end_when_asked_directly),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
