/* test_sandbox_calls.c - tools/sandbox_calls.c, sandbox_build.c: what passes and what is refused, here by the kernel,
 * and for every system that libseccomp knows by running the filter's program; and that it is this program that is built
 * in
 * SPDX-License-Identifier: MIT */
#include <asm/ioctls.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/fs.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "sandbox.h"
#include "sandbox_build.h"
#include "sandbox_calls.h"

#define OPEN_TO_CHANGE (O_ACCMODE | O_CREAT | O_TRUNC | O_APPEND | (O_TMPFILE & ~O_DIRECTORY))

enum { OWN_PID = 4711, MAX_CODE = 4096, LAST_CALL = 1023 };
enum { WRITE_ONLY = 1, READ_WRITE = 2 }; /* of open(), the same on all systems */

/* ---- a filter's program, run --------------------------------------------------------------------------- */

struct program {
    struct sock_filter code[MAX_CODE];
    size_t n;
    uint32_t arch;
    bool big_endian;
};

/* The numbers for marks, of this system. That others have other ones changes nothing of how they are looked at. */
static uint32_t number_for(uint32_t k)
{
    switch (k) {
    case MARK_PID:
        return OWN_PID;
    case MARK_OPEN_TO_CHANGE:
        return OPEN_TO_CHANGE;
    case MARK_TCGETS:
        return TCGETS;
    case MARK_FSGETXATTR:
        return FS_IOC_FSGETXATTR;
    case SECCOMP_RET_ERRNO | MARK_ENOSYS:
        return SECCOMP_RET_ERRNO | ENOSYS;
    default:
        return k;
    }
}

static void make_of(struct program *p, const struct sandbox_system *system)
{
    p->n = sandbox_program(system, p->code, MAX_CODE);
    p->arch = system->arch;
    p->big_endian = system->big_endian;
    assert_true(p->n > 0);
    for (size_t i = 0; i < p->n; i++)
        p->code[i].k = number_for(p->code[i].k);
}

static void make(struct program *p, uint32_t arch, bool big_endian)
{
    make_of(p, &(struct sandbox_system){ arch, big_endian, SANDBOX_SANITIZED, false });
}

/* Of a process that reads through a socket. */
static void make_connected(struct program *p, uint32_t arch, bool big_endian)
{
    make_of(p, &(struct sandbox_system){ arch, big_endian, SANDBOX_SANITIZED, true });
}

/* The words of struct seccomp_data, whose 64-bit numbers have their halves in the system's order. */
static uint32_t load(const struct program *p, const struct seccomp_data *d, uint32_t off)
{
    uint64_t arg = off >= 16 && off < sizeof(*d) ? d->args[(off - 16) / 8] : d->instruction_pointer;
    bool second = off % 8 != 0;

    if (off == offsetof(struct seccomp_data, nr))
        return (uint32_t)d->nr;
    if (off == offsetof(struct seccomp_data, arch))
        return d->arch;
    return (uint32_t)(second != p->big_endian ? arg >> 32 : arg);
}

/* As much of BPF as libseccomp writes. Returns what the kernel would do. */
static uint32_t run(const struct program *p, const struct seccomp_data *d)
{
    uint32_t a = 0;

    for (size_t pc = 0; pc < p->n; pc++) {
        const struct sock_filter *i = &p->code[pc];

        switch (i->code) {
        case BPF_LD | BPF_W | BPF_ABS:
            a = load(p, d, i->k);
            break;
        case BPF_ALU | BPF_AND | BPF_K:
            a &= i->k;
            break;
        case BPF_JMP | BPF_JA:
            pc += i->k;
            break;
        case BPF_JMP | BPF_JEQ | BPF_K:
            pc += a == i->k ? i->jt : i->jf;
            break;
        case BPF_JMP | BPF_JGT | BPF_K:
            pc += a > i->k ? i->jt : i->jf;
            break;
        case BPF_JMP | BPF_JGE | BPF_K:
            pc += a >= i->k ? i->jt : i->jf;
            break;
        case BPF_RET | BPF_K:
            return i->k;
        default:
            fail_msg("instruction %#x", i->code);
        }
    }
    fail_msg("the program has no end");
    return 0;
}

