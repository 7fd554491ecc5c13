/* test_io_file.c - what is particular to a file as backend; the common backend test is in test_io.c
 * SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/un.h>
#include <unistd.h>

/* ---- system calls that fail on request; the source under test is compiled in below ---------------------- */

static struct {
    int eintr;           /* so many calls are interrupted */
    size_t max_transfer; /* 0 = any */
    int fdatasync_errno, seek_errno, fallocate_errno;
    bool fallocate_first_works; /* before it fails */
} fault;

static bool interrupted(void)
{
    if (fault.eintr == 0)
        return false;
    fault.eintr--;
    errno = EINTR;
    return true;
}

static size_t cut(size_t len)
{
    return fault.max_transfer && len > fault.max_transfer ? fault.max_transfer : len;
}

static ssize_t faulty_pread(int fd, void *buf, size_t len, off_t off)
{
    return interrupted() ? -1 : pread(fd, buf, cut(len), off);
}

static ssize_t faulty_pwrite(int fd, const void *buf, size_t len, off_t off)
{
    return interrupted() ? -1 : pwrite(fd, buf, cut(len), off);
}

static int faulty_fdatasync(int fd)
{
    if (interrupted())
        return -1;
    if (fault.fdatasync_errno == 0)
        return fdatasync(fd);
    errno = fault.fdatasync_errno;
    return -1;
}

static int faulty_ftruncate(int fd, off_t len)
{
    return interrupted() ? -1 : ftruncate(fd, len);
}

static int faulty_fallocate(int fd, int mode, off_t off, off_t len)
{
    if (interrupted())
        return -1;
    if (fault.fallocate_errno == 0 || fault.fallocate_first_works)
        if (fallocate(fd, mode, off, len) < 0)
            return -1;
    if (fault.fallocate_errno == 0)
        return 0;
    errno = fault.fallocate_errno;
    return -1;
}

static off_t faulty_lseek(int fd, off_t off, int whence)
{
    if (fault.seek_errno == 0 || whence == SEEK_END)
        return lseek(fd, off, whence);
    errno = fault.seek_errno;
    return -1;
}

static uint64_t advised_off, advised_len; /* by the last advice; UINT64_MAX, 0: there was none */

static int noted_fadvise(int fd, off_t off, off_t len, int advice)
{
    (void)fd;
    (void)advice;
    advised_off = (uint64_t)off;
    advised_len = (uint64_t)len;
    return 0;
}

#define pread faulty_pread
#define pwrite faulty_pwrite
#define fdatasync faulty_fdatasync
#define ftruncate faulty_ftruncate
#define fallocate faulty_fallocate
#define lseek faulty_lseek
#define posix_fadvise noted_fadvise
#include "io/io_file.c"
#undef posix_fadvise
#undef pread
#undef pwrite
#undef fdatasync
#undef ftruncate
#undef fallocate
#undef lseek

/* ---- ground -------------------------------------------------------------------------------------------- */

struct place {
    char dir[64], path[80];
    void *self; /* opened for writing */
};

static const struct qcbm_io_ops *ops;

static int setup(void **state)
{
    struct place *p = calloc(1, sizeof(*p));
    int fd;

    assert_non_null(p);
    memset(&fault, 0, sizeof(fault));
    ops = qcbmi_file_ops();
    snprintf(p->dir, sizeof(p->dir), "%s", "/tmp/qcbm-test-io-file-XXXXXX");
    assert_non_null(mkdtemp(p->dir));
    snprintf(p->path, sizeof(p->path), "%s/image", p->dir);
    fd = open(p->path, O_CREAT | O_WRONLY, 0644);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "0123456789", 10), 10);
    close(fd);
    assert_int_equal(qcbmi_file_open(p->path, true, &p->self, NULL), 0);
    *state = p;
    return 0;
}

static int teardown(void **state)
{
    struct place *p = *state;

    ops->close(p->self);
    unlink(p->path);
    rmdir(p->dir);
    free(p);
    return 0;
}

static struct stat stat_of(const char *path)
{
    struct stat st;

    assert_int_equal(stat(path, &st), 0);
    return st;
}

