/* q2_l2_scan_portable.c - q2_l2_scan() on any machine, one entry after the other
 * SPDX-License-Identifier: MIT */
#include "base/bits.h"
#include "base/bytes.h"
#include "format/q2_l2_scan.h"

/* Offset 0 wraps around, and is not below the end. */
static bool is_sound(const struct q2_l2_scan *s, uint64_t raw)
{
    return (raw & s->odd_bits) == 0 && (raw & Q2_ENTRY_OFFSET_MASK) - 1 < s->offset_end - 1;
}

uint32_t q2_l2_scan_count_parts(const uint8_t *entries, uint64_t some)
{
    uint32_t n = 0;

    for (; some; some &= some - 1)
        n += u64_count(le64_load(entries + 16 * (size_t)__builtin_ctzll(some) + 8));
    return n;
}

void q2_l2_scan_rest_standard(const struct q2_l2_scan *s, const uint8_t *entries, uint32_t from, uint32_t n,
                              struct q2_l2_masks *out)
{
    uint64_t plain = 0, mapped = 0;

    for (uint32_t i = from; i < n; i++) {
        uint64_t raw = be64_load(entries + 8 * (size_t)i);

        mapped |= (uint64_t)(raw != 0) << i;
        plain |= (uint64_t)is_sound(s, raw) << i;
    }
    out->plain |= plain;
    out->odd |= mapped & ~plain;
}

void q2_l2_scan_rest_extended(const struct q2_l2_scan *s, const uint8_t *entries, uint32_t from, uint32_t n,
                              struct q2_l2_masks *out)
{
    uint64_t sound = 0, mapped = 0, all = 0, some = 0;

    for (uint32_t i = from; i < n; i++) {
        uint64_t raw = be64_load(entries + 16 * (size_t)i), word = be64_load(entries + 16 * (size_t)i + 8);

        mapped |= (uint64_t)((raw | word) != 0) << i;
        sound |= (uint64_t)(is_sound(s, raw) && (word >> 32 & word) == 0) << i;
        all |= (uint64_t)(word == Q2_SUBCLUSTERS_ALL_DATA) << i;
        some |= (uint64_t)(word != 0) << i;
    }
    out->plain |= sound & all;
    out->odd |= mapped & ~(sound & all);
    out->mixed |= sound & ~all;
    out->some |= sound & ~all & some;
    out->parts += q2_l2_scan_count_parts(entries, sound & ~all & some);
}

void q2_l2_scan_portable_standard(const struct q2_l2_scan *s, const uint8_t *entries, uint32_t n,
                                  struct q2_l2_masks *out)
{
    *out = (struct q2_l2_masks){ 0 };
    q2_l2_scan_rest_standard(s, entries, 0, n, out);
}

void q2_l2_scan_portable_extended(const struct q2_l2_scan *s, const uint8_t *entries, uint32_t n,
                                  struct q2_l2_masks *out)
{
    *out = (struct q2_l2_masks){ 0 };
    q2_l2_scan_rest_extended(s, entries, 0, n, out);
}
