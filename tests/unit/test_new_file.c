/* test_new_file.c - a new file while it is made: nobody takes it for what a kill left
 * SPDX-License-Identifier: MIT */
#include "write/new_file.h"

#include "image_unit.h"
#include "io/io_file.h"
#include "io/open.h"

static void what_is_being_made_is_locked(void **state)
{
    struct bench *b = *state;
    const char *path, *other;
    struct qcbmi_new_file f;
    struct qcbm_error err = { 0 };
    struct qcbmi_io io;

    temp_dir_make(&b->dir);
    path = temp_path(&b->dir, "new");
    other = temp_path(&b->dir, "new.qcbm-new");
    assert_int_equal(qcbmi_new_file_begin(&f, path, &err), 0);
    assert_int_equal(qcbmi_open(&io, other, true, &err), 0);
    assert_int_equal(qcbmi_lock(&io, QCBM_OPEN_WRITE, &err), QCBM_E_LOCKED);
    qcbmi_io_close(&io);
    qcbmi_new_file_remove_leftover(path);
    assert_true(qcbmi_file_exists(other));
    assert_int_equal(qcbmi_io_grow(&f.io, 5, &err), 0);
    assert_int_equal(qcbmi_new_file_end(&f, 0, &err), 0);
    assert_true(qcbmi_file_exists(path) && !qcbmi_file_exists(other));
}

static void what_a_kill_left_is_removed_where_that_is_asked(void **state)
{
    struct bench *b = *state;
    const char *path, *other;
    struct qcbmi_new_file f;
    struct qcbm_error err = { 0 };
    struct qcbmi_io io;

    temp_dir_make(&b->dir);
    path = temp_path(&b->dir, "new");
    other = temp_path(&b->dir, "new.qcbm-new");
    assert_int_equal(qcbmi_create(&io, other, &err), 0);
    qcbmi_io_close(&io);
    assert_failure(qcbmi_new_file_begin(&f, path, &err), &err, QCBM_E_EXISTS, QCBM_NO_OFFSET, "was cut short");
    assert_int_equal(qcbmi_new_file_end(&f, QCBM_E_EXISTS, &err), QCBM_E_EXISTS);
    qcbmi_new_file_remove_leftover(path);
    assert_false(qcbmi_file_exists(other));
    assert_int_equal(qcbmi_new_file_begin(&f, path, &err), 0);
    assert_int_equal(qcbmi_new_file_end(&f, QCBM_E_IO, NULL), QCBM_E_IO);
    assert_false(qcbmi_file_exists(path) || qcbmi_file_exists(other));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        image_test(what_is_being_made_is_locked),
        image_test(what_a_kill_left_is_removed_where_that_is_asked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
