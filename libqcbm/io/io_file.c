/* io_file.c - a local file or block device as backend
 * SPDX-License-Identifier: MIT */
#include "io/io_file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "base/error.h"
#include "io/io_lock.h"
#include "io/manners.h"

/* One system call moves at most about 2 GiB; stay below that on every system. */
#define MAX_TRANSFER ((size_t)1 << 30)

struct qcbmi_file {
    int fd;
    bool is_device;
    int flush_errno; /* of the first flush that failed */
    struct qcbmi_file_id id;
};

/* ---- open ---------------------------------------------------------------------------------------------- */

struct qcbmi_file_id qcbmi_file_id_of(const struct stat *st)
{
    if (S_ISBLK(st->st_mode)) /* which several nodes may name */
        return (struct qcbmi_file_id){ (uint64_t)st->st_rdev, QCBMI_DEVICE_INO, true };
    return (struct qcbmi_file_id){ (uint64_t)st->st_dev, (uint64_t)st->st_ino, true };
}

/* NULL for what can hold an image. */
static const char *wrong_kind(const struct stat *st)
{
    switch (st->st_mode & S_IFMT) {
    case S_IFREG:
    case S_IFBLK:
        return NULL;
    case S_IFDIR:
        return "is a directory";
    case S_IFIFO:
        return "is a FIFO";
    case S_IFSOCK:
        return "is a socket";
    case S_IFCHR:
        return "is a character device";
    default:
        return "is of an unknown kind";
    }
}

static int fail_kind(const char *kind, struct qcbm_error *err)
{
    return qcbmi_fail(err, QCBM_E_UNSUPPORTED, QCBM_NO_OFFSET, "%s, an image must be a regular file or a block device",
                      kind);
}

static int fail_open(const char *path, bool writable, int sys_errno, struct qcbm_error *err)
{
    struct stat st;

    /* Opening a directory for writing, or a socket, fails with an errno that does not tell; where only some files may
     * be read a folder is among those that may not. */
    if (stat(path, &st) == 0 && wrong_kind(&st))
        return fail_kind(wrong_kind(&st), err);
    if (writable && (sys_errno == EACCES || sys_errno == EPERM || sys_errno == EROFS || sys_errno == ETXTBSY))
        return qcbmi_fail_errno(err, sys_errno, QCBM_NO_OFFSET, "it cannot be written to");
    return qcbmi_fail_errno(err, sys_errno, QCBM_NO_OFFSET, "%s", "");
}

static int open_fd(const char *path, bool writable, struct qcbm_error *err)
{
    int fd;

    /* O_NONBLOCK: a FIFO must not hang us before fstat() tells what it is. */
    do
        fd = open(path, (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    while (fd < 0 && errno == EINTR);
    return fd < 0 ? fail_open(path, writable, errno, err) : fd;
}

static int check_fd(int fd, bool writable, struct stat *st, struct qcbm_error *err)
{
    int read_only = 0;
    int flags;

    if (fstat(fd, st) < 0)
        return qcbmi_fail_errno(err, errno, QCBM_NO_OFFSET, "fstat failed");
    if (wrong_kind(st))
        return fail_kind(wrong_kind(st), err);
    /* The kernel lets root open a read-only device for writing; every write would fail then. */
    if (writable && S_ISBLK(st->st_mode) && ioctl(fd, BLKROGET, &read_only) == 0 && read_only)
        return qcbmi_fail_errno(err, EROFS, QCBM_NO_OFFSET, "it cannot be written to");
    flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) < 0)
        return qcbmi_fail_errno(err, errno, QCBM_NO_OFFSET, "fcntl failed");
    return 0;
}

