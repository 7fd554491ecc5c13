/* test_journal_link.c - the link to an open journal: made, seen by whoever writes, removed
 * SPDX-License-Identifier: MIT */
#include "io/journal_link.h"

#include "image_unit.h"

static const char *make_image(struct bench *b)
{
    temp_dir_make(&b->dir);
    build_start(&b->b, &(struct build_options){ .size = MIB(1), .cluster_bits = 16 });
    build_finish(&b->b);
    build_write_file(&b->b, temp_path(&b->dir, "image"));
    return temp_path(&b->dir, "image");
}

static void a_writer_is_refused_and_a_reader_is_not(void **state)
{
    struct bench *b = *state;
    const char *path = make_image(b), *journal = temp_path(&b->dir, "journal");
    char *full = qcbmi_full_path(path, NULL);
    struct qcbm_image *img;
    struct qcbm_error err = { 0 };

    assert_int_equal(qcbmi_journal_link_check(path, &err), 0);
    assert_int_equal(qcbmi_journal_link_make(full, journal, &err), 0);
    assert_int_equal(qcbmi_journal_link_make(full, journal, &err), 0); /* it is there */
    assert_true(qcbmi_journal_link_is(full, journal));
    assert_failure(qcbm_open(path, QCBM_OPEN_WRITE, &img, &err), &err, QCBM_E_UNSAFE, QCBM_NO_OFFSET, "is not there");
    build_write_file(&b->b, journal);
    assert_failure(qcbm_open(path, QCBM_OPEN_WRITE, &img, &err), &err, QCBM_E_UNSAFE, QCBM_NO_OFFSET, journal);
    assert_int_equal(symlink(path, temp_path(&b->dir, "alias")), 0);
    assert_failure(qcbm_open(temp_path(&b->dir, "alias"), QCBM_OPEN_WRITE, &img, &err), &err, QCBM_E_UNSAFE,
                   QCBM_NO_OFFSET, "recover");
    assert_ok(qcbm_open(path, 0, &img, &err), &err);
    qcbm_close(img);
    assert_failure(qcbmi_journal_link_make(full, "/another", &err), &err, QCBM_E_UNSAFE, QCBM_NO_OFFSET, journal);
    assert_int_equal(qcbmi_journal_link_remove(full, "/another", &err), 0); /* not this one */
    assert_true(qcbmi_journal_link_is(full, journal));
    assert_int_equal(qcbmi_journal_link_remove(full, journal, &err), 0);
    assert_ok(qcbm_open(path, QCBM_OPEN_WRITE, &img, &err), &err);
    qcbm_close(img);
    free(full);
}

/* A path that is cut short leads a person nowhere. */
static void a_long_path_is_whole_or_told_by_its_link(void **state)
{
    struct bench *b = *state;
    const char *path = make_image(b);
    char *full = qcbmi_full_path(path, NULL), journal[700] = "";
    struct qcbm_image *img;
    struct qcbm_error err = { 0 };

    while (strlen(journal) < 600)
        strcat(journal, "/a folder with a name");
    assert_int_equal(qcbmi_journal_link_make(full, journal, &err), 0);
    assert_failure(qcbm_open(path, QCBM_OPEN_WRITE, &img, &err), &err, QCBM_E_UNSAFE, QCBM_NO_OFFSET,
                   "the journal to which 'image.qcbm-journal' leads is not there");
    assert_non_null(strstr(err.message, "remove the link"));
    assert_null(strstr(err.message, "/a folder"));
    free(full);
}

static void what_is_no_link_is_in_the_way(void **state)
{
    struct bench *b = *state;
    const char *path = make_image(b);
    struct qcbm_image *img;
    struct qcbm_error err = { 0 };

    build_write_file(&b->b, temp_path(&b->dir, "image.qcbm-journal"));
    assert_failure(qcbm_open(path, QCBM_OPEN_WRITE, &img, &err), &err, QCBM_E_UNSAFE, QCBM_NO_OFFSET, "in the way");
}

static void full_paths_are_those_of_the_file(void **state)
{
    struct bench *b = *state;
    const char *path = make_image(b);
    char *full = qcbmi_full_path(path, NULL), *other;
    struct qcbm_error err = { 0 };

    assert_int_equal(symlink(path, temp_path(&b->dir, "alias")), 0);
    other = qcbmi_full_path(temp_path(&b->dir, "alias"), NULL);
    assert_string_equal(full, other);
    free(other);
    other = qcbmi_full_in_folder(temp_path(&b->dir, "alias"), NULL);
    assert_string_equal(strrchr(other, '/'), "/alias");
    free(other);
    other = qcbmi_full_path(temp_path(&b->dir, "new"), NULL); /* not there yet */
    assert_string_equal(strrchr(other, '/'), "/new");
    assert_int_equal(other[0], '/');
    free(other);
    assert_null(qcbmi_full_path("/nowhere/at/all", &err));
    assert_int_equal(err.code, QCBM_E_NOTFOUND);
    free(full);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        image_test(a_writer_is_refused_and_a_reader_is_not),
        image_test(a_long_path_is_whole_or_told_by_its_link),
        image_test(what_is_no_link_is_in_the_way),
        image_test(full_paths_are_those_of_the_file),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