static void expect_open_fails(const char *path, bool writable, int code, int sys_errno, const char *message)
{
    struct qcbm_error err = { 0 };
    void *self = &err;

    assert_int_equal(qcbmi_file_open(path, writable, &self, &err), code);
    assert_null(self);
    assert_int_equal(err.code, code);
    assert_int_equal(err.sys_errno, sys_errno);
    if (!strstr(err.message, message))
        fail_msg("\"%s\" does not contain \"%s\"", err.message, message);
    assert_true(path[0] == 0 || !strstr(err.message, path)); /* the tool adds it */
    assert_int_equal(qcbmi_file_open(path, writable, &self, NULL), code);
}

/* ---- open ---------------------------------------------------------------------------------------------- */

static void open_reports_a_missing_file(void **state)
{
    (void)state;
    for (int writable = 0; writable < 2; writable++) {
        expect_open_fails("/tmp/no such/image", writable, QCBM_E_NOTFOUND, ENOENT, "No such file or directory");
        expect_open_fails("", writable, QCBM_E_NOTFOUND, ENOENT, "No such file");
        expect_open_fails("/dev/null/image", writable, QCBM_E_NOTFOUND, ENOTDIR, "Not a directory");
    }
}

static void create_makes_a_new_file_for_its_owner_alone(void **state)
{
    struct place *p = *state;
    struct qcbm_error err = { 0 };
    mode_t mask = umask(0);
    char path[80];
    void *self;

    snprintf(path, sizeof(path), "%s/new", p->dir);
    assert_int_equal(qcbmi_file_create(path, &self, &err), 0);
    umask(mask);
    assert_int_equal(ops->write_at(self, 0, "abc", 3, &err), 0);
    ops->close(self);
    assert_int_equal(stat_of(path).st_mode & 07777, 0600);
    assert_int_equal(qcbmi_file_create(path, &self, &err), QCBM_E_EXISTS);
    assert_null(self);
    assert_non_null(strstr(err.message, "exists already"));
    assert_int_equal(stat_of(path).st_size, 3);
    assert_int_equal(qcbmi_file_sync_folder(path, &err), 0);
    qcbmi_file_remove(path);
    assert_int_equal(access(path, F_OK), -1);
}

static void create_says_why_it_cannot(void **state)
{
    struct qcbm_error err = { 0 };
    void *self;

    (void)state;
    assert_int_equal(qcbmi_file_create("/tmp/no such/file", &self, &err), QCBM_E_NOTFOUND);
    assert_string_equal(err.message, "Could not create: No such file or directory");
    assert_int_equal(qcbmi_file_sync_folder("/tmp/no such/file", &err), QCBM_E_NOTFOUND);
    assert_int_equal(err.sys_errno, ENOENT);
    assert_int_equal(qcbmi_file_sync_folder("file", &err), 0); /* of the current folder */
}

static void open_refuses_what_is_no_file_and_does_not_hang(void **state)
{
    struct place *p = *state;
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    char fifo[80];
    int sock = socket(AF_UNIX, SOCK_STREAM, 0);

    snprintf(fifo, sizeof(fifo), "%s/fifo", p->dir);
    snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/socket", p->dir);
    assert_int_equal(mkfifo(fifo, 0600), 0);
    assert_int_equal(bind(sock, (struct sockaddr *)&addr, sizeof(addr)), 0);
    for (int writable = 0; writable < 2; writable++) {
        expect_open_fails(p->dir, writable, QCBM_E_UNSUPPORTED, 0, "is a directory");
        expect_open_fails(fifo, writable, QCBM_E_UNSUPPORTED, 0, "is a FIFO");
        expect_open_fails(addr.sun_path, writable, QCBM_E_UNSUPPORTED, 0, "is a socket");
        expect_open_fails("/dev/null", writable, QCBM_E_UNSUPPORTED, 0, "is a character device");
    }
    close(sock);
    unlink(addr.sun_path);
    unlink(fifo);
}

static void open_says_when_it_is_the_writing_that_is_not_allowed(void **state)
{
    struct place *p = *state;
    uid_t before = geteuid();
    void *self;

    assert_int_equal(chmod(p->dir, 0755), 0);
    assert_int_equal(chmod(p->path, 0444), 0);
    if (before == 0) /* root may write everywhere */
        assert_int_equal(seteuid(65534), 0);
    expect_open_fails(p->path, true, QCBM_E_IO, EACCES, "it cannot be written to: Permission denied");
    assert_int_equal(qcbmi_file_open(p->path, false, &self, NULL), 0);
    ops->close(self);
    if (before == 0)
        assert_int_equal(seteuid(before), 0);
    assert_int_equal(chmod(p->path, 0), 0);
    if (before == 0)
        assert_int_equal(seteuid(65534), 0);
    expect_open_fails(p->path, false, QCBM_E_IO, EACCES, "Permission denied");
    if (before == 0)
        assert_int_equal(seteuid(before), 0);
}