/* Takes over @fd. */
static int file_new(int fd, bool writable, void **self, struct qcbm_error *err)
{
    struct qcbmi_file *f;
    struct stat st;
    int ret = check_fd(fd, writable, &st, err);

    if (ret < 0)
        goto fail;
    f = calloc(1, sizeof(*f));
    if (!f) {
        ret = qcbmi_fail_nomem(err);
        goto fail;
    }
    f->fd = fd;
    f->is_device = S_ISBLK(st.st_mode);
    f->id = qcbmi_file_id_of(&st);
    *self = f;
    return 0;

fail:
    close(fd);
    return ret;
}

int qcbmi_file_open(const char *path, bool writable, void **self, struct qcbm_error *err)
{
    int fd = open_fd(path, writable, err);

    *self = NULL;
    return fd < 0 ? fd : file_new(fd, writable, self, err);
}

/* Why a descriptor with the status flags @flags does not do, or NULL. Writes of O_APPEND go to the end whatever offset
 * is asked for; O_DIRECT wants an alignment that nobody here keeps. */
static const char *wrong_status(int flags, bool writable)
{
    if (flags & O_PATH)
        return "it was opened with O_PATH";
    if (flags & O_DIRECT)
        return "it was opened with O_DIRECT";
    if ((flags & O_ACCMODE) == O_WRONLY)
        return "it was not opened for reading";
    if (writable && (flags & O_ACCMODE) != O_RDWR)
        return "it was not opened for writing";
    return writable && (flags & O_APPEND) ? "it was opened with O_APPEND" : NULL;
}

int qcbmi_file_take_fd(int fd, bool writable, void **self, struct qcbm_error *err)
{
    int flags = fcntl(fd, F_GETFL);
    const char *wrong;

    *self = NULL;
    if (flags < 0)
        return qcbmi_fail_errno(err, errno, QCBM_NO_OFFSET, "file descriptor %d", fd);
    wrong = wrong_status(flags, writable);
    if (!wrong)
        return file_new(fd, writable, self, err);
    close(fd);
    return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET, "file descriptor %d: %s", fd, wrong);
}

int qcbmi_file_create(const char *path, void **self, struct qcbm_error *err)
{
    int fd, ret;

    *self = NULL;
    do
        fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    while (fd < 0 && errno == EINTR);
    if (fd < 0 && errno == EEXIST)
        return qcbmi_fail(err, QCBM_E_EXISTS, QCBM_NO_OFFSET, "the file exists already and is not overwritten");
    if (fd < 0)
        return qcbmi_fail_errno(err, errno, QCBM_NO_OFFSET, "Could not create");
    ret = file_new(fd, true, self, err);
    if (ret < 0)
        qcbmi_file_remove(path);
    return ret;
}

int qcbmi_file_sync_folder(const char *path, struct qcbm_error *err)
{
    const char *slash = strrchr(path, '/');
    char *folder = qcbmi_memdup_nul(slash ? path : ".", slash ? (size_t)(slash - path) + 1 : 1, err);
    int fd, ret;

    if (!folder)
        return QCBM_E_NOMEM;
    fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    free(folder);
    ret = fd < 0 ? -1 : fsync(fd);
    if (ret < 0 && errno != EINVAL) /* EINVAL: nothing to be synced on this file system */
        ret = qcbmi_fail_errno(err, errno, QCBM_NO_OFFSET, "making the folder's entry durable failed");
    else
        ret = 0;
    if (fd >= 0)
        close(fd);
    return ret;
}

bool qcbmi_file_exists(const char *path)
{
    struct stat st;

    return lstat(path, &st) == 0;
}

bool qcbmi_file_has_other_names(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISREG(st.st_mode) && st.st_nlink > 1;
}

static int sync_new_name(const char *path, struct qcbm_error *err)
{
    int ret = qcbmi_file_sync_folder(path, err);

    if (ret < 0) /* nobody knows whether it stays: the caller is told that there is none */
        unlink(path);
    return ret;
}

/* link() does not replace what is there; file systems that have no links get a rename, after a look. The new name is
 * durable before the old one goes: nobody promises an order of two changes of a folder. */
