/* lost_tables.h - leaked clusters that are no waste: mapping tables whose pointer is lost, and what they map
 * SPDX-License-Identifier: MIT
 *
 * Two grades. Evidence: a leaked cluster whose content is a mapping table of other leaked clusters. Suspicion: many
 * leaked clusters in an image that does not map all of its disk, be it that a table is all zeros or has no place in the
 * L1 table, or that a piece of a table was zeroed or overwritten; a crash of QEMU leaves the same where it had
 * allocated clusters and not yet written the entries. */
#ifndef QCBMI_LOST_TABLES_H
#define QCBMI_LOST_TABLES_H

#include "bitmap/bitmap_list.h"
#include "bitmap/leaks.h"
#include "io/holes.h"

/* What whoever counted the references knows. */
struct qcbmi_lost_clues {
    struct qcbmi_image *img;
    const struct qcbmi_bitmap_list *bitmaps; /* the clusters of stale ones leak, too */
    struct qcbmi_holes *holes;
    struct qcbmi_leaks *leaks;
    bool all_mapped; /* there are no fewer entries with clusters than the disk has clusters */
};

struct qcbmi_lost_table {
    uint64_t cluster;
    uint64_t target; /* the first leaked cluster that it names, or the guest offset with a data file */
    uint32_t n;      /* leaked clusters that it names */
    bool own;        /* it has a cluster alone, by its flags, or shares one with a snapshot */
    bool in_use;     /* the active L1 names it, or the first that it names: these are only counted once too often */
    bool is_l1;
};

struct qcbmi_lost {
    struct qcbmi_lost_table *list; /* leaked clusters that look like tables, sorted; see qcbmi_lost_is_evidence() */
    size_t n;
    uint64_t n_all; /* those that did not fit included */
    uint64_t n_evidence, n_unowned;
    struct qcbmi_spans empty; /* L1 entries of the disk without a table that can be used */
    bool suspicion;
    bool room; /* not all of the disk is known to be mapped: any leak at all may be what a lost table had */
};

/* Returns 0, QCBM_E_IO, QCBM_E_NOMEM; free it on failure too. */
int qcbmi_lost_search(const struct qcbmi_lost_clues *clues, struct qcbmi_lost *out, struct qcbm_error *err);
void qcbmi_lost_free(struct qcbmi_lost *l); /* fine on a zeroed struct */

bool qcbmi_lost_is_evidence(const struct qcbmi_lost_table *t);
void qcbmi_lost_table_text(const struct qcbmi_image *img, const struct qcbmi_lost_table *t, char *to, size_t size);
void qcbmi_lost_suspicion_text(const struct qcbmi_image *img, const struct qcbmi_leaks *leaks,
                               const struct qcbmi_lost *found, char *to, size_t size);
/* Of leaks that raise no suspicion, since a crash leaves as few. */
void qcbmi_lost_few_text(const struct qcbmi_image *img, const struct qcbmi_leaks *leaks, char *to, size_t size);

#endif
