/* check_snapshots.c - the snapshot table as the check reads it: what is past the end of the file is zeros
 * SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "check/check.h"

/* Fixed extra data that version 3 demands: VM state size and disk size. */
#define EXTRA_NEEDED 16u

/* One piece of memory with the table and zeros behind the end of the file, enough for an entry each. */
static int read_table(struct check *c, uint64_t *len)
{
    uint64_t off = c->img->h.snapshots_offset, n = c->img->h.n_snapshots;
    uint64_t inside = off < c->img->io.size ? c->img->io.size - off : 0;

    *len = u64_min(inside, Q2_MAX_SNAPSHOT_TABLE_BYTES) + n * (Q2_SNAPSHOT_FIXED + 8) +
           u64_min(n, 16) * Q2_MAX_SNAPSHOT_ENTRY;
    *len = u64_min(*len, n * Q2_MAX_SNAPSHOT_ENTRY);
    c->snapshot_bytes = qcbmi_alloc_array(*len, 1, c->err);
    c->snapshots = qcbmi_alloc_array(n, sizeof(*c->snapshots), c->err);
    if (!c->snapshot_bytes || !c->snapshots)
        return QCBM_E_NOMEM;
    return qcbmi_check_read(c, off, c->snapshot_bytes, *len, NULL);
}

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

int qcbmi_check_load_snapshots(struct check *c)
{
    uint32_t n = c->img->h.n_snapshots, n_lost = 0, first_lost = 0;
    struct q2_cursor in;
    uint64_t len;
    int ret;

    if (n == 0)
        return 0;
    ret = read_table(c, &len);
    if (ret < 0)
        return ret;
    q2_cursor_init(&in, c->snapshot_bytes, (size_t)len);
    for (uint32_t i = 0; ret == 0 && i < n; i++) {
        struct check_snapshot *to = &c->snapshots[i];
        struct qcbm_error why;
        struct q2_snapshot s;

        if (q2_snapshot_parse(&in, c->snapshot_bytes, c->img->h.snapshots_offset, i, &s, &why) < 0)
            return tell_unreadable(c, &why);
        *to = (struct check_snapshot){ .l1_offset = s.l1_offset, .l1_entries = s.l1_entries, .extra_len = s.extra_len };
        to->id = s.id;
        to->id_len = s.id_len;
        to->name = s.name;
        to->name_len = s.name_len;
        to->sound = is_aligned(s.l1_offset, c->g->cluster_size) && s.l1_entries <= Q2_MAX_L1_BYTES / 8;
        /* the padding of the last entry is not part of the table */
        c->snapshots_len = (uint64_t)(s.name - c->snapshot_bytes) + s.name_len;
        c->n_snapshots = i + 1;
        if (q2_snapshot_is_zero(&s) && n_lost++ == 0)
            first_lost = i;
    }
    for (uint32_t i = 0; ret == 0 && i < n; i++)
        if (c->g->version >= 3 && c->snapshots[i].extra_len < EXTRA_NEEDED)
            ret = qcbmi_check_problem(
                c, QCBM_PROBLEM_SNAPSHOT_INCOMPLETE, 1,
                &(struct qcbmi_place){ c->img->h.snapshots_offset, "snapshot table", i, UINT32_MAX },
                "ERROR snapshot table entry %" PRIu32 " is incomplete", i);
    return ret == 0 && n_lost ? tell_lost(c, n_lost, first_lost) : ret;
}
