/* q2_l2_scan.c - many raw L2 entries at once: which map nothing, which are plain, which must be looked at
 * SPDX-License-Identifier: MIT */
#include "format/q2_l2_scan.h"

#include "base/bytes.h"
#include "base/checked.h"

/* Offset 0 wraps around, and is not below the end. */
static bool is_sound(const struct q2_l2_scan *s, uint64_t raw)
{
    return (raw & s->odd_bits) == 0 && (raw & Q2_ENTRY_OFFSET_MASK) - 1 < s->offset_end - 1;
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
}

static void portable_standard(const struct q2_l2_scan *s, const uint8_t *entries, uint32_t n, struct q2_l2_masks *out)
{
    *out = (struct q2_l2_masks){ 0 };
    q2_l2_scan_rest_standard(s, entries, 0, n, out);
}

static void portable_extended(const struct q2_l2_scan *s, const uint8_t *entries, uint32_t n, struct q2_l2_masks *out)
{
    *out = (struct q2_l2_masks){ 0 };
    q2_l2_scan_rest_extended(s, entries, 0, n, out);
}

static bool always(void)
{
    return true;
}

const struct q2_l2_scan_twin q2_l2_scan_twins[] = {
#if defined(__x86_64__) || defined(__i386__)
    { "avx2", q2_l2_scan_has_avx2, q2_l2_scan_avx2_standard, q2_l2_scan_avx2_extended },
    { "sse2", q2_l2_scan_has_sse2, q2_l2_scan_sse2_standard, q2_l2_scan_sse2_extended },
#elif defined(__aarch64__)
    { "neon", always, q2_l2_scan_neon_standard, q2_l2_scan_neon_extended },
#endif
    { "portable", always, portable_standard, portable_extended },
};
const unsigned q2_l2_scan_n_twins = sizeof(q2_l2_scan_twins) / sizeof(q2_l2_scan_twins[0]);

static const struct q2_l2_scan_twin *taken; /* set by tests alone */

void q2_l2_scan_take(const struct q2_l2_scan_twin *twin)
{
    taken = twin;
}

void q2_l2_scan_init(struct q2_l2_scan *s, const struct q2_geometry *g, uint64_t file_end)
{
    const struct q2_l2_scan_twin *twin = taken ? taken : q2_l2_scan_twins;

    while (!twin->usable())
        twin++;
    s->odd_bits = Q2_L2_COMPRESSED | Q2_L2_RESERVED | Q2_L2_ZERO | (g->cluster_size - 1);
    s->offset_end = u64_min(file_end, Q2_L2_SCAN_END);
    /* The clusters of a data file lie at their guest offset, which is more than a mask can tell; the end 1 leaves no
     * offset that would do. */
    if (g->data_file || file_end == 0)
        s->offset_end = 1;
    s->fn = g->extended_l2 ? twin->extended : twin->standard;
}