static void open_leaves_a_blocking_descriptor_that_exec_closes(void **state)
{
    const struct qcbmi_file *f = ((struct place *)*state)->self;

    assert_true(fcntl(f->fd, F_GETFD) & FD_CLOEXEC);
    assert_false(fcntl(f->fd, F_GETFL) & O_NONBLOCK);
}

/* ---- bytes --------------------------------------------------------------------------------------------- */

static void transfers_are_whole_over_interruptions_and_short_counts(void **state)
{
    struct place *p = *state;
    uint8_t *buf = malloc(1000);

    assert_non_null(buf);
    memset(buf, 'a', 1000);
    fault.max_transfer = 7;
    fault.eintr = 3;
    assert_int_equal(ops->write_at(p->self, 5, buf, 1000, NULL), 0);
    assert_int_equal(stat_of(p->path).st_size, 1005);
    memset(buf, 0, 1000);
    fault.eintr = 3;
    assert_int_equal(ops->read_at(p->self, 5, buf, 1000, NULL), 0);
    for (unsigned i = 0; i < 1000; i++)
        assert_int_equal(buf[i], 'a');
    assert_int_equal(ops->read_at(p->self, 0, buf, 5, NULL), 0);
    assert_memory_equal(buf, "01234", 5);
    free(buf);
}

static void every_call_survives_an_interruption(void **state)
{
    struct place *p = *state;

    fault.eintr = 2;
    assert_int_equal(ops->flush(p->self, NULL), 0);
    fault.eintr = 2;
    assert_int_equal(ops->grow(p->self, 100, NULL), 0);
    fault.eintr = 2;
    assert_int_equal(ops->reserve(p->self, 0, 100, NULL), 0);
    assert_int_equal(fault.eintr, 0);
}

static void read_of_a_file_that_was_cut_fails(void **state)
{
    struct place *p = *state;
    struct qcbm_error err = { 0 };
    uint8_t buf[10];

    assert_int_equal(truncate(p->path, 4), 0);
    assert_int_equal(ops->read_at(p->self, 0, buf, 10, &err), QCBM_E_IO);
    assert_non_null(strstr(err.message, "end of the file"));
}

static void write_through_a_read_only_descriptor_reports_errno(void **state)
{
    struct place *p = *state;
    struct qcbm_error err = { 0 };
    void *self;

    assert_int_equal(qcbmi_file_open(p->path, false, &self, NULL), 0);
    assert_int_equal(ops->write_at(self, 4, "x", 1, &err), QCBM_E_IO);
    assert_int_equal(err.sys_errno, EBADF);
    assert_int_equal(err.offset, 4);
    ops->close(self);
}

static void a_failed_flush_is_never_followed_by_a_good_one(void **state)
{
    struct place *p = *state;
    struct qcbm_error err = { 0 };

    fault.fdatasync_errno = EIO;
    assert_int_equal(ops->flush(p->self, &err), QCBM_E_IO);
    assert_int_equal(err.sys_errno, EIO);
    fault.fdatasync_errno = 0;
    assert_int_equal(ops->flush(p->self, &err), QCBM_E_IO);
    assert_non_null(strstr(err.message, "earlier flush"));
}

/* ---- length and space ---------------------------------------------------------------------------------- */

static void reserve_allocates_and_keeps_the_size(void **state)
{
    struct place *p = *state;

    assert_int_equal(ops->reserve(p->self, 0, 1 << 20, NULL), 0);
    assert_int_equal(stat_of(p->path).st_size, 10);
    assert_true(stat_of(p->path).st_blocks >= 2048);
}

