/* draw.h - numbers drawn from a seed: spread evenly, the same each time, and no secret
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_DRAW_H
#define QCBMI_DRAW_H

#include <stdint.h>

/* The next one of the row that *@state, a seed at first, is in (splitmix64). */
static inline uint64_t qcbmi_draw(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

#endif
