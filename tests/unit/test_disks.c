/* test_disks.c - the disks of a machine: opened together or not at all, each file once
 * SPDX-License-Identifier: MIT */
#include "checkpoint/disks.h"

#include "image_unit.h"

static void make_images(struct bench *b, unsigned n)
{
    temp_dir_make(&b->dir);
    build_start(&b->b, &(struct build_options){ .size = MIB(1), .cluster_bits = 16 });
    build_finish(&b->b);
    for (unsigned i = 0; i < n; i++) {
        char name[8];

        snprintf(name, sizeof(name), "%u", i);
        build_write_file(&b->b, temp_path(&b->dir, name));
    }
}

static int open_three(struct bench *b, struct qcbm_checkpoint_disk *named, struct qcbmi_disks *disks,
                      struct qcbm_error *err)
{
    named[0] = (struct qcbm_checkpoint_disk){ "vda", temp_path(&b->dir, "2"), NULL };
    named[1] = (struct qcbm_checkpoint_disk){ "vdb", temp_path(&b->dir, "0"), "new" };
    named[2] = (struct qcbm_checkpoint_disk){ "vdc", temp_path(&b->dir, "1"), NULL };
    return qcbmi_disks_open(disks, named, sizeof(named[0]), 3, QCBM_OPEN_WRITE, err);
}

static void they_keep_the_order_of_the_caller(void **state)
{
    struct bench *b = *state;
    struct qcbm_checkpoint_disk named[3];
    struct qcbmi_disks disks;
    struct qcbm_error err = { 0 };

    make_images(b, 3);
    assert_int_equal(open_three(b, named, &disks, &err), 0);
    assert_int_equal(disks.n, 3);
    for (unsigned i = 0; i < 3; i++) {
        assert_string_equal(disks.list[i].target, named[i].target);
        assert_string_equal(disks.list[i].path, named[i].image);
        assert_ptr_equal(disks.list[i].overlay, named[i].overlay);
        assert_non_null(disks.list[i].img);
    }
    qcbmi_disks_close(&disks);
}

static void one_that_is_locked_keeps_all_of_them_closed(void **state)
{
    struct bench *b = *state;
    struct qcbm_checkpoint_disk named[3];
    struct qcbmi_disks disks;
    struct qcbm_image *other;
    struct qcbm_error err = { 0 };

    make_images(b, 3);
    assert_int_equal(qcbm_open(temp_path(&b->dir, "0"), QCBM_OPEN_WRITE, &other, &err), 0);
    assert_failure(open_three(b, named, &disks, &err), &err, QCBM_E_LOCKED, QCBM_NO_OFFSET, "vdb (");
    assert_int_equal(disks.n, 0);
    qcbm_close(other);
    assert_int_equal(open_three(b, named, &disks, &err), 0); /* and nothing of the first time is left */
    qcbmi_disks_close(&disks);
}

static void a_file_is_one_disk_whatever_its_name(void **state)
{
    struct bench *b = *state;
    struct qcbm_checkpoint_disk named[2];
    struct qcbmi_disks disks;
    struct qcbm_error err = { 0 };

    make_images(b, 1);
    assert_int_equal(symlink(temp_path(&b->dir, "0"), temp_path(&b->dir, "link")), 0);
    named[0] = (struct qcbm_checkpoint_disk){ "vda", temp_path(&b->dir, "0"), NULL };
    named[1] = (struct qcbm_checkpoint_disk){ "vdb", temp_path(&b->dir, "link"), NULL };
    assert_failure(qcbmi_disks_open(&disks, named, sizeof(named[0]), 2, 0, &err), &err, QCBM_E_ARG, QCBM_NO_OFFSET,
                   "another disk has, too");
}

static void targets_are_there_once(void **state)
{
    struct bench *b = *state;
    struct qcbm_checkpoint_disk named[2];
    struct qcbmi_disks disks;
    struct qcbm_error err = { 0 };

    make_images(b, 2);
    named[0] = (struct qcbm_checkpoint_disk){ "vda", temp_path(&b->dir, "0"), NULL };
    named[1] = (struct qcbm_checkpoint_disk){ "vda", temp_path(&b->dir, "1"), NULL };
    assert_failure(qcbmi_disks_open(&disks, named, sizeof(named[0]), 2, 0, &err), &err, QCBM_E_ARG, QCBM_NO_OFFSET,
                   "two disks 'vda'");
    named[1] = (struct qcbm_checkpoint_disk){ "", temp_path(&b->dir, "1"), NULL };
    assert_failure(qcbmi_disks_open(&disks, named, sizeof(named[0]), 2, 0, &err), &err, QCBM_E_ARG, QCBM_NO_OFFSET,
                   "disk 1 lacks");
    assert_failure(qcbmi_disks_open(&disks, named, sizeof(named[0]), 0, 0, &err), &err, QCBM_E_ARG, QCBM_NO_OFFSET,
                   "0 disks");
}

static void names_are_legal_for_xml_and_for_bitmaps(void **state)
{
    static const char *const good[] = { "a", "_", "-x", "virtnbdbackup.0", "2026-11-27_B2" };
    static const char *const bad[] = { "", ".x", "a b", "a/b", "a:b", "\xc3\xa4", "<", "a\n" };
    char longest[1025];
    struct qcbm_error err = { 0 };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        assert_int_equal(qcbmi_checkpoint_check_name(good[i], &err), 0);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_failure(qcbmi_checkpoint_check_name(bad[i], &err), &err, QCBM_E_ARG, QCBM_NO_OFFSET, "no name");
    memset(longest, 'x', sizeof(longest));
    longest[1024] = '\0';
    assert_int_equal(qcbmi_checkpoint_check_name(longest, &err), QCBM_E_ARG);
    longest[1023] = '\0';
    assert_int_equal(qcbmi_checkpoint_check_name(longest, &err), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        image_test(they_keep_the_order_of_the_caller),
        image_test(one_that_is_locked_keeps_all_of_them_closed),
        image_test(a_file_is_one_disk_whatever_its_name),
        image_test(targets_are_there_once),
        cmocka_unit_test(names_are_legal_for_xml_and_for_bitmaps),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
