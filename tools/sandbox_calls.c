/* sandbox_calls.c - the system calls that reading an image takes, and a seccomp filter that refuses all others
 * SPDX-License-Identifier: MIT
 */
#include <asm/ioctls.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sched.h>
#include <stdint.h>
#include <sys/syscall.h>

#include "sandbox.h"
#include "sandbox_calls.h"

#define OPEN_TO_CHANGE (O_ACCMODE | O_CREAT | O_TRUNC | O_APPEND | (O_TMPFILE & ~O_DIRECTORY))
#define ALL_BITS UINT32_MAX /* of an int; a filter sees 64 bits, of which the kernel drops the upper ones */

static const struct sandbox_argument read_only_1 = { 1, OPEN_TO_CHANGE, O_RDONLY };
static const struct sandbox_argument read_only_2 = { 2, OPEN_TO_CHANGE, O_RDONLY };
static const struct sandbox_argument terminal = { 1, ALL_BITS, TCGETS };
static const struct sandbox_argument internal_signal = { 0, ALL_BITS, 33 }; /* glibc has it for setuid() in threads */
static const struct sandbox_argument extent_size = { 1, ALL_BITS, FS_IOC_FSGETXATTR };

const struct sandbox_call sandbox_calls[] = {
    /* files, and what is known of them */
    { { "openat", NULL }, &read_only_2 },
    { { "open", NULL }, &read_only_1 }, /* musl */
    { { "close", NULL }, NULL },
    { { "read", "readv", NULL }, NULL },
    { { "pread64", NULL }, NULL },
    { { "fadvise64", "fadvise64_64", "arm_fadvise64_64", NULL }, NULL },
    { { "write", "writev", NULL }, NULL },
    { { "fsync", NULL }, NULL }, /* a delta into a file that the shell has opened */
    { { "lseek", "_llseek", NULL }, NULL },
    { { "fcntl", "fcntl64", NULL }, NULL },
    { { "newfstatat", "fstatat64", "fstat", "fstat64", "statx", NULL }, NULL },
    { { "stat", "stat64", NULL }, NULL }, /* older C libraries */
    { { "fstatfs", "fstatfs64", NULL }, NULL },
    { { "ioctl", NULL }, &terminal },
    { { "ioctl", NULL }, &extent_size },
    /* memory */
    { { "brk", NULL }, NULL },
    { { "mmap", "mmap2", NULL }, NULL },
    { { "munmap", NULL }, NULL },
    { { "sysinfo", NULL }, NULL }, /* qsort() asks how much there is */
    /* threads; clone() is in sandbox_filter() */
    { { "sched_getaffinity", NULL }, NULL },
    { { "mprotect", NULL }, NULL }, /* the guard of a stack */
    { { "madvise", NULL }, NULL },  /* a stack that is kept */
    { { "set_robust_list", NULL }, NULL },
    { { "rseq", NULL }, NULL },
    { { "futex", "futex_time64", NULL }, NULL },
    { { "exit", NULL }, NULL },
    { { "rt_sigaction", NULL }, &internal_signal },
    { { "getrandom", NULL }, NULL }, /* the id of a delta */
    /* the clock, where the kernel does not answer without a call */
    { { "clock_gettime", "clock_gettime64", NULL }, NULL },
    /* the end */
    { { "exit_group", NULL }, NULL },
    /* abort(); the signal itself is in sandbox_filter() */
    { { "rt_sigprocmask", NULL }, NULL },
    { { "getpid", NULL }, NULL },
    { { "gettid", NULL }, NULL },
#if SANDBOX_SANITIZED
    { { "rt_sigaction", NULL }, NULL },
    { { "sigaltstack", NULL }, NULL },
    { { "sched_yield", NULL }, NULL },
    { { "uname", NULL }, NULL },
    { { "ptrace", NULL }, NULL },
    { { "prctl", "arch_prctl", NULL }, NULL },
    { { "wait4", NULL }, NULL },
    { { "getdents64", "getdents", NULL }, NULL },
    { { "readlinkat", "readlink", NULL }, NULL },
    { { "getppid", NULL }, NULL },
    { { "clone", NULL }, &(const struct sandbox_argument){ 0, CLONE_VM, CLONE_VM } },
    { { "rt_sigreturn", NULL }, NULL },
#endif
    { { NULL }, NULL },
};

/* Calls that a library knows by no number are of a system that it does not know yet, or of no system. */
static bool add_rule(scmp_filter_ctx filter, uint32_t action, const char *name, const struct sandbox_argument *a)
{
    int nr = seccomp_syscall_resolve_name(name), ret;

    if (nr == __NR_SCMP_ERROR)
        return true;
    if (a)
        ret = seccomp_rule_add(filter, action, nr, 1, SCMP_CMP(a->arg, SCMP_CMP_MASKED_EQ, a->mask, a->value));
    else
        ret = seccomp_rule_add(filter, action, nr, 0);
    return ret == 0 || ret == -EDOM; /* this system does not have it */
}

static bool add_rules(scmp_filter_ctx filter, uint32_t arch, pid_t pid)
{
    const struct sandbox_argument own = { 0, ALL_BITS, (scmp_datum_t)pid };
    /* A thread, no process. s390 has the flags behind the stack. */
    const struct sandbox_argument thread = { arch == SCMP_ARCH_S390X || arch == SCMP_ARCH_S390, CLONE_THREAD,
                                             CLONE_THREAD };
    bool ok = add_rule(filter, SCMP_ACT_ALLOW, "tgkill", &own) && add_rule(filter, SCMP_ACT_ALLOW, "clone", &thread);

    for (const struct sandbox_call *c = sandbox_calls; ok && c->names[0]; c++)
        for (const char *const *name = c->names; ok && *name; name++)
            ok = add_rule(filter, SCMP_ACT_ALLOW, *name, c->if_);
    /* As if they were unknown, so that the older call is tried. */
    return ok && add_rule(filter, SCMP_ACT_ERRNO(ENOSYS), "clone3", NULL) &&
           add_rule(filter, SCMP_ACT_ERRNO(ENOSYS), "openat2", NULL);
}

scmp_filter_ctx sandbox_filter(uint32_t arch, pid_t pid)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    uint32_t native = seccomp_arch_native();
    bool ok = filter && seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_ERRNO(EPERM)) == 0;

    if (ok && arch != native)
        ok = seccomp_arch_remove(filter, native) == 0 && seccomp_arch_add(filter, arch) == 0;
    if (ok && add_rules(filter, arch, pid))
        return filter;
    if (filter)
        seccomp_release(filter);
    return NULL;
}
