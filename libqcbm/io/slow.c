/* slow.c - do reads wait for a disk?
 * SPDX-License-Identifier: MIT */
#include "io/slow.h"

#include <time.h>

uint64_t qcbmi_read_begins(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* From memory a read takes a tenth of this, or was interrupted. */
bool qcbmi_read_was_slow(uint64_t begun, uint64_t bytes)
{
    return qcbmi_read_begins() - begun > 20000 + bytes / 2;
}
