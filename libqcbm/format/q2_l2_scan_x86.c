/* q2_l2_scan_x86.c - q2_l2_scan() with the registers of x86: four entries at a time by AVX2, two by SSE2
 * SPDX-License-Identifier: MIT */
#include "format/q2_l2_scan.h"

#if defined(__x86_64__) || defined(__i386__)
#include <immintrin.h>

/* What the C library found out when it began: in a virtual machine each question to the processor itself takes longer
 * than opening a small image. */
#if defined(__GLIBC__) && defined(__has_include)
#if __has_include(<sys/platform/x86.h>)
#include <sys/platform/x86.h>
#define HAS_AVX2 CPU_FEATURE_ACTIVE(AVX2)
#define HAS_SSE2 CPU_FEATURE_ACTIVE(SSE2)
#endif
#endif
#ifndef HAS_AVX2
#define HAS_AVX2 __builtin_cpu_supports("avx2")
#define HAS_SSE2 __builtin_cpu_supports("sse2")
#endif

/* Where no odd bit is set, all but COPIED is offset. It is below the end where the difference has a sign: both are
 * below 2^63. */

bool q2_l2_scan_has_avx2(void)
{
    return HAS_AVX2;
}

bool q2_l2_scan_has_sse2(void)
{
    return HAS_SSE2;
}

#define AVX2 __attribute__((target("avx2")))
#define SSE2 __attribute__((target("sse2")))

struct avx2_rules {
    __m256i odd_bits, end, copied, order, zero;
};

static AVX2 struct avx2_rules avx2_rules(const struct q2_l2_scan *s)
{
    return (struct avx2_rules){
        .odd_bits = _mm256_set1_epi64x((long long)s->odd_bits),
        .end = _mm256_set1_epi64x((long long)s->offset_end),
        .copied = _mm256_set1_epi64x((long long)Q2_ENTRY_COPIED),
        .order = _mm256_set_epi8(8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 0,
                                 1, 2, 3, 4, 5, 6, 7),
        .zero = _mm256_setzero_si256(),
    };
}

static inline AVX2 __m256i avx2_load(const struct avx2_rules *r, const uint8_t *at)
{
    return _mm256_shuffle_epi8(_mm256_loadu_si256((const __m256i *)(const void *)at), r->order);
}

/* The sign of each: does it name an aligned cluster in the file, and has no flag but COPIED? */
static inline AVX2 __m256i avx2_sound(const struct avx2_rules *r, __m256i raw)
{
    __m256i offset = _mm256_andnot_si256(r->copied, raw);
    __m256i no_odd = _mm256_cmpeq_epi64(_mm256_and_si256(raw, r->odd_bits), r->zero);
    __m256i none = _mm256_cmpeq_epi64(offset, r->zero);

    return _mm256_andnot_si256(none, _mm256_and_si256(no_odd, _mm256_sub_epi64(offset, r->end)));
}

static inline AVX2 uint64_t avx2_signs(__m256i v)
{
    return (uint64_t)(unsigned)_mm256_movemask_pd(_mm256_castsi256_pd(v));
}

/* Are all of 64 entries plain, as where all of a disk was written? */
static inline AVX2 bool avx2_all_plain(const struct avx2_rules *r, const uint8_t *entries)
{
    __m256i any = r->zero, none = r->zero, below = _mm256_set1_epi64x(-1);

    if (avx2_signs(avx2_sound(r, avx2_load(r, entries))) != 15)
        return false;
    for (size_t i = 0; i < 8 * Q2_L2_SCAN_MAX; i += 32) {
        __m256i raw = avx2_load(r, entries + i), offset = _mm256_andnot_si256(r->copied, raw);

        any = _mm256_or_si256(any, raw);
        none = _mm256_or_si256(none, _mm256_cmpeq_epi64(offset, r->zero));
        below = _mm256_and_si256(below, _mm256_sub_epi64(offset, r->end));
    }
    return _mm256_testz_si256(any, r->odd_bits) && avx2_signs(_mm256_andnot_si256(none, below)) == 15;
}

AVX2 void q2_l2_scan_avx2_standard(const struct q2_l2_scan *s, const uint8_t *entries, uint32_t n,
                                   struct q2_l2_masks *out)
{
    const struct avx2_rules r = avx2_rules(s);
    uint64_t plain = 0, blank = 0;
    uint32_t whole = n & ~3u;