int qcbmi_file_publish(const char *temporary, const char *path, struct qcbm_error *err)
{
    struct stat st;
    int ret = link(temporary, path);

    if (ret == 0) {
        ret = sync_new_name(path, err);
        if (ret == 0)
            unlink(temporary);
        return ret;
    }
    if (errno == EEXIST || lstat(path, &st) == 0)
        return qcbmi_fail(err, QCBM_E_EXISTS, QCBM_NO_OFFSET, "the file exists already and is not overwritten");
    if (rename(temporary, path) < 0)
        return qcbmi_fail_errno(err, errno, QCBM_NO_OFFSET, "Could not give the file its name");
    return sync_new_name(path, err);
}

void qcbmi_file_remove(const char *path)
{
    unlink(path);
}

bool qcbmi_file_is_own(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && st.st_uid == geteuid() && (st.st_mode & (S_IWGRP | S_IWOTH)) == 0;
}

void qcbmi_file_look_like(const char *path, const char *like)
{
    struct stat st;
    int ignored;

    if (stat(like, &st) < 0)
        return;
    ignored = chown(path, st.st_uid, st.st_gid); /* first: it may take bits of the mode away */
    ignored = chmod(path, st.st_mode & 0777);
    (void)ignored;
}

static void file_close(void *self)
{
    struct qcbmi_file *f = self;

    /* What had to be durable was flushed; the locks go with the last reference to the open file description. */
    qcbmi_manners_before_close(f->fd);
    close(f->fd);
    free(f);
}

struct qcbmi_file_id qcbmi_file_get_id(const void *self)
{
    const struct qcbmi_file *f = self;

    return f->id;
}

/* ---- bytes --------------------------------------------------------------------------------------------- */

static int file_read_at(void *self, uint64_t off, void *buf, size_t len, struct qcbm_error *err)
{
    const struct qcbmi_file *f = self;
    uint8_t *to = buf;
    size_t done = 0;

    while (done < len) {
        size_t want = len - done < MAX_TRANSFER ? len - done : MAX_TRANSFER;
        ssize_t n = pread(f->fd, to + done, qcbmi_manners_before_read(want), (off_t)(off + done));

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return qcbmi_fail_errno(err, errno, off, "read of %zu bytes at 0x%" PRIx64 " failed", len, off);
        if (n == 0) /* the size was checked before: somebody cut the file */
            return qcbmi_fail(err, QCBM_E_IO, off, "read of %zu bytes at 0x%" PRIx64 " met the end of the file", len,
                              off);
        done += (size_t)n;
    }
    return 0;
}

static int file_write_at(void *self, uint64_t off, const void *buf, size_t len, struct qcbm_error *err)
{
    const struct qcbmi_file *f = self;
    const uint8_t *from = buf;
    size_t done = 0;

    while (done < len) {
        size_t want = len - done < MAX_TRANSFER ? len - done : MAX_TRANSFER;
        ssize_t n = pwrite(f->fd, from + done, want, (off_t)(off + done));

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return qcbmi_fail_errno(err, n < 0 ? errno : EIO, off, "write of %zu bytes at 0x%" PRIx64 " failed", len,
                                    off);
        done += (size_t)n;
    }
    return 0;
}

static int file_flush(void *self, struct qcbm_error *err)
{
    struct qcbmi_file *f = self;
    int ret;

    /* The kernel reports lost pages once and then forgets them: a later success would say nothing about them. */
    if (f->flush_errno)
        return qcbmi_fail_errno(err, f->flush_errno, QCBM_NO_OFFSET, "an earlier flush failed");
    do
        ret = fdatasync(f->fd);
    while (ret < 0 && errno == EINTR);
    if (ret < 0) {
        f->flush_errno = errno;
        return qcbmi_fail_errno(err, f->flush_errno, QCBM_NO_OFFSET, "flush failed");
    }
    return 0;
}

/* ---- length and space ---------------------------------------------------------------------------------- */