static void reserve_on_a_full_device_says_what_is_needed_and_gives_back(void **state)
{
    struct place *p = *state;
    struct qcbm_error err = { 0 };

    fault.fallocate_errno = ENOSPC;
    fault.fallocate_first_works = true;
    assert_int_equal(ops->reserve(p->self, 4096, 1 << 20, &err), QCBM_E_NOSPACE);
    assert_int_equal(err.sys_errno, ENOSPC);
    assert_non_null(strstr(err.message, "1048576 bytes at 0x1000 are needed, "));
    assert_non_null(strstr(err.message, " are available"));
    assert_int_equal(stat_of(p->path).st_size, 10);
    assert_true(stat_of(p->path).st_blocks < 2048);
    assert_int_equal(ops->reserve(p->self, 0, 1 << 20, NULL), QCBM_E_NOSPACE);
    fault.fallocate_errno = EDQUOT;
    assert_int_equal(ops->reserve(p->self, 0, 1 << 20, NULL), QCBM_E_NOSPACE);
    fault.fallocate_errno = EIO;
    assert_int_equal(ops->reserve(p->self, 0, 1 << 20, NULL), QCBM_E_IO);
}

static void reserve_is_no_fault_where_the_file_system_has_none(void **state)
{
    static const int errnos[] = { EOPNOTSUPP, ENOSYS, EINVAL };
    struct place *p = *state;

    for (unsigned i = 0; i < 3; i++) {
        fault.fallocate_errno = errnos[i];
        assert_int_equal(ops->reserve(p->self, 0, 1 << 20, NULL), 0);
    }
}

static void space_counts_blocks_of_the_file(void **state)
{
    struct place *p = *state;
    uint64_t available = 0, allocated = 0;

    assert_int_equal(ops->reserve(p->self, 0, 1 << 20, NULL), 0);
    assert_int_equal(ops->space(p->self, &available, &allocated, NULL), 0);
    assert_int_equal(allocated, (uint64_t)stat_of(p->path).st_blocks * 512);
    assert_true(available > 0 && available < UINT64_MAX);
}

/* What memfd_create() makes is on a file system without a limit, which has no blocks to count. */
static void space_is_unknown_where_no_blocks_are_counted(void **state)
{
    uint64_t available = 0, allocated = 0;
    struct statvfs vfs;
    void *self;
    int fd = memfd_create("image", MFD_CLOEXEC);

    (void)state;
    assert_true(fd >= 0 && fstatvfs(fd, &vfs) == 0 && vfs.f_blocks == 0);
    assert_int_equal(qcbmi_file_take_fd(fd, true, &self, NULL), 0);
    assert_int_equal(ops->space(self, &available, &allocated, NULL), 0);
    assert_true(available == UINT64_MAX);
    ops->close(self);
}

static void a_device_never_grows(void **state)
{
    struct place *p = *state;
    struct qcbmi_file *f = p->self;
    uint64_t size = 0, available = 1, allocated = 1;
    struct qcbm_error err = { 0 };

    f->is_device = true; /* tests have no block device; its length is where lseek() finds the end */
    assert_int_equal(ops->size(f, &size, NULL), 0);
    assert_int_equal(size, 10);
    assert_int_equal(ops->grow(f, 10, NULL), 0);
    assert_int_equal(ops->reserve(f, 5, 5, NULL), 0);
    assert_int_equal(ops->grow(f, 11, &err), QCBM_E_NOSPACE);
    assert_non_null(strstr(err.message, "must hold 11 bytes and has 10"));
    assert_int_equal(ops->reserve(f, 5, 6, &err), QCBM_E_NOSPACE);
    assert_non_null(strstr(err.message, "must hold 11 bytes and has 10"));
    assert_int_equal(ops->space(f, &available, &allocated, NULL), 0);
    assert_int_equal(available, 0);
    assert_int_equal(stat_of(p->path).st_size, 10);
}

/* ---- holes --------------------------------------------------------------------------------------------- */

#define MIB ((uint64_t)1 << 20)

/* 1 MiB of hole, 1 MiB of data, 1 MiB of hole. */
static void make_holes(struct place *p)
{
    uint8_t *data = malloc(MIB);

    assert_non_null(data);
    memset(data, 0xa5, MIB);
    assert_int_equal(truncate(p->path, 0), 0);
    assert_int_equal(ops->write_at(p->self, MIB, data, MIB, NULL), 0);
    assert_int_equal(ops->grow(p->self, 3 * MIB, NULL), 0);
    assert_int_equal(ops->flush(p->self, NULL), 0); /* some file systems know holes only then */
    free(data);
}

