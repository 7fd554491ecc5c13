/* sandbox_build.h - a seccomp filter of the calls that reading takes, which refuses all others, by libseccomp
 * SPDX-License-Identifier: MIT
 */
#ifndef QCBM_TOOL_SANDBOX_BUILD_H
#define QCBM_TOOL_SANDBOX_BUILD_H

#include <linux/filter.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a filter is for. */
struct sandbox_system {
    uint32_t arch; /* SCMP_ARCH_... of libseccomp */
    bool big_endian;
    bool sanitized; /* a program with AddressSanitizer */
    bool connected; /* one that reads through a socket that is open */
};

/* The filter's program for @system, with the marks of sandbox_calls.h in it. Refusals are EPERM; ENOSYS for newer calls
 * whose arguments no filter can see. Returns the number of instructions; 0 if libseccomp cannot make it, or in less
 * than @max. */
size_t sandbox_program(const struct sandbox_system *system, struct sock_filter *code, size_t max);

#endif
