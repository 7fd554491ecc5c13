/* stored_counts.h - the refcounts as they are stored, whatever is wrong with them: one by one, or all of a range
 * SPDX-License-Identifier: MIT
 *
 * What lies past the end of the file is zeros, and a block that cannot be read is left out, as QEMU has it. */
#ifndef QCBMI_STORED_COUNTS_H
#define QCBMI_STORED_COUNTS_H

#include "base/counts.h"
#include "base/progress.h"
#include "image/image.h"
#include "io/holes.h"

struct qcbmi_stored_counts {
    struct qcbmi_image *img;
    struct qcbmi_holes *holes;
    uint64_t *table; /* entries as they are */
    uint64_t n_table;
    uint8_t *block; /* one cluster: the block at @block_offset */
    uint64_t block_offset;
    bool unreadable; /* some block of those that were wanted is */
};

/* Reads the table; free it on failure too. */
int qcbmi_stored_counts_init(struct qcbmi_stored_counts *s, struct qcbmi_image *img, struct qcbmi_holes *holes,
                             struct qcbm_error *err);
void qcbmi_stored_counts_free(struct qcbmi_stored_counts *s); /* fine on a zeroed struct */

/* Where the block with the refcount of @cluster lies; 0 if there is none. */
uint64_t qcbmi_stored_block_of(const struct qcbmi_stored_counts *s, uint64_t cluster);
/* Can a refcount block be read at @off? */
bool qcbmi_stored_is_readable(const struct qcbmi_stored_counts *s, uint64_t off);
/* The refcount of any cluster; false if it cannot be read. */
bool qcbmi_stored_get(struct qcbmi_stored_counts *s, uint64_t cluster, uint64_t *value, struct qcbm_error *err);

struct qcbmi_stored_load {
    struct qcbmi_counts *to; /* gets those of the range that it keeps */
    uint64_t free;           /* bytes of blocks that cost nothing; each beyond them is asked for: */
    bool (*afford)(void *opaque, uint64_t bytes);
    void *opaque;
    struct qcbmi_progress *progress; /* in bytes of blocks, or NULL */
};
/* Blocks are read in the order of the file. */
int qcbmi_stored_counts_load(struct qcbmi_stored_counts *s, const struct qcbmi_stored_load *load,
                             struct qcbm_error *err);

#endif
