/* q2_l2_follow_portable.c - do the entries of a group go on with a run of clusters? On any machine
 * SPDX-License-Identifier: MIT */
#include "base/bytes.h"
#include "format/q2_l2_follow.h"

uint64_t q2_l2_follow_standard(const uint8_t *at, uint64_t want, unsigned cluster_bits)
{
    uint64_t cs = UINT64_C(1) << cluster_bits, first = want, wrong = 0;

    for (size_t i = 0; i < 8 * Q2_L2_GROUP; i += 8) {
        uint64_t raw = be64_load(at + i), named = raw ? UINT64_MAX : 0;

        wrong |= (raw ^ want) & named;
        want += cs & named;
    }
    return wrong ? Q2_L2_OTHERWISE : (want - first) >> cluster_bits;
}

uint64_t q2_l2_follow_extended(const uint8_t *at, uint64_t want, unsigned cluster_bits)
{
    uint64_t cs = UINT64_C(1) << cluster_bits, first = want, wrong = 0;

    for (size_t i = 0; i < 16 * Q2_L2_GROUP; i += 16) {
        uint64_t raw = be64_load(at + i), word = be64_load(at + i + 8), named = raw | word ? UINT64_MAX : 0;

        wrong |= ((raw ^ want) & named) | q2_l2_clash(word);
        want += cs & named;
    }
    return wrong ? Q2_L2_OTHERWISE : (want - first) >> cluster_bits;
}