static uint32_t answer(const struct program *p, int nr, uint64_t arg0, uint64_t arg1, uint64_t arg2)
{
    const struct seccomp_data d = { .nr = nr, .arch = p->arch, .args = { arg0, arg1, arg2 } };

    return run(p, &d);
}

static const uint32_t refused = SECCOMP_RET_ERRNO | EPERM, unknown = SECCOMP_RET_ERRNO | ENOSYS;

/* ---- every system -------------------------------------------------------------------------------------- */

static const struct system {
    const char *name;
    uint32_t arch;
    bool big_endian;
} systems[] = {
    { "x86_64", SCMP_ARCH_X86_64, false },   { "aarch64", SCMP_ARCH_AARCH64, false },
    { "i386", SCMP_ARCH_X86, false },        { "armhf", SCMP_ARCH_ARM, false },
    { "s390x", SCMP_ARCH_S390X, true },      { "ppc64le", SCMP_ARCH_PPC64LE, false },
    { "riscv64", SCMP_ARCH_RISCV64, false }, { "mips64el", SCMP_ARCH_MIPSEL64, false },
    { "ppc64", SCMP_ARCH_PPC64, true },      { "mipsel", SCMP_ARCH_MIPSEL, false },
};

static int number(const struct system *s, const char *name)
{
    return seccomp_syscall_resolve_name_arch(s->arch, name);
}

static bool is_among(const char *name, const struct sandbox_call *calls)
{
    for (; calls->names[0]; calls++)
        for (const char *const *n = calls->names; *n; n++)
            if (strcmp(*n, name) == 0)
                return true;
    return false;
}

static bool is_listed(const char *name)
{
    return strcmp(name, "tgkill") == 0 || strcmp(name, "clone") == 0 || is_among(name, sandbox_calls) ||
           (SANDBOX_SANITIZED && is_among(name, sandbox_sanitizer_calls));
}

/* Of @names, what the system has passes, and it has one at least. */
static void expect_pass(const struct program *p, const struct system *s, const char *const *names)
{
    size_t there = 0;

    for (; *names; names++) {
        int nr = number(s, *names);

        if (nr < 0)
            continue;
        there++;
        if (answer(p, nr, 0, 0, 0) != SECCOMP_RET_ALLOW)
            fail_msg("%s: %s is refused", s->name, *names);
    }
    if (there == 0)
        fail_msg("%s has no such call", s->name);
}

static void expect(const struct program *p, const struct system *s, const char *name, uint64_t arg0, uint64_t arg1,
                   uint64_t arg2, uint32_t wanted)
{
    int nr = number(s, name);
    uint32_t got = nr < 0 ? wanted : answer(p, nr, arg0, arg1, arg2);

    if (got != wanted)
        fail_msg("%s: %s gets %#x, not %#x", s->name, name, got, wanted);
}

static void reading_passes(void **state)
{
    static const char *const needed[][6] = {
        { "openat" },
        { "close" },
        { "read" },
        { "pread64" },
        { "fadvise64", "fadvise64_64", "arm_fadvise64_64" },
        { "write" },
        { "brk" },
        { "mmap", "mmap2" },
        { "lseek", "_llseek" },
        { "munmap" },
        { "exit_group" },
        { "fcntl", "fcntl64" },

        { "getpid" },
        { "rt_sigprocmask" },
        { "newfstatat", "fstatat64", "statx" },
        { "gettid" },
        { "sysinfo" },
        { "fstatfs", "fstatfs64" },
        { "clock_gettime", "clock_gettime64" },
        { "sched_getaffinity" },
        { "mprotect" },
        { "madvise" },
        { "set_robust_list" },
        { "rseq" },
        { "futex", "futex_time64" },
        { "exit" },
    };
    struct program p;

    (void)state;
    for (size_t i = 0; i < sizeof(systems) / sizeof(systems[0]); i++) {
        make(&p, systems[i].arch, systems[i].big_endian);
        for (size_t k = 0; k < sizeof(needed) / sizeof(needed[0]); k++)
            expect_pass(&p, &systems[i], needed[k]);
        expect(&p, &systems[i], "tgkill", OWN_PID, 1, 6, SECCOMP_RET_ALLOW);
    }
}