static int file_size(void *self, uint64_t *len_bytes, struct qcbm_error *err)
{
    const struct qcbmi_file *f = self;
    struct stat st;
    off_t end;

    if (f->is_device) {
        end = lseek(f->fd, 0, SEEK_END); /* st_size of a device is 0; the position is used nowhere */
    } else {
        end = fstat(f->fd, &st);
        if (end == 0)
            end = st.st_size;
    }
    if (end < 0)
        return qcbmi_fail_errno(err, errno, QCBM_NO_OFFSET, "could not get the size");
    *len_bytes = (uint64_t)end;
    return 0;
}

/* A device ends where it ends. */
static int check_device_end(uint64_t size, uint64_t end, struct qcbm_error *err)
{
    if (end <= size)
        return 0;
    return qcbmi_fail(err, QCBM_E_NOSPACE, QCBM_NO_OFFSET,
                      "no space: the block device must hold %" PRIu64 " bytes and has %" PRIu64, end, size);
}

static int file_grow(void *self, uint64_t len_bytes, struct qcbm_error *err)
{
    const struct qcbmi_file *f = self;
    uint64_t size;
    int ret = file_size(self, &size, err);

    if (ret < 0 || len_bytes <= size)
        return ret;
    if (f->is_device)
        return check_device_end(size, len_bytes, err);
    do
        ret = ftruncate(f->fd, (off_t)len_bytes);
    while (ret < 0 && errno == EINTR);
    if (ret < 0)
        return qcbmi_fail_errno(err, errno, QCBM_NO_OFFSET,
                                "growing the file from %" PRIu64 " to %" PRIu64 " bytes failed", size, len_bytes);
    return 0;
}

static int file_cut(void *self, uint64_t len_bytes, struct qcbm_error *err)
{
    const struct qcbmi_file *f = self;
    int ret;

    if (f->is_device)
        return qcbmi_fail(err, QCBM_E_UNSUPPORTED, QCBM_NO_OFFSET, "a block device cannot be made shorter");
    do
        ret = ftruncate(f->fd, (off_t)len_bytes);
    while (ret < 0 && errno == EINTR);
    return ret < 0
               ? qcbmi_fail_errno(err, errno, QCBM_NO_OFFSET, "cutting the file to %" PRIu64 " bytes failed", len_bytes)
               : 0;
}

static int file_space(void *self, uint64_t *available, uint64_t *allocated, struct qcbm_error *err)
{
    const struct qcbmi_file *f = self;
    struct statvfs vfs;
    struct stat st;
    int ret;

    if (fstat(f->fd, &st) < 0)
        return qcbmi_fail_errno(err, errno, QCBM_NO_OFFSET, "fstat failed");
    *allocated = (uint64_t)st.st_blocks * 512; /* 0 for a device, as qemu-img info has it */
    *available = 0;
    if (f->is_device)
        return 0; /* all of it is there already, and no more will be */
    do
        ret = fstatvfs(f->fd, &vfs);
    while (ret < 0 && errno == EINTR);
    /* One without blocks keeps no count, as tmpfs without a limit and what memfd_create() makes: it is not full. */
    if (ret < 0 || vfs.f_blocks == 0 || !u64_mul(vfs.f_bavail, vfs.f_frsize, available))
        *available = UINT64_MAX;
    return 0;
}

/* What fallocate() got before it failed stays allocated behind the end of the file, on a device that is full: give it
 * back, as well as that goes. Blocks that it put into holes stay; they read as zeros as before. */
static void give_back(void *self, uint64_t end)
{
    const struct qcbmi_file *f = self;
    uint64_t size;
    int ignored;

    if (file_size(self, &size, NULL) < 0 || end <= size)
        return;
    ignored = ftruncate(f->fd, (off_t)size);
    (void)ignored;
}

