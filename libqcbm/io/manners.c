/* manners.c - how much of the machine the reading of files takes, as this process has asked for
 * SPDX-License-Identifier: MIT
 *
 * Of the process, and not of an image: layers are opened by the library itself, and what bounds a disk or a network is
 * the sum of all that is read. */
#include "io/manners.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <time.h>

/* One wait is for so many bytes at most, so that a slow rate is an even one. */
#define PIECE ((size_t)256 << 10)
#define SECOND UINT64_C(1000000000)

static atomic_bool no_cache;
static _Atomic uint64_t rate;      /* bytes a second, 0: no bound */
static _Atomic uint64_t next_time; /* when the next piece may be read, in nanoseconds of the monotonic clock */

void qcbm_set_manners(unsigned flags, uint64_t max_read_bytes)
{
    atomic_store(&no_cache, (flags & QCBM_MANNERS_NO_CACHE) != 0);
    atomic_store(&rate, max_read_bytes);
    atomic_store(&next_time, 0);
}

static uint64_t now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * SECOND + (uint64_t)t.tv_nsec;
}

/* Threads take their turns here, each behind the bytes of the one before. */
static uint64_t take_turn(uint64_t length)
{
    uint64_t old = atomic_load(&next_time), begin;

    do {
        uint64_t t = now();

        begin = old > t ? old : t;
    } while (!atomic_compare_exchange_weak(&next_time, &old, begin + length));
    return begin;
}

size_t qcbmi_manners_before_read(size_t want)
{
    uint64_t per_second = atomic_load_explicit(&rate, memory_order_relaxed);
    struct timespec until;
    uint64_t begin;

    if (per_second == 0)
        return want;
    want = want < PIECE ? want : PIECE;
    begin = take_turn(want * SECOND / per_second);
    until = (struct timespec){ (time_t)(begin / SECOND), (long)(begin % SECOND) };
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR)
        ;
    return want;
}

void qcbmi_manners_before_close(int fd)
{
    /* Advice: where it is not taken nothing is lost. */
    if (atomic_load_explicit(&no_cache, memory_order_relaxed))
        (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
}
