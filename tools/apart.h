/* apart.h - work in a process of its own
 * SPDX-License-Identifier: MIT
 */
#ifndef QCBM_TOOL_APART_H
#define QCBM_TOOL_APART_H

/* Run @job in a process of its own, which can shut itself in while this one goes on with what it has open. Returns what
 * the job returned, an exit code; one that was ended by a signal has failed, which is said. */
int run_apart(int (*job)(void *arg), void *arg);

#endif
