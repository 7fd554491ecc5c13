/* sandbox_calls.c - the system calls that reading an image takes
 * SPDX-License-Identifier: MIT
 */
#include "sandbox_calls.h"

#include <linux/sched.h>

#define ALL_BITS UINT32_MAX /* of an int; a filter sees 64 bits, of which the kernel drops the upper ones */

static const struct sandbox_argument read_only_1 = { 1, MARK_OPEN_TO_CHANGE, 0 };
static const struct sandbox_argument read_only_2 = { 2, MARK_OPEN_TO_CHANGE, 0 };
static const struct sandbox_argument terminal = { 1, ALL_BITS, MARK_TCGETS };
static const struct sandbox_argument internal_signal = { 0, ALL_BITS, 33 }; /* glibc has it for setuid() in threads */
static const struct sandbox_argument extent_size = { 1, ALL_BITS, MARK_FSGETXATTR };
static const struct sandbox_argument own_thread = { 0, ALL_BITS, 0 };
static const struct sandbox_argument own_memory = { 0, CLONE_VM, CLONE_VM };

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
    { { "readlinkat", "readlink", NULL }, NULL }, /* where a link leads to, beside which the state of an apply lies */
    { { "getcwd", NULL }, NULL },
    { { "geteuid", "geteuid32", NULL }, NULL }, /* is a journal the user's own? */
    { { "ioctl", NULL }, &terminal },
    { { "ioctl", NULL }, &extent_size },
    /* memory */
    { { "brk", NULL }, NULL },
    { { "mmap", "mmap2", NULL }, NULL },
    { { "munmap", NULL }, NULL },
    { { "sysinfo", NULL }, NULL },   /* qsort() asks how much there is */
    { { "getrandom", NULL }, NULL }, /* the seed of a manifest */
    /* threads; clone() is in sandbox_build.c */
    { { "sched_getaffinity", NULL }, NULL },
    { { "sched_setaffinity", NULL }, &own_thread }, /* to another processor */
    { { "mprotect", NULL }, NULL },                 /* the guard of a stack */
    { { "madvise", NULL }, NULL },                  /* a stack that is kept */
    { { "set_robust_list", NULL }, NULL },
    { { "rseq", NULL }, NULL },
    { { "futex", "futex_time64", NULL }, NULL },
    { { "exit", NULL }, NULL },
    { { "rt_sigaction", NULL }, &internal_signal },
    { { "getrandom", NULL }, NULL }, /* the id of a delta */
    /* the clock, where the kernel does not answer without a call */
    { { "clock_gettime", "clock_gettime64", NULL }, NULL },
    { { "clock_nanosleep", "clock_nanosleep_time64", NULL }, NULL }, /* --max-read */
    /* the end */
    { { "exit_group", NULL }, NULL },
    /* abort(); the signal itself is in sandbox_build.c */
    { { "rt_sigprocmask", NULL }, NULL },
    { { "getpid", NULL }, NULL },
    { { "gettid", NULL }, NULL },
    { { NULL }, NULL },
};

/* Only what has no address: that would be another one than the server's. TLS sends by sendmsg(). */
static const struct sandbox_argument no_address = { 5, ALL_BITS, 0 };

const struct sandbox_call sandbox_connected_calls[] = {
    { { "recvfrom", "recv", NULL }, NULL }, { { "recvmsg", NULL }, NULL },
    { { "sendto", NULL }, &no_address },    { { "send", NULL }, NULL },
    { { "sendmsg", NULL }, NULL },          { { "poll", "ppoll", "ppoll_time64", NULL }, NULL },
    { { "shutdown", NULL }, NULL },         { { NULL }, NULL },
};

const struct sandbox_call sandbox_sanitizer_calls[] = {
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
    { { "clone", NULL }, &own_memory },
    { { "rt_sigreturn", NULL }, NULL },
    { { NULL }, NULL },
};