    if (n == Q2_L2_SCAN_MAX && avx2_all_plain(&r, entries)) {
        *out = (struct q2_l2_masks){ .plain = UINT64_MAX };
        return;
    }
    for (uint32_t i = 0; i < whole; i += 4) {
        __m256i raw = avx2_load(&r, entries + 8 * (size_t)i);

        plain |= avx2_signs(avx2_sound(&r, raw)) << i;
        blank |= avx2_signs(_mm256_cmpeq_epi64(raw, r.zero)) << i;
    }
    blank |= whole < 64 ? UINT64_MAX << whole : 0;
    *out = (struct q2_l2_masks){ .plain = plain, .odd = ~(plain | blank) };
    if (whole < n)
        q2_l2_scan_rest_standard(s, entries, whole, n, out);
}

/* Of each byte, how many bits are set. */
static inline AVX2 __m256i avx2_count(__m256i v)
{
    const __m256i of_four =
        _mm256_set_epi8(4, 3, 3, 2, 3, 2, 2, 1, 3, 2, 2, 1, 2, 1, 1, 0, 4, 3, 3, 2, 3, 2, 2, 1, 3, 2, 2, 1, 2, 1, 1, 0);
    const __m256i low = _mm256_set1_epi8(15);
    __m256i above = _mm256_and_si256(_mm256_srli_epi16(v, 4), low);

    return _mm256_add_epi8(_mm256_shuffle_epi8(of_four, _mm256_and_si256(v, low)), _mm256_shuffle_epi8(of_four, above));
}

static inline AVX2 uint32_t avx2_sum(__m256i bytes)
{
    __m256i sums = _mm256_sad_epu8(bytes, _mm256_setzero_si256());
    __m128i two = _mm_add_epi64(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1));

    return (uint32_t)(_mm_cvtsi128_si32(two) + _mm_extract_epi16(two, 4));
}

AVX2 void q2_l2_scan_avx2_extended(const struct q2_l2_scan *s, const uint8_t *entries, uint32_t n,
                                   struct q2_l2_masks *out)
{
    const struct avx2_rules r = avx2_rules(s);
    const __m256i data = _mm256_set1_epi64x((long long)Q2_SUBCLUSTERS_ALL_DATA);
    uint64_t sound = 0, blank = 0, all = 0, none = 0;
    __m256i parts = _mm256_setzero_si256();
    uint32_t whole = n & ~3u;

    for (uint32_t i = 0; i < whole; i += 4) {
        __m256i a = avx2_load(&r, entries + 16 * (size_t)i), b = avx2_load(&r, entries + 16 * (size_t)i + 32);
        __m256i raw = _mm256_permute4x64_epi64(_mm256_unpacklo_epi64(a, b), 0xd8);
        __m256i word = _mm256_permute4x64_epi64(_mm256_unpackhi_epi64(a, b), 0xd8);
        __m256i clash = _mm256_and_si256(_mm256_srli_epi64(word, 32), word);
        __m256i fine = _mm256_and_si256(avx2_sound(&r, raw), _mm256_cmpeq_epi64(clash, r.zero));
        __m256i whole_ones = _mm256_cmpeq_epi64(word, data), other = _mm256_cmpgt_epi64(r.zero, fine);

        sound |= avx2_signs(fine) << i;
        all |= avx2_signs(whole_ones) << i;
        parts = _mm256_add_epi8(parts, avx2_count(_mm256_andnot_si256(whole_ones, _mm256_and_si256(other, word))));
        none |= avx2_signs(_mm256_cmpeq_epi64(word, r.zero)) << i;
        blank |= avx2_signs(_mm256_cmpeq_epi64(_mm256_or_si256(raw, word), r.zero)) << i;
    }
    blank |= whole < 64 ? UINT64_MAX << whole : 0;
    *out = (struct q2_l2_masks){ sound & all, ~(blank | (sound & all)), sound & ~all, sound & ~all & ~none,
                                 avx2_sum(parts) };
    if (whole < n)
        q2_l2_scan_rest_extended(s, entries, whole, n, out);
}

struct sse2_rules {
    __m128i odd_bits, end, copied, zero;
};

