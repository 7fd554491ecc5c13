/* sandbox.c - the two means of Linux to shut a process in: Landlock rules for files, a seccomp filter for the rest
 * SPDX-License-Identifier: MIT
 *
 * An image is data from a stranger, and reading one takes very little of the system. Refusals are error codes, not
 * signals: a C library that tries something new falls back to something old, and a user gets a message.
 */
#include "sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* LeakSanitizer looks at its own process from a thread-like child when the program ends; the rest stays forbidden. */
#ifdef __has_feature
#define HAS_FEATURE(x) __has_feature(x)
#else
#define HAS_FEATURE(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || HAS_FEATURE(address_sanitizer)
#define SANITIZED 1
#else
#define SANITIZED 0
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
    else if (SANITIZED)
        allow_reading(fd, "/proc");
    (void)syscall(SYS_landlock_restrict_self, fd, 0);
    close(fd);
}

/* ---- seccomp -------------------------------------------------------------------------------------------- */

#if defined(__x86_64__)
#define ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCH AUDIT_ARCH_AARCH64
#else
#define ARCH 0
#endif

bool sandbox_has_seccomp(void)
{
    uint32_t action = SECCOMP_RET_ERRNO;

    return ARCH != 0 && syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0;
}

#if ARCH

static const int allowed[] = {
    /* files that are open, and what is known of others */
    SYS_read,
    SYS_readv,
    SYS_pread64,
    SYS_write,
    SYS_writev,
    SYS_lseek,
    SYS_close,
    SYS_fcntl,
    SYS_fadvise64,
    SYS_fstat,
    SYS_newfstatat,
    SYS_statx,
    SYS_fstatfs,
    SYS_statfs,
    /* memory and threads */
    SYS_brk,
    SYS_mmap,
    SYS_munmap,
    SYS_mremap,
    SYS_mprotect,
    SYS_madvise,
    SYS_futex,
    SYS_set_robust_list,
    SYS_rseq,
    SYS_sched_yield,
    SYS_sched_getaffinity,
    SYS_membarrier,
    /* signals of one's own, time, identity, the end */
    SYS_rt_sigaction,
    SYS_rt_sigprocmask,
    SYS_rt_sigreturn,
    SYS_sigaltstack,
    SYS_restart_syscall,
    SYS_clock_gettime,
    SYS_clock_nanosleep,
    SYS_gettimeofday,
    SYS_getpid,
    SYS_gettid,
    SYS_getrandom,
    SYS_prlimit64,
    SYS_uname,
    SYS_sysinfo,
    SYS_exit,
    SYS_exit_group,
#ifdef __x86_64__
    SYS_stat,
    SYS_lstat,
    SYS_time,
#endif
#if SANITIZED
    SYS_ptrace,
    SYS_prctl,
    SYS_wait4,
    SYS_getdents64,
    SYS_readlinkat,
    SYS_getppid,
#ifdef __x86_64__
    SYS_readlink,
    SYS_arch_prctl,
    SYS_getdents,
#endif
#endif
};

/* Calls that are right or wrong by the bits @mask of argument @arg, which must be @value. */
struct by_argument {
    int nr, arg;
    uint32_t mask, value;
};

#define OPEN_TO_CHANGE (O_ACCMODE | O_CREAT | O_TRUNC | O_APPEND | (O_TMPFILE & ~O_DIRECTORY))
#define OPEN_READ_ONLY(nr, arg)                                                                                        \
    {                                                                                                                  \
        nr, arg, OPEN_TO_CHANGE, O_RDONLY                                                                              \
    }

enum { MAX_CODE = 256 };

struct filter {
    struct sock_filter code[MAX_CODE];
    unsigned short n;
};

static void emit(struct filter *f, unsigned op, uint32_t k, unsigned if_true, unsigned if_false)
{
    if (f->n < MAX_CODE)
        f->code[f->n++] = (struct sock_filter){ (uint16_t)op, (uint8_t)if_true, (uint8_t)if_false, k };
}

static void load(struct filter *f, size_t offset)
{
    emit(f, BPF_LD | BPF_W | BPF_ABS, (uint32_t)offset, 0, 0);
}

static void finish(struct filter *f, uint32_t action)
{
    emit(f, BPF_RET | BPF_K, action, 0, 0);
}

/* if (nr == @nr) return @action */
static void answer(struct filter *f, int nr, uint32_t action)
{
    emit(f, BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)nr, 0, 1);
    finish(f, action);
}

static void answer_by_argument(struct filter *f, const struct by_argument *rule)
{
    emit(f, BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)rule->nr, 0, 5);
    /* The lower half, which comes first here: all of these are int for the kernel, or have their bits there. */
    load(f, offsetof(struct seccomp_data, args) + 8 * (size_t)rule->arg);
    emit(f, BPF_ALU | BPF_AND | BPF_K, rule->mask, 0, 0);
    emit(f, BPF_JMP | BPF_JEQ | BPF_K, rule->value, 0, 1);
    finish(f, SECCOMP_RET_ALLOW);
    finish(f, SECCOMP_RET_ERRNO | EPERM);
}

static void make_filter(struct filter *f)
{
    const struct by_argument rules[] = {
        OPEN_READ_ONLY(SYS_openat, 2),
#ifdef __x86_64__
        OPEN_READ_ONLY(SYS_open, 1),
#endif
        { SYS_clone, 0, SANITIZED ? CLONE_VM : CLONE_THREAD, SANITIZED ? CLONE_VM : CLONE_THREAD },
        { SYS_tgkill, 0, UINT32_MAX, (uint32_t)getpid() }, /* abort() */
        { SYS_ioctl, 1, UINT32_MAX, TCGETS },              /* is it a terminal? */
    };

    load(f, offsetof(struct seccomp_data, arch));
    emit(f, BPF_JMP | BPF_JEQ | BPF_K, ARCH, 1, 0);
    finish(f, SECCOMP_RET_ERRNO | EPERM);
    load(f, offsetof(struct seccomp_data, nr)); /* numbers of the x32 ABI are in no list */
    for (size_t i = 0; i < sizeof allowed / sizeof allowed[0]; i++)
        answer(f, allowed[i], SECCOMP_RET_ALLOW);
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++)
        answer_by_argument(f, &rules[i]);
    /* Their arguments lie in memory, which a filter cannot see; as if they were unknown, so that the older call is tried. */
    answer(f, SYS_clone3, SECCOMP_RET_ERRNO | ENOSYS);
    answer(f, SYS_openat2, SECCOMP_RET_ERRNO | ENOSYS);
    finish(f, SECCOMP_RET_ERRNO | EPERM);
}

static void restrict_calls(void)
{
    struct filter f = { .n = 0 };
    struct sock_fprog program;

    make_filter(&f);
    program = (struct sock_fprog){ f.n, f.code };
    (void)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program);
}

#else

static void restrict_calls(void)
{
}

#endif

#ifdef QCBM_NO_SANDBOX
#define NO_SANDBOX 1
#else
#define NO_SANDBOX 0
#endif

void sandbox_enter(const char *const *files, size_t n, bool read_all)
{
    if (NO_SANDBOX)
        return;
    tzset(); /* reads the time zone while that file can be opened */
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return;
    restrict_files(files, n, read_all);
    if (sandbox_has_seccomp())
        restrict_calls();
}
