/* fail_calls.c - makes one call of the library fail: an allocation, or a system call on its files
 * SPDX-License-Identifier: MIT */
#include "fail_calls.h"

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/types.h>

static struct fail_plan plan;
static struct fail_report report;
static bool armed;

void fail_arm(const struct fail_plan *p)
{
    memset(&report, 0, sizeof(report));
    plan = *p;
    armed = true;
}

struct fail_report fail_disarm(void)
{
    armed = false;
    return report;
}

enum outcome { GO_ON, HALF, FAILS };

static enum outcome next(enum fail_call call)
{
    uint64_t n;
    bool now, later;

    if (!armed)
        return GO_ON;
    n = __atomic_add_fetch(&report.calls[call], 1, __ATOMIC_RELAXED); /* threads of the library call, too */
    if (call == FAIL_WRITE && plan.call == FAIL_FLUSH && plan.error != EINTR && report.fired)
        report.late_writes++;
    if (call != plan.call || n < plan.at)
        return GO_ON;
    now = n == plan.at;
    later = (plan.how == FAIL_ALL && !now) || (plan.how == FAIL_TORN && n == plan.at + 1);
    if (!now && !later)
        return GO_ON;
    __atomic_store_n(&report.fired, true, __ATOMIC_RELAXED);
    if (now && (plan.how == FAIL_SHORT || plan.how == FAIL_TORN))
        return HALF;
    errno = plan.error;
    return FAILS;
}

/* ---- memory ---- */

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
void __real_free(void *p);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t size);
void __wrap_free(void *p);

static void *count_block(void *p)
{
    __atomic_fetch_add(&report.live_blocks, armed && p, __ATOMIC_RELAXED);
    return p;
}

void *__wrap_malloc(size_t size)
{
    return next(FAIL_ALLOC) == GO_ON ? count_block(__real_malloc(size)) : NULL;
}

void *__wrap_calloc(size_t n, size_t size)
{
    return next(FAIL_ALLOC) == GO_ON ? count_block(__real_calloc(n, size)) : NULL;
}

void *__wrap_realloc(void *p, size_t size)
{
    bool is_new = !p;
    void *q = next(FAIL_ALLOC) == GO_ON ? __real_realloc(p, size) : NULL;

    return is_new ? count_block(q) : q;
}

void __wrap_free(void *p)
{
    __atomic_fetch_sub(&report.live_blocks, armed && p, __ATOMIC_RELAXED);
    __real_free(p);
}

/* The C library takes the memory of a node itself. */
void *__real_tsearch(const void *key, void **root, int (*compare)(const void *, const void *));
void *__wrap_tsearch(const void *key, void **root, int (*compare)(const void *, const void *));

void *__wrap_tsearch(const void *key, void **root, int (*compare)(const void *, const void *))
{
    return next(FAIL_ALLOC) == GO_ON ? __real_tsearch(key, root, compare) : NULL;
}

/* ---- system calls, by the names that _FILE_OFFSET_BITS=64 gives them ---- */

int __real_open64(const char *path, int flags, ...);
int __real_fcntl64(int fd, int command, ...);
ssize_t __real_pread64(int fd, void *buf, size_t len, off_t off);
ssize_t __real_pwrite64(int fd, const void *buf, size_t len, off_t off);
int __real_ftruncate64(int fd, off_t len);
int __real_fallocate64(int fd, int mode, off_t off, off_t len);
off_t __real_lseek64(int fd, off_t off, int whence);
int __wrap_open64(const char *path, int flags, ...);
int __wrap_fcntl64(int fd, int command, ...);
ssize_t __wrap_pread64(int fd, void *buf, size_t len, off_t off);
ssize_t __wrap_pwrite64(int fd, const void *buf, size_t len, off_t off);
int __wrap_fdatasync(int fd);
int __wrap_ftruncate64(int fd, off_t len);
int __wrap_fallocate64(int fd, int mode, off_t off, off_t len);
off_t __wrap_lseek64(int fd, off_t off, int whence);

int __wrap_open64(const char *path, int flags, ...)
{
    return next(FAIL_OPEN) == GO_ON ? __real_open64(path, flags) : -1; /* the library creates no files */
}

int __wrap_fcntl64(int fd, int command, ...)
{
    va_list args;
    void *arg;

    va_start(args, command);
    arg = va_arg(args, void *);
    va_end(args);
    return next(FAIL_LOCK) == GO_ON ? __real_fcntl64(fd, command, arg) : -1;
}

ssize_t __wrap_pread64(int fd, void *buf, size_t len, off_t off)
{
    enum outcome outcome = next(FAIL_READ);

    if (outcome == FAILS)
        return -1;
    return __real_pread64(fd, buf, outcome == HALF ? (len + 1) / 2 : len, off);
}

/* Half of a write that ends at the end of a sector: where it fails for good, no sector is torn. */
static size_t whole_sectors(off_t off, size_t len)
{
    uint64_t end = ((uint64_t)off + len / 2) & ~UINT64_C(511);

    errno = plan.error;
    return end > (uint64_t)off ? (size_t)(end - (uint64_t)off) : 0;
}

ssize_t __wrap_pwrite64(int fd, const void *buf, size_t len, off_t off)
{
    enum outcome outcome = next(FAIL_WRITE);

    if (outcome == HALF)
        len = plan.how == FAIL_TORN ? whole_sectors(off, len) : (len + 1) / 2;
    if (outcome == FAILS || (outcome == HALF && len == 0))
        return -1;
    return __real_pwrite64(fd, buf, len, off);
}

int __wrap_fdatasync(int fd)
{
    (void)fd; /* what is durable is not looked at */
    return next(FAIL_FLUSH) == GO_ON ? 0 : -1;
}

int __wrap_ftruncate64(int fd, off_t len)
{
    return next(FAIL_GROW) == GO_ON ? __real_ftruncate64(fd, len) : -1;
}

int __wrap_fallocate64(int fd, int mode, off_t off, off_t len)
{
    return next(FAIL_RESERVE) == GO_ON ? __real_fallocate64(fd, mode, off, len) : -1;
}

off_t __wrap_lseek64(int fd, off_t off, int whence)
{
    return next(FAIL_SEEK) == GO_ON ? __real_lseek64(fd, off, whence) : -1;
}