static void what_is_not_listed_is_refused_everywhere(void **state)
{
    struct program p;

    (void)state;
    for (size_t i = 0; i < sizeof(systems) / sizeof(systems[0]); i++) {
        const struct system *s = &systems[i];

        make(&p, s->arch, s->big_endian);
        for (int nr = 0; nr < 8192; nr++) { /* those of MIPS begin at 4000 and 5000 */
            char *name = seccomp_syscall_resolve_num_arch(s->arch, nr);
            uint32_t got = answer(&p, nr, UINT64_MAX, UINT64_MAX, UINT64_MAX);

            if (got != refused && got != unknown && (!name || !is_listed(name)))
                fail_msg("%s: %s (%d) gets %#x", s->name, name ? name : "?", nr, got);
            free(name);
        }
        p.arch = s->arch == SCMP_ARCH_X86_64 ? SCMP_ARCH_X86 : SCMP_ARCH_X86_64; /* as if it called the other way in */
        assert_int_equal(answer(&p, 3, 0, 0, 0), refused);
    }
}

static void expect_all(const struct program *p, const struct system *s, const char *const *names, uint32_t wanted)
{
    for (; *names; names++)
        expect(p, s, *names, 3, 0, 0, wanted);
}

/* A socket that is open serves; none is made or connected, and nothing is sent to an address. Some systems have one
 * call for all that is done with sockets; what is theirs is left out here. */
static void an_open_socket_serves_and_no_other(void **state)
{
    static const char *const needed[] = { "recvfrom", "recv", "sendmsg", "poll", "ppoll", "shutdown", NULL };
    static const char *const others[] = {
        "socket", "connect", "bind", "listen", "accept", "accept4", "socketpair", NULL
    };
    struct program p;

    (void)state;
    for (size_t i = 0; i < sizeof(systems) / sizeof(systems[0]); i++) {
        const struct system *s = &systems[i];
        struct seccomp_data d = { .nr = number(s, "sendto"), .arch = s->arch, .args = { 3, 0, 1 } };

        make_connected(&p, s->arch, s->big_endian);
        expect_all(&p, s, needed, SECCOMP_RET_ALLOW);
        expect_all(&p, s, others, refused);
        expect(&p, s, "openat", 0, 0, WRITE_ONLY, refused);
        if (d.nr >= 0) {
            assert_int_equal(run(&p, &d), SECCOMP_RET_ALLOW);
            d.args[5] = 16;
            assert_int_equal(run(&p, &d), refused);
        }
        make(&p, s->arch, s->big_endian);
        expect_all(&p, s, needed, refused);
    }
}

