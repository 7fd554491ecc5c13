/* q2_l2_scan.h - many raw L2 entries at once: which map nothing, which are plain, which must be looked at
 * SPDX-License-Identifier: MIT
 *
 * Nearly all entries of honest images are zero, or name an aligned cluster inside the file and carry no flag but COPIED.
 * These two are told apart here without parsing, 64 at a time; everything else is odd and goes to q2_l2_entry_parse(),
 * which alone knows the rules. So a scan can be slow on odd images, but not wrong. */
#ifndef Q2_L2_SCAN_H
#define Q2_L2_SCAN_H

#include "format/q2_l1l2.h"

#define Q2_L2_SCAN_MAX 64u /* entries a call */

/* Bit i is entry i; no entry has both. Neither: every byte of the entry is zero, it maps nothing. */
struct q2_l2_masks {
    uint64_t plain; /* a data cluster, aligned, inside the file; with extended L2: all its subclusters are data */
    uint64_t odd;   /* to be parsed */
};

struct q2_l2_scan;
typedef void q2_l2_scan_fn(const struct q2_l2_scan *s, const uint8_t *entries, uint32_t n, struct q2_l2_masks *out);

/* What decides, derived once for an image. */
struct q2_l2_scan {
    uint64_t odd_bits;   /* any of them makes an entry odd */
    uint64_t offset_end; /* host offsets from here on are odd */
    q2_l2_scan_fn *fn;
};

/* @file_end: length of the file, rounded up to a cluster (the last one may be cut short). */
void q2_l2_scan_init(struct q2_l2_scan *s, const struct q2_geometry *g, uint64_t file_end);

/* @n entries (1 to Q2_L2_SCAN_MAX) as they lie on disk, at any address. */
static inline void q2_l2_scan(const struct q2_l2_scan *s, const uint8_t *entries, uint32_t n, struct q2_l2_masks *out)
{
    s->fn(s, entries, n, out);
}

/* Ways to do it that give the same masks; the one that q2_l2_scan_init() takes first. */
struct q2_l2_scan_twin {
    const char *name;
    bool (*usable)(void); /* on this processor */
    q2_l2_scan_fn *standard, *extended;
};
extern const struct q2_l2_scan_twin q2_l2_scan_twins[];
extern const unsigned q2_l2_scan_n_twins; /* the last is portable */

#endif
