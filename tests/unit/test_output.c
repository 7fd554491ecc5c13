/* test_output.c - tools/output.c: what may be replaced, and that a file is whole or not there
 * SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cmd.h"
#include "every_args.h"
#include "output.h"

static char folder[] = "/tmp/qcbm-output-XXXXXX";
static char name[64];
static char said[256];   /* the last error */
static bool as_device;   /* stat() says that a file is a block device: nobody but root can have one */
static int opened_flags; /* of the last open() for writing */

struct every_args every_args;

int cmd_error(const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    vsnprintf(said, sizeof(said), fmt, args);
    va_end(args);
    return EXIT_FAILED;
}

void cmd_note_done(const char *what)
{
    (void)what;
}

int __real_stat64(const char *path, struct stat *st);
int __wrap_stat64(const char *path, struct stat *st);
int __wrap_stat64(const char *path, struct stat *st)
{
    int ret = __real_stat64(path, st);

    if (ret == 0 && as_device)
        st->st_mode = S_IFBLK | 0600;
    return ret;
}

int __real_open64(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...)
{
    if ((flags & O_ACCMODE) != O_RDONLY)
        opened_flags = flags;
    return __real_open64(path, flags & ~(flags & O_CREAT ? 0 : O_EXCL), 0666);
}

static void put_file(const char *content)
{
    FILE *f = fopen(name, "wb");

    assert_non_null(f);
    assert_int_equal(fwrite(content, 1, strlen(content), f), strlen(content));
    fclose(f);
}

static void assert_content(const char *content)
{
    char bytes[64];
    FILE *f = fopen(name, "rb");
    size_t n;

    assert_non_null(f);
    n = fread(bytes, 1, sizeof(bytes), f);
    fclose(f);
    assert_int_equal(n, strlen(content));
    assert_memory_equal(bytes, content, n);
}

static int write_it(bool force, bool dry_run, int code)
{
    struct output out;

    said[0] = '\0';
    opened_flags = 0;
    if (output_open(&out, name, force, dry_run) != EXIT_DONE)
        return EXIT_FAILED;
    fputs("new", out.file);
    return output_close(&out, code);
}

/* Who kills the command leaves nothing under that name. */
static void a_new_file_has_its_name_when_it_is_complete(void **state)
{
    struct output out;

    (void)state;
    assert_int_equal(output_open(&out, name, false, false), EXIT_DONE);
    fputs("half", out.file);
    fflush(out.file);
    assert_int_equal(access(name, F_OK), -1);
    put_file("of another program");
    assert_int_equal(output_close(&out, EXIT_DONE), EXIT_FAILED);
    assert_content("of another program");
    unlink(name);
}

static void a_new_file_is_made_or_not_there(void **state)
{
    (void)state;
    assert_int_equal(write_it(false, false, EXIT_FAILED), EXIT_FAILED);
    assert_int_equal(access(name, F_OK), -1);
    assert_int_equal(write_it(false, true, EXIT_DONE), EXIT_DONE);
    assert_int_equal(access(name, F_OK), -1);
    assert_int_equal(write_it(false, false, EXIT_DONE), EXIT_DONE);
    assert_content("new");
}

static void a_file_is_replaced_with_force_once_it_is_whole(void **state)
{
    (void)state;
    put_file("old and long");
    for (int dry = 0; dry < 2; dry++) {
        assert_int_equal(write_it(false, dry, EXIT_DONE), EXIT_FAILED);
        assert_non_null(strstr(said, "is there already; --force replaces it"));
    }
    assert_int_equal(write_it(true, true, EXIT_DONE), EXIT_DONE);
    assert_int_equal(write_it(true, false, EXIT_FAILED), EXIT_FAILED);
    assert_content("old and long");
    assert_int_equal(write_it(true, false, EXIT_DONE), EXIT_DONE);
    assert_content("new");
}

static void a_block_device_is_overwritten_with_force_alone(void **state)
{
    (void)state;
    put_file("old and long");
    as_device = true;
    for (int dry = 0; dry < 2; dry++) {
        assert_int_equal(write_it(false, dry, EXIT_DONE), EXIT_FAILED);
        assert_non_null(strstr(said, "is a block device; --force overwrites what is on it"));
        assert_int_equal(opened_flags, 0);
    }
    assert_int_equal(write_it(true, false, EXIT_DONE), EXIT_DONE);
    assert_true(opened_flags & O_EXCL); /* one that is mounted says that it is busy */
    assert_false(opened_flags & (O_CREAT | O_TRUNC));
    as_device = false;
    assert_content("new and long");
}

static void what_is_locked_is_not_replaced(void **state)
{
    struct flock lock = { .l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 100, .l_len = 1 };
    int fd;

    (void)state;
    put_file("a disk");
    fd = open(name, O_RDONLY);
    assert_true(fd >= 0);
    assert_int_equal(fcntl(fd, F_OFD_SETLK, &lock), 0);
    assert_int_equal(write_it(true, false, EXIT_DONE), EXIT_FAILED);
    assert_non_null(strstr(said, "is locked by another program"));
    assert_content("a disk");
    close(fd);
    assert_int_equal(write_it(true, false, EXIT_DONE), EXIT_DONE);
}

static void the_record_is_not_replaced(void **state)
{
    (void)state;
    put_file("{}");
    every_args.record = name;
    assert_int_equal(write_it(true, false, EXIT_DONE), EXIT_FAILED);
    assert_non_null(strstr(said, "is the file of the record"));
    assert_content("{}");
    every_args.record = NULL;
}

static void a_qcow2_image_is_never_replaced(void **state)
{
    (void)state;
    put_file("QFI\xfb and more");
    for (int device = 0; device < 2; device++) {
        as_device = device;
        assert_int_equal(write_it(true, false, EXIT_DONE), EXIT_FAILED);
        assert_non_null(strstr(said, "is a qcow2 image"));
    }
    as_device = false;
    assert_content("QFI\xfb and more");
}

static int make_folder(void **state)
{
    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(name, sizeof(name), "%s/out", folder);
    return 0;
}

static int remove_file(void **state)
{
    (void)state;
    as_device = false;
    (void)unlink(name);
    return 0;
}

/* That nothing else is left is seen by rmdir(). */
static int remove_folder(void **state)
{
    (void)state;
    return rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(a_new_file_has_its_name_when_it_is_complete, remove_file),
        cmocka_unit_test_teardown(a_new_file_is_made_or_not_there, remove_file),
        cmocka_unit_test_teardown(a_file_is_replaced_with_force_once_it_is_whole, remove_file),
        cmocka_unit_test_teardown(a_block_device_is_overwritten_with_force_alone, remove_file),
        cmocka_unit_test_teardown(what_is_locked_is_not_replaced, remove_file),
        cmocka_unit_test_teardown(the_record_is_not_replaced, remove_file),
        cmocka_unit_test_teardown(a_qcow2_image_is_never_replaced, remove_file),
    };

    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
