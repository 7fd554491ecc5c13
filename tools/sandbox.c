/* sandbox.c - the two means of Linux to shut a process in: Landlock rules for files, a seccomp filter for the rest
 * SPDX-License-Identifier: MIT
 *
 * An image is data from a stranger, and reading one takes very little of the system. Refusals are error codes, not
 * signals: a C library that tries something new falls back to something old, and a user gets a message.
 */
#include "sandbox.h"

#include <fcntl.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#ifdef HAVE_SECCOMP
#include <asm/ioctls.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/fs.h>
#endif

/* ---- Landlock ------------------------------------------------------------------------------------------- */

/* The ruleset as of version 6: headers of older systems have less of it, and a kernel is told the length it knows. */
struct ruleset {
    uint64_t fs, net, scoped;
};

enum { FS_READ_FILE = 1u << 2, FS_READ_DIR = 1u << 3 };

/* All rights that a version knows: files, with TRUNCATE from 3 on and ioctls on devices from 5 on. */
static struct ruleset rules_of(int abi)
{
    struct ruleset r = { .fs = (UINT64_C(1) << 13) - 1 };

    r.fs |= abi >= 2 ? UINT64_C(1) << 13 : 0;
    r.fs |= abi >= 3 ? UINT64_C(1) << 14 : 0;
    r.fs |= abi >= 5 ? UINT64_C(1) << 15 : 0;
    r.net = abi >= 4 ? 3 : 0;    /* bind and connect of TCP */
    r.scoped = abi >= 6 ? 3 : 0; /* abstract sockets, signals */
    return r;
}

static size_t ruleset_size(int abi)
{
    return abi >= 6 ? sizeof(struct ruleset) : abi >= 4 ? 2 * sizeof(uint64_t) : sizeof(uint64_t);
}

int sandbox_landlock_abi(void)
{
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);

    return abi < 0 ? 0 : (int)abi;
}

/* What cannot be opened here is for the caller to complain of, when it is opened there. */
static void allow_reading(int ruleset, const char *path)
{
    struct landlock_path_beneath_attr rule = { .allowed_access = FS_READ_FILE };
    struct stat st;

    rule.parent_fd = open(path, O_PATH | O_CLOEXEC);
    if (rule.parent_fd < 0)
        return;
    if (fstat(rule.parent_fd, &st) == 0 && S_ISDIR(st.st_mode))
        rule.allowed_access = FS_READ_FILE | FS_READ_DIR;
    (void)syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
    close(rule.parent_fd);
}

static void allow_named(int ruleset, const char *path)
{
    struct stat st;

    /* Of a folder not even what is in it: it is no image, and opening it shall say just that. */
    if (path && stat(path, &st) == 0 && !S_ISDIR(st.st_mode))
        allow_reading(ruleset, path);
}

static void restrict_files(const char *const *files, size_t n, bool read_all)
{
    int abi = sandbox_landlock_abi(), fd;
    struct ruleset rules = rules_of(abi);

    if (abi == 0)
        return;
    fd = (int)syscall(SYS_landlock_create_ruleset, &rules, ruleset_size(abi), 0);
    if (fd < 0)
        return;
    for (size_t i = 0; i < n; i++)
        allow_named(fd, files[i]);
    if (read_all)
        allow_reading(fd, "/");
    else if (SANDBOX_SANITIZED)
        allow_reading(fd, "/proc");
    (void)syscall(SYS_landlock_restrict_self, fd, 0);
    close(fd);
}

/* ---- seccomp -------------------------------------------------------------------------------------------- */

#ifdef HAVE_SECCOMP

#define OPEN_TO_CHANGE (O_ACCMODE | O_CREAT | O_TRUNC | O_APPEND | (O_TMPFILE & ~O_DIRECTORY))

bool sandbox_has_seccomp(void)
{
    uint32_t action = SECCOMP_RET_ERRNO;

    return syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0;
}

/* The filter was made when this was compiled. What it names is defined above; a signal may only go to this process. */
static void restrict_calls(bool connected)
{
    const uint32_t pid = (uint32_t)getpid();
#define SANDBOX_CONNECTED 0
    struct sock_filter code[] = {
#include "sandbox_filter.inc" /* layers: made by sandbox_make.c */
    };
#undef SANDBOX_CONNECTED
#define SANDBOX_CONNECTED 1
    struct sock_filter connected_code[] = {
#include "sandbox_filter.inc" /* layers: made by sandbox_make.c */
    };
    const struct sock_fprog program = { sizeof(code) / sizeof(code[0]), code };
    const struct sock_fprog connected_program = { sizeof(connected_code) / sizeof(connected_code[0]), connected_code };

    (void)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, connected ? &connected_program : &program);
}

#else

bool sandbox_has_seccomp(void)
{
    return false;
}

static void restrict_calls(bool connected)
{
    (void)connected;
}

#endif

#ifdef QCBM_NO_SANDBOX
#define NO_SANDBOX 1
#else
#define NO_SANDBOX 0
#endif

static void enter(const char *const *files, size_t n, bool read_all, bool connected)
{
    if (NO_SANDBOX)
        return;
    tzset(); /* reads the time zone while that file can be opened */
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return;
    restrict_files(files, n, read_all);
    restrict_calls(connected);
}

void sandbox_enter(const char *const *files, size_t n, bool read_all)
{
    enter(files, n, read_all, false);
}

void sandbox_enter_connected(const char *const *files, size_t n, bool read_all)
{
    enter(files, n, read_all, true);
}
