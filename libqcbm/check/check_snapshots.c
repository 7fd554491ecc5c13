/* check_snapshots.c - the snapshot table as the check reads it: what is past the end of the file is zeros
 * SPDX-License-Identifier: MIT */
#include <inttypes.h>

#include "check/check_parts.h"

/* Fixed extra data that version 3 demands: VM state size and disk size. */
#define EXTRA_NEEDED 16u

/* QEMU ends its check here. What hangs on the snapshots before the bad entry, and on all else, can be checked. */
static int tell_unreadable(struct check *c, const struct qcbm_error *why)
{
    c->snapshots_unknown = true;
    return qcbmi_check_problem(c, QCBM_PROBLEM_SNAPSHOT_TABLE, 1,
                               &(struct qcbmi_place){ why->offset, "snapshot table", UINT64_MAX, UINT32_MAX },
                               "ERROR failed to read the snapshot table: %s", why->message);
}

/* QEMU takes them for snapshots without ID, name and tables. */
static int tell_lost(struct check *c, uint32_t n, uint32_t first)
{
    return qcbmi_check_problem(c, QCBM_PROBLEM_SNAPSHOT_LOST, 1,
                               &(struct qcbmi_place){ c->img->h.snapshots_offset, "snapshot table", first, UINT32_MAX },
                               "%" PRIu32 " of %" PRIu32
                               " entries of the snapshot table are zeros, the first is entry %" PRIu32,
                               n, c->img->h.n_snapshots, first);
}

static int tell_incomplete(struct check *c, uint32_t i)
{
    return qcbmi_check_problem(c, QCBM_PROBLEM_SNAPSHOT_INCOMPLETE, 1,
                               &(struct qcbmi_place){ c->img->h.snapshots_offset, "snapshot table", i, UINT32_MAX },
                               "ERROR snapshot table entry %" PRIu32 " is incomplete", i);
}

int qcbmi_check_load_snapshots(struct check *c)
{
    const struct qcbmi_loose_snapshots *l = &c->snapshots;
    uint32_t n_lost = 0, first_lost = 0;
    int ret = qcbmi_snapshots_read_loosely(c->img, &c->holes, &c->snapshots, c->err);

    if (ret < 0)
        return ret;
    if (l->why.code)
        return tell_unreadable(c, &l->why);
    for (uint32_t i = 0; ret == 0 && i < l->n; i++) {
        if (q2_snapshot_is_zero(&l->list[i]) && n_lost++ == 0)
            first_lost = i;
        if (c->g->version >= 3 && l->list[i].extra_len < EXTRA_NEEDED)
            ret = tell_incomplete(c, i);
    }
    return ret == 0 && n_lost ? tell_lost(c, n_lost, first_lost) : ret;
}
