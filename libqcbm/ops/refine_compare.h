/* refine_compare.h - what is refined against what, and parts of the two disks that are to be compared
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_REFINE_COMPARE_H
#define QCBMI_REFINE_COMPARE_H

#include "base/progress.h"
#include "image/data.h"

struct qcbmi_refine_figures {
    /* Dropped: by metadata alone, as zeros on both sides or the very same bytes of a file; and because the content
     * is. */
    uint64_t zero_bytes, equal_bytes;
    uint64_t unreadable_bytes; /* which stay dirty */
    struct qcbm_error why;     /* the first of them */
};

struct qcbmi_refine {
    struct qcbmi_data *disk;
    uint64_t size;                   /* of it: what lies behind stays as it is */
    struct qcbmi_data *reference;    /* NULL: an empty disk */
    uint64_t reference_size;         /* behind it are zeros */
    size_t shared;                   /* layer @shared + i of the disk is layer i of the reference; 0: none is */
    bool metadata_alone;             /* what is not zeros on both sides differs */
    unsigned threads;                /* that read; 0: as many as keep a disk busy */
    struct qcbmi_progress *progress; /* in bytes of the disk; may be NULL */
    struct qcbmi_refine_figures out;
};

enum {
    QCBMI_REFINE_DIFFERS = 1, /* of a granule: it stays */
    QCBMI_REFINE_READ = 2     /* it took more than metadata */
};

/* A range that is of one kind on both sides, and is to be read. */
struct qcbmi_refine_part {
    struct qcbmi_guest_piece disk, reference; /* of the same guest bytes */
    size_t flag;                              /* of its first granule */
};

/* Parts that one thread compares, in order: more than one where they are of one compressed cluster. */
struct qcbmi_refine_task {
    uint64_t layer, host; /* where it begins in a file, to be sorted by */
    size_t first, n;      /* parts */
};

struct qcbmi_refine_batch {
    struct qcbmi_refine *r;
    unsigned gran_bits;
    uint8_t *flags; /* one for each granule; set by all threads */
    struct qcbmi_refine_part *parts;
    struct qcbmi_refine_task *tasks;
    size_t n_parts, n_tasks;
    uint64_t told; /* bytes, to who watches */
};

#define QCBMI_REFINE_READ_BYTES (UINT64_C(256) << 10) /* a part is not longer */

/* Compare all tasks of @b; sets flags. */
int qcbmi_refine_compare(struct qcbmi_refine_batch *b, struct qcbm_error *err);
/* [@start, @start + @len) could not be read, for @why. */
void qcbmi_refine_note_unreadable(struct qcbmi_refine *r, uint64_t len, const struct qcbm_error *why);
/* Is nothing to be read on this side? */
static inline bool qcbmi_refine_is_zero(const struct qcbmi_guest_piece *p)
{
    return p->kind != Q2_NORMAL && p->kind != Q2_COMPRESSED;
}

#endif
