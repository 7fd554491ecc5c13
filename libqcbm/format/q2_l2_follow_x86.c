/* q2_l2_follow_x86.c - do the entries of a group go on with a run of clusters? Four at a time, by AVX2
 * SPDX-License-Identifier: MIT */
#include "format/q2_l2_follow.h"

#if defined(__x86_64__) || defined(__i386__)
#include <immintrin.h>

#define AVX2 __attribute__((target("avx2")))

static inline AVX2 __m256i load(const uint8_t *at)
{
    const __m256i order = _mm256_set_epi8(8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13,
                                          14, 15, 0, 1, 2, 3, 4, 5, 6, 7);

    return _mm256_shuffle_epi8(_mm256_loadu_si256((const __m256i *)(const void *)at), order);
}

static inline AVX2 __m256i all(uint64_t value)
{
    return _mm256_set1_epi64x((long long)value);
}

/* No entry of zeros, as where all of a disk was written. */
static inline AVX2 bool follow_closely(const uint8_t *at, uint64_t want, unsigned cluster_bits)
{
    uint64_t cs = UINT64_C(1) << cluster_bits;
    __m256i next =
        _mm256_add_epi64(all(want), _mm256_set_epi64x((long long)(3 * cs), (long long)(2 * cs), (long long)cs, 0));
    __m256i wrong = _mm256_xor_si256(load(at), next);

    if (!_mm256_testz_si256(wrong, wrong)) /* as nearly always where zeros lie between */
        return false;
    for (size_t i = 32; i < 8 * Q2_L2_GROUP; i += 32) {
        next = _mm256_add_epi64(next, all(4 * cs));
        wrong = _mm256_or_si256(wrong, _mm256_xor_si256(load(at + i), next));
    }
    return _mm256_testz_si256(wrong, wrong);
}

/* Of four entries, by which are zeros: how many others lie before each, and how many there are. */
static const uint64_t others_before[16][4] = {
    { 0, 1, 2, 3 }, { 0, 0, 1, 2 }, { 0, 1, 1, 2 }, { 0, 0, 0, 1 }, { 0, 1, 2, 2 }, { 0, 0, 1, 1 },
    { 0, 1, 1, 1 }, { 0, 0, 0, 0 }, { 0, 1, 2, 3 }, { 0, 0, 1, 2 }, { 0, 1, 1, 2 }, { 0, 0, 0, 1 },
    { 0, 1, 2, 2 }, { 0, 0, 1, 1 }, { 0, 1, 1, 1 }, { 0, 0, 0, 0 },
};
static const uint64_t n_others[16] = { 4, 3, 3, 2, 3, 2, 2, 1, 3, 2, 2, 1, 2, 1, 1, 0 };

AVX2 uint64_t q2_l2_follow_avx2_standard(const uint8_t *at, uint64_t want, unsigned cluster_bits)
{
    const __m128i shift = _mm_cvtsi32_si128((int)cluster_bits);
    __m256i base = all(want), wrong = _mm256_setzero_si256(), none = wrong;
    uint64_t named = 0;

    if (follow_closely(at, want, cluster_bits))
        return Q2_L2_GROUP;
    for (size_t i = 0; i < 8 * Q2_L2_GROUP; i += 32) {
        __m256i raw = load(at + i), zeros = _mm256_cmpeq_epi64(raw, none);
        unsigned which = (unsigned)_mm256_movemask_pd(_mm256_castsi256_pd(zeros));
        __m256i before = _mm256_loadu_si256((const __m256i *)(const void *)others_before[which]);
        __m256i next = _mm256_add_epi64(base, _mm256_sll_epi64(before, shift));

        wrong = _mm256_or_si256(wrong, _mm256_andnot_si256(zeros, _mm256_xor_si256(raw, next)));
        base = _mm256_add_epi64(base, _mm256_sll_epi64(all(n_others[which]), shift));
        named += n_others[which];
    }
    return _mm256_testz_si256(wrong, wrong) ? named : Q2_L2_OTHERWISE;
}

/* Two entries at a time, each with its word. Where some are zeros, the portable one has a look. */
AVX2 uint64_t q2_l2_follow_avx2_extended(const uint8_t *at, uint64_t want, unsigned cluster_bits)
{
    const __m256i entries = _mm256_set_epi64x(0, -1, 0, -1), words = _mm256_set_epi64x(-1, 0, -1, 0);
    uint64_t cs = UINT64_C(1) << cluster_bits;
    __m256i next = _mm256_add_epi64(all(want), _mm256_set_epi64x(0, (long long)cs, 0, 0));
    __m256i wrong = _mm256_setzero_si256();

    for (size_t i = 0; i < 16 * Q2_L2_GROUP; i += 32) {
        __m256i v = load(at + i), clash = _mm256_and_si256(_mm256_srli_epi64(v, 32), v);

        wrong = _mm256_or_si256(wrong, _mm256_and_si256(_mm256_xor_si256(v, next), entries));
        wrong = _mm256_or_si256(wrong, _mm256_and_si256(clash, words));
        next = _mm256_add_epi64(next, all(2 * cs));
    }
    return _mm256_testz_si256(wrong, wrong) ? Q2_L2_GROUP : q2_l2_follow_extended(at, want, cluster_bits);
}
#else
typedef int q2_l2_follow_x86_is_empty; /* ISO C wants something in a file */
#endif
