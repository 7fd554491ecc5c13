/* sandbox_calls.h - the system calls that reading an image takes, and a seccomp filter that refuses all others
 * SPDX-License-Identifier: MIT
 */
#ifndef QCBM_TOOL_SANDBOX_CALLS_H
#define QCBM_TOOL_SANDBOX_CALLS_H

#include <seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* How the bits @mask of argument @arg must be for a call to pass. */
struct sandbox_argument {
    unsigned arg;
    scmp_datum_t mask, value;
};

/* What is done, and the calls that systems and C libraries have for it; those that a system lacks are left out. */
struct sandbox_call {
    const char *names[6];               /* ended by NULL */
    const struct sandbox_argument *if_; /* NULL: passes always */
};

/* Ended by a row without names. */
extern const struct sandbox_call sandbox_calls[];

/* The filter for programs of @arch (SCMP_ARCH_...) with the process id @pid. Refusals are EPERM; ENOSYS for newer calls whose
 * arguments no filter can see. NULL if libseccomp cannot make it. Free it with seccomp_release(). */
scmp_filter_ctx sandbox_filter(uint32_t arch, pid_t pid);

#endif
