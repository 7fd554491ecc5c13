/* io_lock.c - image locks on the byte ranges that QEMU uses (file-posix), as OFD locks
 * SPDX-License-Identifier: MIT
 *
 * Each permission has two bytes: 100 + i says "I use it", 200 + i says "others must not". Every party takes only shared
 * locks, so taking them never fails for a conflict and any number of parties may say the same; a conflict is found by
 * asking whether an exclusive lock could be had on the opposite byte. Both parties take first and look afterwards: of
 * two that start at once at least one sees the other, and perhaps both do and give way. So parties of this library
 * first settle it between themselves on a byte that QEMU does not know, exclusive for a writer and shared for a reader
 * that no writer may disturb: the kernel gives that to one of them. Who locks several files in one order never loses to
 * somebody who loses, too (checkpoint/disks.h). Locks of one's own open file description never conflict. */
#include "io/io_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/error.h"

enum { PERM_CONSISTENT_READ = 1u << 0, PERM_WRITE = 1u << 1, PERM_WRITE_UNCHANGED = 1u << 2, PERM_RESIZE = 1u << 3 };
#define PERM_ALL 0xfu
#define N_PERMS 4
#define BYTE_USES 100
#define BYTE_DENIES 200
#define BYTE_TURN 300

static const char *const perm_names[N_PERMS] = { "consistent read", "write", "write unchanged", "resize" };

struct lock_set {
    unsigned uses;   /* lock 100 + i */
    unsigned denies; /* lock 200 + i, no other may lock 100 + i */
    unsigned needs;  /* no other may lock 200 + i */
};

/* QEMU's writer denies neither consistent read nor "write unchanged". Ours does: while tables move, not even a reader
 * with force-share may look. */
static const struct lock_set lock_sets[] = {
    [QCBM_LOCK_READ] = { PERM_CONSISTENT_READ, PERM_WRITE | PERM_RESIZE, PERM_CONSISTENT_READ },
    [QCBM_LOCK_READ_SHARED] = { PERM_CONSISTENT_READ, 0, PERM_CONSISTENT_READ },
    [QCBM_LOCK_INFO] = { 0, PERM_WRITE | PERM_RESIZE, 0 },
    [QCBM_LOCK_INFO_SHARED] = { 0, 0, 0 },
    [QCBM_LOCK_WRITE] = { PERM_CONSISTENT_READ | PERM_WRITE | PERM_RESIZE, PERM_ALL, PERM_ALL },
};

/* F_OFD_SETLK or F_OFD_GETLK. Returns 0 or errno; *@type becomes what F_OFD_GETLK answers. */
static int ofd_lock(int fd, int cmd, short *type, off_t start, off_t len)
{
    struct flock fl = { .l_type = *type, .l_whence = SEEK_SET, .l_start = start, .l_len = len, .l_pid = 0 };
    int ret;

    do
        ret = fcntl(fd, cmd, &fl);
    while (ret < 0 && errno == EINTR);
    if (ret < 0)
        return errno;
    *type = fl.l_type;
    return 0;
}

static int fail_conflict(unsigned perm, bool denied_by_us, struct qcbm_error *err)
{
    return qcbmi_fail(err, QCBM_E_LOCKED, QCBM_NO_OFFSET,
                      "Failed to get %s\"%s\" lock. Is another process using the image?", denied_by_us ? "shared " : "",
                      perm_names[perm]);
}

static int fail_system(int sys_errno, struct qcbm_error *err)
{
    int ret = qcbmi_fail_errno(err, sys_errno, QCBM_NO_OFFSET, "image locks are not available");

    if (sys_errno != ENOLCK && sys_errno != EINVAL && sys_errno != ENOSYS && sys_errno != EOPNOTSUPP)
        return ret;
    if (err)
        err->code = QCBM_E_NOLOCKS;
    return QCBM_E_NOLOCKS;
}

static int take(int fd, off_t base, unsigned mask, struct qcbm_error *err)
{
    for (unsigned i = 0; i < N_PERMS; i++) {
        short type = F_RDLCK;
        int sys_errno = mask & 1u << i ? ofd_lock(fd, F_OFD_SETLK, &type, base + (off_t)i, 1) : 0;

        /* No QEMU program takes an exclusive lock; some other program did. */
        if (sys_errno == EAGAIN || sys_errno == EACCES)
            return fail_conflict(i, base == BYTE_DENIES, err);
        if (sys_errno)
            return fail_system(sys_errno, err);
    }
    return 0;
}

static int look(int fd, off_t base, unsigned mask, struct qcbm_error *err)
{
    for (unsigned i = 0; i < N_PERMS; i++) {
        short type = F_WRLCK; /* asking needs no write access, only taking would */
        int sys_errno;

        if (!(mask & 1u << i))
            continue;
        sys_errno = ofd_lock(fd, F_OFD_GETLK, &type, base + (off_t)i, 1);
        if (sys_errno)
            return fail_system(sys_errno, err);
        if (type != F_UNLCK)
            return fail_conflict(i, base == BYTE_USES, err);
    }
    return 0;
}

/* In the words of the conflict that the bytes of QEMU would show. */
static int take_turn(int fd, enum qcbm_lock_mode mode, struct qcbm_error *err)
{
    bool writes = mode == QCBM_LOCK_WRITE;
    short type = writes ? F_WRLCK : F_RDLCK;
    int sys_errno = writes || mode == QCBM_LOCK_READ ? ofd_lock(fd, F_OFD_SETLK, &type, BYTE_TURN, 1) : 0;

    if (sys_errno == EAGAIN || sys_errno == EACCES)
        return fail_conflict(writes ? 1 : 0, false, err);
    return sys_errno ? fail_system(sys_errno, err) : 0;
}

int qcbmi_lock_fd(int fd, enum qcbm_lock_mode mode, struct qcbm_error *err)
{
    const struct lock_set *set;
    short type = F_UNLCK;
    int ret;

    if ((unsigned)mode >= sizeof(lock_sets) / sizeof(lock_sets[0]))
        return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET, "lock mode %d is unknown", (int)mode);
    set = &lock_sets[mode];
    ret = take_turn(fd, mode, err);
    if (ret == 0)
        ret = take(fd, BYTE_USES, set->uses, err);
    if (ret == 0)
        ret = take(fd, BYTE_DENIES, set->denies, err);
    if (ret == 0)
        ret = look(fd, BYTE_DENIES, set->needs, err);
    if (ret == 0)
        ret = look(fd, BYTE_USES, set->denies, err);
    if (ret < 0) /* what we said must not keep others out */
        ofd_lock(fd, F_OFD_SETLK, &type, BYTE_USES, BYTE_TURN + 1 - BYTE_USES);
    return ret;
}
