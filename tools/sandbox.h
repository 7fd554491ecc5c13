/* sandbox.h - shut the process in before it looks at an image that nobody has vouched for
 * SPDX-License-Identifier: MIT
 */
#ifndef QCBM_TOOL_SANDBOX_H
#define QCBM_TOOL_SANDBOX_H

#include <stdbool.h>
#include <stddef.h>

/* LeakSanitizer looks at its own process from a thread-like child when the program ends; the rest stays forbidden. */
#ifdef __has_feature
#define SANDBOX_HAS_FEATURE(x) __has_feature(x)
#else
#define SANDBOX_HAS_FEATURE(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || SANDBOX_HAS_FEATURE(address_sanitizer)
#define SANDBOX_SANITIZED 1
#else
#define SANDBOX_SANITIZED 0
#endif

/* From here on this process reads the @n @files and no others (with @read_all any file), and neither writes or makes
 * files, nor runs programs, nor talks to the network or to other processes; what it tries all the same fails with EPERM
 * or EACCES. Descriptors that are open stay as they are. NULL among @files is skipped. Where the kernel lacks one
 * of the two means (Landlock, seccomp) the other one works alone, silently. There is no way back. */
void sandbox_enter(const char *const *files, size_t n, bool read_all);

/* The same for a process that has connected to a server: what goes over sockets that are open passes as well, and no
 * socket can be made or connected. Threads that run already are not shut in. */
void sandbox_enter_connected(const char *const *files, size_t n, bool read_all);

/* What sandbox_enter() can rely on here: the version of Landlock, 0 for none; whether there will be a filter. */
int sandbox_landlock_abi(void);
bool sandbox_has_seccomp(void);

#endif
