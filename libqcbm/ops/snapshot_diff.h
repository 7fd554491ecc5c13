/* snapshot_diff.h - where two states of an image differ: two internal snapshots, or one and the active state
 * SPDX-License-Identifier: MIT
 *
 * A cluster that two states refer to has a refcount of 2 at least, and nobody writes to it in place. So where the
 * entries of two states are alike but for the COPIED flag, their content is; with extended L2, in each subcluster. An
 * L2 table that both have is not read at all. What would make this untrue is damage: a cluster that is shared and has a
 * refcount below 2, or a COPIED flag, which is what QEMU goes by when it writes in place. That is looked for wherever
 * sharing is met.
 *
 * What it reads: both L1 tables, the L2 tables that differ, and the refcounts of what is shared by what was read. A
 * table that was lost looks like one that maps nothing: who relies on the difference looks for lost ones
 * (bitmap/lost_tables.h). */
#ifndef QCBMI_SNAPSHOT_DIFF_H
#define QCBMI_SNAPSHOT_DIFF_H

#include "base/progress.h"
#include "bitmap/dirtymap.h"
#include "image/tables.h"

struct qcbmi_snapshot_diff {
    struct qcbmi_image *from, *to; /* of one image: itself, or a struct qcbmi_snapshot_view of it */
    bool to_is_active;             /* @to is the image itself: its COPIED flags are those that QEMU goes by */
    struct qcbmi_dirtymap *map;
    struct qcbmi_progress *progress; /* in bytes of tables, which are added to the total; may be NULL */

    struct qcbmi_damage damage; /* out: what counts as differing because it makes no sense */
    uint64_t tables_read;       /* out: L2 tables */
};

/* Mark in @d->map whatever differs: entry by entry up to the smaller of both sizes, and all from there to the larger.
 * Damage that makes all of it doubtful marks all.
 * Returns 0, QCBM_E_UNSAFE (refcounts that may be wrong: dirty or corrupt bit), QCBM_E_CORRUPT (an L1 table),
 * QCBM_E_LIMIT, QCBM_E_IO, QCBM_E_NOMEM, QCBM_E_ABORTED. */
int qcbmi_snapshot_diff_mark(struct qcbmi_snapshot_diff *d, struct qcbm_error *err);

#endif
