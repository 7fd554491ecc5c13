/* sandbox_build.c - a seccomp filter of the calls that reading takes, which refuses all others, by libseccomp
 * SPDX-License-Identifier: MIT
 */
#include "sandbox_build.h"

#include <errno.h>
#include <linux/sched.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <unistd.h>

#include "sandbox_calls.h"

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

static bool add_calls(scmp_filter_ctx filter, const struct sandbox_call *calls)
{
    bool ok = true;

    for (; ok && calls->names[0]; calls++)
        for (const char *const *name = calls->names; ok && *name; name++)
            ok = add_rule(filter, SCMP_ACT_ALLOW, *name, calls->if_);
    return ok;
}

static bool add_rules(scmp_filter_ctx filter, const struct sandbox_system *system)
{
    const struct sandbox_argument own = { 0, UINT32_MAX, MARK_PID };
    /* A thread, no process. s390 has the flags behind the stack. */
    const struct sandbox_argument thread = { system->arch == SCMP_ARCH_S390X || system->arch == SCMP_ARCH_S390,
                                             CLONE_THREAD, CLONE_THREAD };

    /* ENOSYS: as if they were unknown, so that the older call is tried. */
    return add_rule(filter, SCMP_ACT_ALLOW, "tgkill", &own) && add_rule(filter, SCMP_ACT_ALLOW, "clone", &thread) &&
           add_calls(filter, sandbox_calls) && (!system->sanitized || add_calls(filter, sandbox_sanitizer_calls)) &&
           (!system->connected || add_calls(filter, sandbox_connected_calls)) &&
           add_rule(filter, SCMP_ACT_ERRNO(MARK_ENOSYS), "clone3", NULL) &&
           add_rule(filter, SCMP_ACT_ERRNO(MARK_ENOSYS), "openat2", NULL);
}

static scmp_filter_ctx make_filter(const struct sandbox_system *system)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    uint32_t native = seccomp_arch_native();
    bool ok = filter && seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_ERRNO(EPERM)) == 0 &&
              /* a tree: the kernel tries a new filter on every call there is, which takes twice as long in a list */
              seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2) == 0;

    if (ok && system->arch != native)
        ok = seccomp_arch_remove(filter, native) == 0 && seccomp_arch_add(filter, system->arch) == 0;
    if (ok && add_rules(filter, system))
        return filter;
    if (filter)
        seccomp_release(filter);
    return NULL;
}

/* libseccomp writes a program only into a file. */
static size_t export(scmp_filter_ctx filter, struct sock_filter *code, size_t max)
{
    int fd = memfd_create("filter", MFD_CLOEXEC);
    ssize_t got = fd >= 0 && seccomp_export_bpf(filter, fd) == 0 ? pread(fd, code, max * sizeof(*code), 0) : -1;

    if (fd >= 0)
        close(fd);
    return got > 0 && (size_t)got < max * sizeof(*code) ? (size_t)got / sizeof(*code) : 0;
}

size_t sandbox_program(const struct sandbox_system *system, struct sock_filter *code, size_t max)
{
    scmp_filter_ctx filter = make_filter(system);
    size_t n = filter ? export(filter, code, max) : 0;

    if (filter)
        seccomp_release(filter);
    for (size_t i = 0; system->big_endian != (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__) && i < n; i++) {
        code[i].code = __builtin_bswap16(code[i].code); /* it is in the order of bytes there */
        code[i].k = __builtin_bswap32(code[i].k);
    }
    return n;
}
