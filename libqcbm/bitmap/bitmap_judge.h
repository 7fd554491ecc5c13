/* bitmap_judge.h - what the bits of a bitmap are worth in a damaged image
 * SPDX-License-Identifier: MIT
 *
 * A bit is provable if each step to it is: an entry whose fields make sense, a table and a cluster of data that lie in
 * the file, are counted, and are nobody else's. Where a step is not, the bits behind it count as dirty: a granule that
 * is copied for nothing does no harm, one that is forgotten does. */
#ifndef QCBMI_BITMAP_JUDGE_H
#define QCBMI_BITMAP_JUDGE_H

#include "bitmap/bitmap_list.h"
#include "bitmap/dirtymap.h"
#include "io/holes.h"
#include "write/owners.h"
#include "write/refcounts.h"

struct qcbmi_judge {
    struct qcbmi_image *img;
    const struct qcbmi_bitmap_list *list;
    struct qcbmi_owners owners; /* of all but bitmaps */
    struct qcbmi_bitset named;  /* clusters that bitmaps name, directory and tables included */
    struct qcbmi_bitset twice;  /* of them those that they name more than once, or that are another's, too */
    const struct qcbmi_bitset
        *were_shared; /* borrowed, or NULL: they had another owner, whose bytes may be there still */
    struct qcbmi_refcounts counts;
    struct qcbmi_holes holes;
    uint64_t bytes; /* of memory for the bits of bitmaps that are written anew, at least */
};

enum qcbmi_judgement {
    QCBMI_JUDGED_SOUND,    /* can stay as it is */
    QCBMI_JUDGED_EXACT,    /* its bits are provable; what leads to them is not as it should be */
    QCBMI_JUDGED_SUPERSET, /* some of them */
    QCBMI_JUDGED_NOTHING   /* none of them */
};

struct qcbmi_judged {
    enum qcbmi_judgement is;
    struct qcbmi_dirtymap map; /* but for sound ones: what is provable, and all that is not as dirty */
    uint64_t assumed;          /* guest bytes that count as dirty for want of proof */
    const char *why;           /* a literal: what is wrong with it; NULL if it is sound */
};

/* Learn who uses what: each table of the image is read. QCBM_E_UNSAFE where the rest of the image is damaged, too. @was
 * is the image whose refcounts tell what was in use: @img, or what it was before others were mended, and @were_shared
 * (NULL: none) are clusters that had two owners in that. */
int qcbmi_judge_begin(struct qcbmi_judge *j, struct qcbmi_image *img, const struct qcbmi_bitmap_list *list,
                      struct qcbmi_image *was, const struct qcbmi_bitset *were_shared, struct qcbm_error *err);
/* Is, or was, a cluster of [@first, @end) also somebody else's? */
bool qcbmi_judge_is_shared(const struct qcbmi_judge *j, uint64_t first, uint64_t end);
/* Bitmap @i of the list; the map is the caller's, on failure too. */
int qcbmi_judge_bitmap(struct qcbmi_judge *j, uint32_t i, struct qcbmi_judged *out, struct qcbm_error *err);
void qcbmi_judge_free(struct qcbmi_judge *j); /* fine on a zeroed struct */

#endif