static int fail_reserve(void *self, uint64_t off, uint64_t len, int sys_errno, struct qcbm_error *err)
{
    uint64_t available, allocated;

    if (sys_errno != ENOSPC && sys_errno != EDQUOT)
        return qcbmi_fail_errno(err, sys_errno, off, "reserving %" PRIu64 " bytes at 0x%" PRIx64 " failed", len, off);
    give_back(self, off + len);
    if (file_space(self, &available, &allocated, NULL) < 0 || available == UINT64_MAX)
        return qcbmi_fail_errno(err, sys_errno, off, "%" PRIu64 " bytes at 0x%" PRIx64 " are needed", len, off);
    return qcbmi_fail_errno(err, sys_errno, off,
                            "%" PRIu64 " bytes at 0x%" PRIx64 " are needed, %" PRIu64 " are available", len, off,
                            available);
}

static int file_reserve(void *self, uint64_t off, uint64_t len, struct qcbm_error *err)
{
    const struct qcbmi_file *f = self;
    uint64_t size;
    int ret;

    if (len == 0)
        return 0;
    if (f->is_device) {
        ret = file_size(self, &size, err);
        return ret < 0 ? ret : check_device_end(size, off + len, err);
    }
    do
        ret = fallocate(f->fd, FALLOC_FL_KEEP_SIZE, (off_t)off, (off_t)len);
    while (ret < 0 && errno == EINTR);
    /* Not every file system can: then a full device is met by the write, which comes before the commit is visible. */
    if (ret == 0 || errno == EOPNOTSUPP || errno == ENOSYS || errno == EINVAL)
        return 0;
    return fail_reserve(self, off, len, errno, err);
}

static int file_extent(void *self, uint64_t off, bool *is_data, uint64_t *end, struct qcbm_error *err)
{
    const struct qcbmi_file *f = self;
    uint64_t size;
    off_t next;
    int ret = file_size(self, &size, err);

    if (ret < 0)
        return ret;
    if (off >= size)
        return qcbmi_fail(err, QCBM_E_ARG, off, "0x%" PRIx64 " is not below the end of the file at 0x%" PRIx64, off,
                          size);
    next = lseek(f->fd, (off_t)off, SEEK_DATA);
    *is_data = true;
    *end = size;
    if (next < 0) {
        *is_data = errno != ENXIO; /* ENXIO: a hole to the end. Else it cannot tell holes: all data */
        return 0;
    }
    if ((uint64_t)next > off) {
        *is_data = false;
        *end = u64_min((uint64_t)next, size);
        return 0;
    }
    next = lseek(f->fd, (off_t)off, SEEK_HOLE);
    if (next > 0 && (uint64_t)next > off)
        *end = u64_min((uint64_t)next, size);
    return 0;
}

/* ---- who wrote --------------------------------------------------------------------------------------- */

/* A write gets the time of the clock's last tick, so one that follows at once may get the same. Ticks are 10 ms at
 * most; a file system without fractions has 2 s at most. */
static void wait_for_next_tick(const struct timespec *written)
{
    const int64_t tick = written->tv_nsec ? 10000000 : 2000000000;
    struct timespec now, left = { 0 };
    int64_t since;

    if (clock_gettime(CLOCK_REALTIME, &now) < 0 || now.tv_sec - written->tv_sec > 2 || now.tv_sec < written->tv_sec)
        return;
    since = (now.tv_sec - written->tv_sec) * INT64_C(1000000000) + now.tv_nsec - written->tv_nsec;
    if (since < 0 || since >= tick)
        return;
    left.tv_sec = (tick - since) / 1000000000;
    left.tv_nsec = (tick - since) % 1000000000;
    while (nanosleep(&left, &left) < 0 && errno == EINTR)
        ;
}

