/* q2_l2_scan.h - many raw L2 entries at once: which map nothing, which are plain, which must be looked at
 * SPDX-License-Identifier: MIT
 *
 * Nearly all entries of honest images are zero, or name an aligned cluster inside the file and carry no flag but
 * COPIED. These two are told apart here without parsing, 64 at a time; everything else is odd and goes to
 * q2_l2_entry_parse(), which alone knows the rules. So a scan can be slow on odd images, but not wrong. */
#ifndef Q2_L2_SCAN_H
#define Q2_L2_SCAN_H

#include "format/q2_l1l2.h"

#define Q2_L2_SCAN_MAX 64u /* entries a call */

/* Bit i is entry i; no entry is both plain and odd. Neither: every byte of the entry is zero, it maps nothing. */
struct q2_l2_masks {
    uint64_t plain; /* a data cluster, aligned, inside the file; with extended L2: all its subclusters are data */
    uint64_t odd;   /* to be parsed, by who does not know the two below */
    uint64_t mixed; /* of the odd ones: as plain, but with any possible word of subclusters */
    uint64_t some;  /* of the mixed ones: the word is not 0, a subcluster is allocated here, as data or as zeros */
    uint64_t parts; /* how many subclusters these have allocated, in all */
};

struct q2_l2_scan;
typedef void q2_l2_scan_fn(const struct q2_l2_scan *s, const uint8_t *entries, uint32_t n, struct q2_l2_masks *out);

/* What decides, derived once for an image. */
struct q2_l2_scan {
    uint64_t odd_bits;   /* any of them makes an entry odd */
    uint64_t offset_end; /* host offsets from here on are odd; at most Q2_L2_SCAN_END */
    q2_l2_scan_fn *fn;
};
#define Q2_L2_SCAN_END (UINT64_C(1) << 62) /* behind all offsets, and small enough for signed arithmetic */

/* @file_end: length of the file, rounded up to a cluster (the last one may be cut short). */
void q2_l2_scan_init(struct q2_l2_scan *s, const struct q2_geometry *g, uint64_t file_end);

/* @n entries (1 to Q2_L2_SCAN_MAX) as they lie on disk, at any address. */
static inline void q2_l2_scan(const struct q2_l2_scan *s, const uint8_t *entries, uint32_t n, struct q2_l2_masks *out)
{
    s->fn(s, entries, n, out);
}

/* Ways to do it that give the same masks; the first that is usable is taken. */
struct q2_l2_scan_twin {
    const char *name;
    bool (*usable)(void); /* on this processor */
    q2_l2_scan_fn *standard, *extended;
};
extern const struct q2_l2_scan_twin q2_l2_scan_twins[];
extern const unsigned q2_l2_scan_n_twins; /* the last is portable */

/* For tests, while nothing is scanned: from now on @twin is taken; NULL: as before. */
void q2_l2_scan_take(const struct q2_l2_scan_twin *twin);

/* Those of single machines: q2_l2_scan_x86.c, q2_l2_scan_neon.c. They do as many of the @n entries as fill their
 * registers, into masks that are zeros so far, and leave the rest to the portable one. */
void q2_l2_scan_rest_standard(const struct q2_l2_scan *s, const uint8_t *entries, uint32_t from, uint32_t n,
                              struct q2_l2_masks *out);
void q2_l2_scan_rest_extended(const struct q2_l2_scan *s, const uint8_t *entries, uint32_t from, uint32_t n,
                              struct q2_l2_masks *out);
/* The parts of those of @some; no subcluster is data and zeros. */
uint32_t q2_l2_scan_count_parts(const uint8_t *entries, uint64_t some);
bool q2_l2_scan_has_avx2(void), q2_l2_scan_has_sse2(void);
q2_l2_scan_fn q2_l2_scan_avx2_standard, q2_l2_scan_avx2_extended, q2_l2_scan_sse2_standard, q2_l2_scan_sse2_extended;
q2_l2_scan_fn q2_l2_scan_neon_standard, q2_l2_scan_neon_extended;
q2_l2_scan_fn q2_l2_scan_portable_standard, q2_l2_scan_portable_extended;

#endif
