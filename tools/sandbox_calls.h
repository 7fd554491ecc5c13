/* sandbox_calls.h - the system calls that reading an image takes
 * SPDX-License-Identifier: MIT
 */
#ifndef QCBM_TOOL_SANDBOX_CALLS_H
#define QCBM_TOOL_SANDBOX_CALLS_H

#include <stddef.h>
#include <stdint.h>

/* The filter is made on the machine that builds, for one that has numbers of its own for some things. In their place
 * stand these, which nothing else is; sandbox_make.c writes the names that C has for them. */
enum {
    MARK_PID = 0x70000001,
    MARK_OPEN_TO_CHANGE = 0x70000002,
    MARK_TCGETS = 0x70000003,
    MARK_FSGETXATTR = 0x70000004,
    MARK_ENOSYS = 0xabc, /* a filter has 16 bits for an errno */
};

/* How the bits @mask of argument @arg must be for a call to pass. */
struct sandbox_argument {
    unsigned arg;
    uint32_t mask, value;
};

/* What is done, and the calls that systems and C libraries have for it; those that a system lacks are left out. */
struct sandbox_call {
    const char *names[6];               /* ended by NULL */
    const struct sandbox_argument *if_; /* NULL: passes always */
};

/* Ended by a row without names. */
extern const struct sandbox_call sandbox_calls[];
/* What reading through a socket that is open takes besides. */
extern const struct sandbox_call sandbox_connected_calls[];
/* What AddressSanitizer makes besides. */
extern const struct sandbox_call sandbox_sanitizer_calls[];

#endif