static int file_written(void *self, bool settled, struct qcbm_io_time *out, struct qcbm_error *err)
{
    const struct qcbmi_file *f = self;
    struct stat st;

    if (f->is_device)
        return qcbmi_fail(err, QCBM_E_UNSUPPORTED, QCBM_NO_OFFSET, "a block device does not say when it was written");
    if ((settled && fsync(f->fd) < 0) || fstat(f->fd, &st) < 0)
        return qcbmi_fail_errno(err, errno, QCBM_NO_OFFSET, "could not get the time of the last write");
    if (settled)
        wait_for_next_tick(&st.st_mtim);
    *out = (struct qcbm_io_time){ st.st_mtim.tv_sec, (uint32_t)st.st_mtim.tv_nsec };
    return 0;
}

struct qcbm_io_time qcbmi_file_born(const void *self)
{
    const struct qcbmi_file *f = self;
    struct statx st;

    if (statx(f->fd, "", AT_EMPTY_PATH, STATX_BTIME, &st) < 0 || !(st.stx_mask & STATX_BTIME))
        return (struct qcbm_io_time){ 0 };
    return (struct qcbm_io_time){ st.stx_btime.tv_sec, st.stx_btime.tv_nsec };
}

static int file_set_written(void *self, const struct qcbm_io_time *time, struct qcbm_error *err)
{
    const struct qcbmi_file *f = self;
    const struct timespec times[2] = { { 0, UTIME_OMIT }, { time->seconds, time->nanoseconds } };

    if (futimens(f->fd, times) < 0 || fsync(f->fd) < 0)
        return qcbmi_fail_errno(err, errno, QCBM_NO_OFFSET, "could not set the time of the last write");
    return 0;
}

static void file_will_read(void *self, uint64_t off, uint64_t len)
{
    const struct qcbmi_file *f = self;
    off_t end = (off_t)(off + len), data = lseek(f->fd, (off_t)off, SEEK_DATA); /* of a hole, pages would be made */

    if (data < 0 && errno != ENXIO)
        data = (off_t)off;
    if (data >= 0 && data < end)
        (void)posix_fadvise(f->fd, data, end - data, POSIX_FADV_WILLNEED); /* a file system may not care */
}

static int file_lock(void *self, enum qcbm_lock_mode mode, struct qcbm_error *err)
{
    const struct qcbmi_file *f = self;

    return qcbmi_lock_fd(f->fd, mode, err);
}

const struct qcbm_io_ops *qcbmi_file_ops(void)
{
    static const struct qcbm_io_ops ops = {
        .struct_size = sizeof(ops),
        .read_at = file_read_at,
        .write_at = file_write_at,
        .flush = file_flush,
        .size = file_size,
        .grow = file_grow,
        .cut = file_cut,
        .reserve = file_reserve,
        .space = file_space,
        .extent = file_extent,
        .lock = file_lock,
        .close = file_close,
        .written = file_written,
        .set_written = file_set_written,
        .will_read = file_will_read,
    };

    return &ops;
}

struct qcbmi_file_traits qcbmi_file_get_traits(const void *self)
{
    const struct qcbmi_file *f = self;
    struct qcbmi_file_traits traits = { .is_device = f->is_device };
    struct fsxattr attr;

    if (ioctl(f->fd, FS_IOC_FSGETXATTR, &attr) == 0)
        traits.extent_size_hint = attr.fsx_extsize;
    return traits;
}

/* A partition has the queue of its disk, a folder higher. */
uint64_t qcbmi_file_discard_granularity(const void *self)
{
    static const char *const places[] = { "", "../" };
    const struct qcbmi_file *f = self;
    unsigned long long bytes = 0;

    for (size_t i = 0; f->is_device && bytes == 0 && i < sizeof(places) / sizeof(places[0]); i++) {
        char name[96];
        FILE *file;

        snprintf(name, sizeof(name), "/sys/dev/block/%u:%u/%squeue/discard_granularity", major((dev_t)f->id.dev),
                 minor((dev_t)f->id.dev), places[i]);
        file = fopen(name, "re");
        if (file && fscanf(file, "%llu", &bytes) != 1)
            bytes = 0;
        if (file)
            fclose(file);
    }
    return bytes;
}