static void arguments_are_looked_at_everywhere(void **state)
{
    const uint64_t junk = UINT64_C(0xffffffff00000000);
    struct program p;

    (void)state;
    for (size_t i = 0; i < sizeof(systems) / sizeof(systems[0]); i++) {
        const struct system *s = &systems[i];

        make(&p, s->arch, s->big_endian);
        expect(&p, s, "openat", 0, 0, WRITE_ONLY, refused);
        expect(&p, s, "openat", 0, 0, READ_WRITE, refused);
        expect(&p, s, "open", 0, READ_WRITE, 0, refused);
        expect(&p, s, "open", 0, 0, 0, SECCOMP_RET_ALLOW);
        expect(&p, s, "openat2", 0, 0, 0, unknown);
        expect(&p, s, "clone3", 0, 0, 0, unknown);
        bool flags_second = s->arch == SCMP_ARCH_S390X;
        expect(&p, s, "clone", flags_second ? 0 : CLONE_THREAD | CLONE_VM, flags_second ? CLONE_THREAD : 0, 0,
               SECCOMP_RET_ALLOW);
        expect(&p, s, "clone", flags_second ? CLONE_THREAD : CLONE_VM, flags_second ? CLONE_VM : CLONE_THREAD, 0,
               SANDBOX_SANITIZED && !flags_second ? SECCOMP_RET_ALLOW : refused);
        expect(&p, s, "clone", 0, 0, 0, refused); /* a process */
        expect(&p, s, "rt_sigaction", 33, 1, 0, SECCOMP_RET_ALLOW);
        expect(&p, s, "rt_sigaction", 11, 1, 0, SANDBOX_SANITIZED ? SECCOMP_RET_ALLOW : refused);
        expect(&p, s, "sched_setaffinity", 0, 8, 1, SECCOMP_RET_ALLOW);
        expect(&p, s, "sched_setaffinity", OWN_PID, 8, 1, refused);
        expect(&p, s, "tgkill", OWN_PID + 1, 1, 9, refused);
        expect(&p, s, "kill", OWN_PID, 9, 0, refused);
        expect(&p, s, "prlimit64", 0, 7, 0, refused);
        expect(&p, s, "prlimit64", OWN_PID + 1, 7, 1, refused);
        expect(&p, s, "ioctl", 1, 0x5412, 0, refused); /* TIOCSTI: type into the terminal */
        if (s->arch != SCMP_ARCH_X86 && s->arch != SCMP_ARCH_ARM && s->arch != SCMP_ARCH_MIPSEL)
            expect(&p, s, "openat", junk, junk, junk, SECCOMP_RET_ALLOW); /* the kernel takes the lower half */
    }
}

/* ---- this system --------------------------------------------------------------------------------------- */

static void the_program_for_this_system_is_built_in(void **state)
{
    const uint32_t pid = OWN_PID;
#define SANDBOX_CONNECTED 0
    const struct sock_filter built_in[] = {
#include "sandbox_filter.inc"
    };
#undef SANDBOX_CONNECTED
#define SANDBOX_CONNECTED 1
    const struct sock_filter connected[] = {
#include "sandbox_filter.inc"
    };
    struct program p;

    (void)state;
    make(&p, seccomp_arch_native(), __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__);
    assert_int_equal(p.n, sizeof(built_in) / sizeof(built_in[0]));
    assert_memory_equal(p.code, built_in, sizeof(built_in));
    make_connected(&p, seccomp_arch_native(), __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__);
    assert_int_equal(p.n, sizeof(connected) / sizeof(connected[0]));
    assert_memory_equal(p.code, connected, sizeof(connected));
}

/* The kernel has its own use of them, lets them past every filter, and ends a process that makes them itself. */
static bool is_for_probes(long nr)
{
#ifdef __x86_64__
    return nr == 335 || nr == 336;
#else
    (void)nr;
    return false;
#endif
}

/* Is any call refused but those that are listed? One that is not may end or stop the process: the alarm tells. */
static int try_all(void)
{
    sandbox_enter(NULL, 0, false);
    for (long nr = 0; nr <= LAST_CALL; nr++) {
        char *name = seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, (int)nr);
        bool listed = (name && is_listed(name)) || is_for_probes(nr);

        free(name);
        if (!listed && (syscall(nr, -1L, -1L, -1L, -1L, -1L, -1L) != -1 || (errno != EPERM && errno != ENOSYS))) {
            fprintf(stderr, "call %ld passes: %s\n", nr, strerror(errno));
            return 1;
        }
    }
    return 0;
}

static void the_kernel_refuses_what_is_not_listed(void **state)
{
    int status;
    pid_t pid;

    (void)state;
    if (!sandbox_has_seccomp())
        return;
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        alarm(60);
        _exit(try_all());
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reading_passes),
        cmocka_unit_test(what_is_not_listed_is_refused_everywhere),
        cmocka_unit_test(arguments_are_looked_at_everywhere),
        cmocka_unit_test(an_open_socket_serves_and_no_other),
        cmocka_unit_test(the_program_for_this_system_is_built_in),
        cmocka_unit_test(the_kernel_refuses_what_is_not_listed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
