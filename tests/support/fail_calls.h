/* fail_calls.h - makes one call of the library fail: an allocation, or a system call on its files
 * SPDX-License-Identifier: MIT
 *
 * A program that uses this links the calls with --wrap (see tests/support/meson.build), so only calls from its own
 * objects and from the archive of the library are seen. Nothing fails while it is not armed. */
#ifndef TESTS_FAIL_CALLS_H
#define TESTS_FAIL_CALLS_H

#include <stdbool.h>
#include <stdint.h>

enum fail_call {
    FAIL_ALLOC,
    FAIL_OPEN,
    FAIL_LOCK, /* fcntl() */
    FAIL_READ,
    FAIL_WRITE,
    FAIL_FLUSH,
    FAIL_GROW,    /* ftruncate() */
    FAIL_RESERVE, /* fallocate() */
    FAIL_SEEK,
    FAIL_CALLS
};

enum fail_how {
    FAIL_ERROR, /* the call fails with @error */
    FAIL_ALL,   /* and so does each later one of its kind */
    FAIL_SHORT, /* half of the bytes are moved, and the call says so */
    FAIL_TORN   /* so, but of a write only whole sectors, and the next call of its kind fails with @error */
};

struct fail_plan {
    enum fail_call call;
    uint64_t at; /* the first call is 1 */
    enum fail_how how;
    int error;
};

struct fail_report {
    bool fired;
    uint64_t calls[FAIL_CALLS];
    uint64_t late_writes; /* after a flush that failed for good */
    int64_t live_blocks;  /* allocated and not freed while armed */
};

void fail_arm(const struct fail_plan *plan);
struct fail_report fail_disarm(void);

#endif
