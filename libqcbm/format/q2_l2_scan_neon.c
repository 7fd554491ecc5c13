/* q2_l2_scan_neon.c - q2_l2_scan() with the registers that every 64-bit ARM has, two entries at a time
 * SPDX-License-Identifier: MIT */
#include "format/q2_l2_scan.h"

#if defined(__aarch64__)
#include <arm_neon.h>

struct rules {
    uint64x2_t odd_bits, end, copied;
};

static struct rules make_rules(const struct q2_l2_scan *s)
{
    return (struct rules){ vdupq_n_u64(s->odd_bits), vdupq_n_u64(s->offset_end), vdupq_n_u64(Q2_ENTRY_COPIED) };
}

static inline uint64x2_t load(const uint8_t *at)
{
    uint8x16_t v = vld1q_u8(at);

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    v = vrev64q_u8(v);
#endif
    return vreinterpretq_u64_u8(v);
}

/* Does it name an aligned cluster in the file, and has no flag but COPIED? */
static inline uint64x2_t sound_of(const struct rules *r, uint64x2_t raw)
{
    uint64x2_t offset = vbicq_u64(raw, r->copied);
    uint64x2_t fits = vandq_u64(vceqzq_u64(vandq_u64(raw, r->odd_bits)), vcltq_u64(offset, r->end));

    return vbicq_u64(fits, vceqzq_u64(offset));
}

/* Of each of two comparisons the bit of its entry. */
static inline uint64_t bits(uint64x2_t sums)
{
    return vgetq_lane_u64(sums, 0) | vgetq_lane_u64(sums, 1);
}

void q2_l2_scan_neon_standard(const struct q2_l2_scan *s, const uint8_t *entries, uint32_t n, struct q2_l2_masks *out)
{
    const struct rules r = make_rules(s);
    uint64x2_t plain = vdupq_n_u64(0), odd = plain, bit = vcombine_u64(vcreate_u64(1), vcreate_u64(2));
    uint32_t whole = n & ~1u;

    for (uint32_t i = 0; i < whole; i += 2) {
        uint64x2_t raw = load(entries + 8 * (size_t)i), sound = sound_of(&r, raw);

        plain = vorrq_u64(plain, vandq_u64(bit, sound));
        odd = vorrq_u64(odd, vbicq_u64(bit, vorrq_u64(sound, vceqzq_u64(raw))));
        bit = vshlq_n_u64(bit, 2);
    }
    *out = (struct q2_l2_masks){ .plain = bits(plain), .odd = bits(odd) };
    if (whole < n)
        q2_l2_scan_rest_standard(s, entries, whole, n, out);
}

void q2_l2_scan_neon_extended(const struct q2_l2_scan *s, const uint8_t *entries, uint32_t n, struct q2_l2_masks *out)
{
    const struct rules r = make_rules(s);
    const uint64x2_t data = vdupq_n_u64(Q2_SUBCLUSTERS_ALL_DATA);
    uint64x2_t plain = vdupq_n_u64(0), odd = plain, mixed = plain, some = plain;
    uint64x2_t bit = vcombine_u64(vcreate_u64(1), vcreate_u64(2));
    uint32_t whole = n & ~1u;

    for (uint32_t i = 0; i < whole; i += 2) {
        uint64x2_t a = load(entries + 16 * (size_t)i), b = load(entries + 16 * (size_t)i + 16);
        uint64x2_t raw = vzip1q_u64(a, b), word = vzip2q_u64(a, b);
        uint64x2_t possible = vceqzq_u64(vandq_u64(vshrq_n_u64(word, 32), word));
        uint64x2_t sound = vandq_u64(sound_of(&r, raw), possible), all = vandq_u64(sound, vceqq_u64(word, data));
        uint64x2_t other = vandq_u64(bit, vbicq_u64(sound, all));

        plain = vorrq_u64(plain, vandq_u64(bit, all));
        odd = vorrq_u64(odd, vbicq_u64(bit, vorrq_u64(all, vceqzq_u64(vorrq_u64(raw, word)))));
        mixed = vorrq_u64(mixed, other);
        some = vorrq_u64(some, vbicq_u64(other, vceqzq_u64(word)));
        bit = vshlq_n_u64(bit, 2);
    }
    *out = (struct q2_l2_masks){ bits(plain), bits(odd), bits(mixed), bits(some), 0 };
    out->parts = q2_l2_scan_count_parts(entries, out->some);
    if (whole < n)
        q2_l2_scan_rest_extended(s, entries, whole, n, out);
}
#else
typedef int q2_l2_scan_neon_is_empty; /* ISO C wants something in a file */
#endif
