/* test_io_mem.c - what is particular to an image in memory; the common backend test is in test_io.c
 * SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "qcbm-io.h"

static void new_copies_the_bytes(void **state)
{
    char bytes[] = "qcow2";
    struct qcbm_mem *mem;
    size_t len = 0;

    (void)state;
    assert_int_equal(qcbm_mem_new(bytes, 5, &mem, NULL), 0);
    bytes[0] = 'X';
    assert_memory_equal(qcbm_mem_data(mem, &len), "qcow2", 5);
    assert_int_equal(len, 5);
    qcbm_mem_free(mem);
}

static void new_takes_an_empty_image_and_refuses_a_missing_one(void **state)
{
    struct qcbm_error err = { 0 };
    struct qcbm_mem *mem;
    size_t len = 1;

    (void)state;
    assert_int_equal(qcbm_mem_new(NULL, 0, &mem, &err), 0);
    assert_non_null(qcbm_mem_data(mem, &len));
    assert_int_equal(len, 0);
    assert_int_equal(qcbm_mem_ops()->write_at(mem, 3, "ab", 2, &err), 0);
    assert_memory_equal(qcbm_mem_data(mem, &len), "\0\0\0ab", 5);
    assert_int_equal(len, 5);
    qcbm_mem_free(mem);
    assert_int_equal(err.code, 0);

    assert_int_equal(qcbm_mem_new(NULL, 1, &mem, &err), QCBM_E_ARG);
    assert_null(mem);
    qcbm_mem_free(NULL);
}

static void keep_outlives_close(void **state)
{
    struct qcbm_mem *mem;
    size_t len = 0;

    (void)state;
    assert_int_equal(qcbm_mem_new("abc", 3, &mem, NULL), 0);
    qcbm_mem_keep(mem);
    qcbm_mem_ops()->close(mem);
    qcbm_mem_ops()->close(mem);
    assert_memory_equal(qcbm_mem_data(mem, &len), "abc", 3);
    qcbm_mem_free(mem);

    assert_int_equal(qcbm_mem_new("abc", 3, &mem, NULL), 0);
    qcbm_mem_ops()->close(mem); /* the leak sanitizer tells if not freed */
}

static void sizes_that_no_memory_holds_fail_without_a_change(void **state)
{
    const struct qcbm_io_ops *ops = qcbm_mem_ops();
    struct qcbm_mem *mem;
    size_t len = 0;

    (void)state;
    assert_int_equal(qcbm_mem_new("abc", 3, &mem, NULL), 0);
    assert_int_equal(ops->grow(mem, UINT64_MAX, NULL), QCBM_E_NOMEM);
    assert_int_equal(ops->write_at(mem, UINT64_MAX - 1, "xyz", 3, NULL), QCBM_E_NOMEM);
    assert_int_equal(ops->write_at(mem, UINT64_MAX - 10, "xyz", 3, NULL), QCBM_E_NOMEM);
    assert_int_equal(ops->reserve(mem, UINT64_MAX, 1, NULL), QCBM_E_NOMEM);
    assert_int_equal(ops->reserve(mem, UINT64_C(1) << 63, 1, NULL), QCBM_E_NOMEM);
    assert_memory_equal(qcbm_mem_data(mem, &len), "abc", 3);
    assert_int_equal(len, 3);
    qcbm_mem_free(mem);
}

static void what_was_reserved_and_not_written_reads_zeros_after_growth(void **state)
{
    const struct qcbm_io_ops *ops = qcbm_mem_ops();
    struct qcbm_mem *mem;
    const uint8_t *data;
    size_t len = 0;

    (void)state;
    assert_int_equal(qcbm_mem_new("abc", 3, &mem, NULL), 0);
    assert_int_equal(ops->reserve(mem, 0, 4096, NULL), 0);
    assert_int_equal(ops->grow(mem, 4096, NULL), 0);
    data = qcbm_mem_data(mem, &len);
    assert_int_equal(len, 4096);
    for (size_t i = 3; i < len; i++)
        assert_int_equal(data[i], 0);
    qcbm_mem_free(mem);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(new_copies_the_bytes),
        cmocka_unit_test(new_takes_an_empty_image_and_refuses_a_missing_one),
        cmocka_unit_test(keep_outlives_close),
        cmocka_unit_test(sizes_that_no_memory_holds_fail_without_a_change),
        cmocka_unit_test(what_was_reserved_and_not_written_reads_zeros_after_growth),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
