/* bits.h - how many bits of a word are set
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_BITS_H
#define QCBMI_BITS_H

#include <stdint.h>

/* By pairs, fours and bytes: what the compiler calls for processors without such an instruction is slower. */
static inline uint32_t u64_count(uint64_t word)
{
    word -= word >> 1 & UINT64_C(0x5555555555555555);
    word = (word & UINT64_C(0x3333333333333333)) + (word >> 2 & UINT64_C(0x3333333333333333));
    word = (word + (word >> 4)) & UINT64_C(0x0f0f0f0f0f0f0f0f);
    return (uint32_t)(word * UINT64_C(0x0101010101010101) >> 56);
}

#endif