static SSE2 struct sse2_rules sse2_rules(const struct q2_l2_scan *s)
{
    return (struct sse2_rules){
        .odd_bits = _mm_set1_epi64x((long long)s->odd_bits),
        .end = _mm_set1_epi64x((long long)s->offset_end),
        .copied = _mm_set1_epi64x((long long)Q2_ENTRY_COPIED),
        .zero = _mm_setzero_si128(),
    };
}

static inline SSE2 __m128i sse2_load(const uint8_t *at)
{
    __m128i v = _mm_loadu_si128((const __m128i *)(const void *)at);

    v = _mm_or_si128(_mm_slli_epi16(v, 8), _mm_srli_epi16(v, 8));
    return _mm_shufflehi_epi16(_mm_shufflelo_epi16(v, 0x1b), 0x1b);
}

static inline SSE2 __m128i sse2_equal(__m128i a, __m128i b)
{
    __m128i halves = _mm_cmpeq_epi32(a, b);

    return _mm_and_si128(halves, _mm_shuffle_epi32(halves, 0xb1));
}

static inline SSE2 __m128i sse2_sound(const struct sse2_rules *r, __m128i raw)
{
    __m128i offset = _mm_andnot_si128(r->copied, raw);
    __m128i no_odd = sse2_equal(_mm_and_si128(raw, r->odd_bits), r->zero);

    return _mm_andnot_si128(sse2_equal(offset, r->zero), _mm_and_si128(no_odd, _mm_sub_epi64(offset, r->end)));
}

static inline SSE2 uint64_t sse2_signs(__m128i v)
{
    return (uint64_t)(unsigned)_mm_movemask_pd(_mm_castsi128_pd(v));
}

SSE2 void q2_l2_scan_sse2_standard(const struct q2_l2_scan *s, const uint8_t *entries, uint32_t n,
                                   struct q2_l2_masks *out)
{
    const struct sse2_rules r = sse2_rules(s);
    uint64_t plain = 0, blank = 0;
    uint32_t whole = n & ~1u;

    for (uint32_t i = 0; i < whole; i += 2) {
        __m128i raw = sse2_load(entries + 8 * (size_t)i);

        plain |= sse2_signs(sse2_sound(&r, raw)) << i;
        blank |= sse2_signs(sse2_equal(raw, r.zero)) << i;
    }
    blank |= whole < 64 ? UINT64_MAX << whole : 0;
    *out = (struct q2_l2_masks){ .plain = plain, .odd = ~(plain | blank) };
    if (whole < n)
        q2_l2_scan_rest_standard(s, entries, whole, n, out);
}

SSE2 void q2_l2_scan_sse2_extended(const struct q2_l2_scan *s, const uint8_t *entries, uint32_t n,
                                   struct q2_l2_masks *out)
{
    const struct sse2_rules r = sse2_rules(s);
    const __m128i data = _mm_set1_epi64x((long long)Q2_SUBCLUSTERS_ALL_DATA);
    uint64_t sound = 0, blank = 0, all = 0, none = 0;
    uint32_t whole = n & ~1u;

    for (uint32_t i = 0; i < whole; i += 2) {
        __m128i a = sse2_load(entries + 16 * (size_t)i), b = sse2_load(entries + 16 * (size_t)i + 16);
        __m128i raw = _mm_unpacklo_epi64(a, b), word = _mm_unpackhi_epi64(a, b);
        __m128i possible = sse2_equal(_mm_and_si128(_mm_srli_epi64(word, 32), word), r.zero);

        sound |= sse2_signs(_mm_and_si128(sse2_sound(&r, raw), possible)) << i;
        all |= sse2_signs(sse2_equal(word, data)) << i;
        none |= sse2_signs(sse2_equal(word, r.zero)) << i;
        blank |= sse2_signs(sse2_equal(_mm_or_si128(raw, word), r.zero)) << i;
    }
    blank |= whole < 64 ? UINT64_MAX << whole : 0;
    *out = (struct q2_l2_masks){ sound & all, ~(blank | (sound & all)), sound & ~all, sound & ~all & ~none, 0 };
    out->parts = q2_l2_scan_count_parts(entries, out->some);
    if (whole < n)
        q2_l2_scan_rest_extended(s, entries, whole, n, out);
}
#else
typedef int q2_l2_scan_x86_is_empty; /* ISO C wants something in a file */
#endif