static void expect_extent(void *self, uint64_t off, bool want_data, uint64_t want_end)
{
    bool is_data = !want_data;
    uint64_t end = 0;

    assert_int_equal(ops->extent(self, off, &is_data, &end, NULL), 0);
    assert_int_equal(is_data, want_data);
    assert_int_equal(end, want_end);
}

static void extent_finds_holes_and_data(void **state)
{
    struct place *p = *state;
    bool is_data;
    uint64_t end;

    make_holes(p);
    expect_extent(p->self, 0, false, MIB);
    expect_extent(p->self, MIB - 1, false, MIB);
    expect_extent(p->self, MIB, true, 2 * MIB);
    expect_extent(p->self, MIB + 5, true, 2 * MIB);
    expect_extent(p->self, 2 * MIB, false, 3 * MIB);
    assert_int_equal(ops->extent(p->self, 3 * MIB, &is_data, &end, NULL), QCBM_E_ARG);
}

static void extent_is_all_data_where_the_file_system_cannot_tell(void **state)
{
    struct place *p = *state;

    make_holes(p);
    fault.seek_errno = EINVAL;
    expect_extent(p->self, 5, true, 3 * MIB);
    fault.seek_errno = ENXIO;
    expect_extent(p->self, 5, false, 3 * MIB);
}

static void lock_excludes_a_second_writer_until_close(void **state)
{
    struct place *p = *state;
    void *other;

    assert_int_equal(qcbmi_file_open(p->path, true, &other, NULL), 0);
    assert_int_equal(ops->lock(other, QCBM_LOCK_WRITE, NULL), 0);
    assert_int_equal(ops->lock(p->self, QCBM_LOCK_WRITE, NULL), QCBM_E_LOCKED);
    ops->close(other);
    assert_int_equal(ops->lock(p->self, QCBM_LOCK_WRITE, NULL), 0);
}

static void expect_advice(void *self, uint64_t off, uint64_t len, uint64_t want_off, uint64_t want_len)
{
    advised_off = UINT64_MAX;
    advised_len = 0;
    ops->will_read(self, off, len);
    assert_int_equal(advised_off, want_off);
    assert_int_equal(advised_len, want_len);
}

/* The system makes pages of a hole, too: of many terabytes, if a hostile image has its tables there. */
static void no_hole_is_fetched_ahead(void **state)
{
    struct place *p = *state;

    make_holes(p);
    expect_advice(p->self, MIB, MIB, MIB, MIB);
    expect_advice(p->self, 0, MIB, UINT64_MAX, 0);
    expect_advice(p->self, 0, MIB + 4096, MIB, 4096);
    expect_advice(p->self, 2 * MIB, MIB, UINT64_MAX, 0);
    fault.seek_errno = EINVAL; /* a file system that knows no holes */
    expect_advice(p->self, 0, MIB, 0, MIB);
}

#define WITH_FILE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FILE(open_reports_a_missing_file),
        WITH_FILE(create_makes_a_new_file_for_its_owner_alone),
        WITH_FILE(create_says_why_it_cannot),
        WITH_FILE(open_refuses_what_is_no_file_and_does_not_hang),
        WITH_FILE(open_says_when_it_is_the_writing_that_is_not_allowed),
        WITH_FILE(open_leaves_a_blocking_descriptor_that_exec_closes),
        WITH_FILE(transfers_are_whole_over_interruptions_and_short_counts),
        WITH_FILE(every_call_survives_an_interruption),
        WITH_FILE(read_of_a_file_that_was_cut_fails),
        WITH_FILE(write_through_a_read_only_descriptor_reports_errno),
        WITH_FILE(a_failed_flush_is_never_followed_by_a_good_one),
        WITH_FILE(reserve_allocates_and_keeps_the_size),
        WITH_FILE(reserve_on_a_full_device_says_what_is_needed_and_gives_back),
        WITH_FILE(reserve_is_no_fault_where_the_file_system_has_none),
        WITH_FILE(space_counts_blocks_of_the_file),
        cmocka_unit_test(space_is_unknown_where_no_blocks_are_counted),
        WITH_FILE(a_device_never_grows),
        WITH_FILE(extent_finds_holes_and_data),
        WITH_FILE(extent_is_all_data_where_the_file_system_cannot_tell),
        WITH_FILE(no_hole_is_fetched_ahead),
        WITH_FILE(lock_excludes_a_second_writer_until_close),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
