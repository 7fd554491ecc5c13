/* rebuild.c - L2 tables that are lost, put together from the clusters that are left
 * SPDX-License-Identifier: MIT */
#include <stdlib.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/checked.h"
#include "base/sort.h"
#include "format/q2_l1l2.h"
#include "rescue/rebuild.h"

#define MAX_REBUILT_BYTES (UINT64_C(128) << 20)

static bool is_lost(const struct qcbmi_slot *s)
{
    return s->state == QCBMI_SLOT_ZEROS || s->state == QCBMI_SLOT_LOST;
}

/* A table without entries for @slot, if there is memory for one more. */
static int begin_table(struct qcbmi_rescue *r, uint64_t slot, struct qcbm_error *err)
{
    struct qcbmi_rebuilt *b;

    if (r->n_rebuilt >= MAX_REBUILT_BYTES / r->g->cluster_size)
        return 0;
    if (qcbmi_grow_array(&r->rebuilt, &r->rebuilt_capacity, r->n_rebuilt, sizeof(*b), err) < 0)
        return QCBM_E_NOMEM;
    b = &r->rebuilt[r->n_rebuilt++];
    *b = (struct qcbmi_rebuilt){ .table = qcbmi_alloc_array(r->g->cluster_size, 1, err),
                                 .score = qcbmi_alloc_array(r->g->l2_entries, 2, err) };
    if (!b->table || !b->score)
        return QCBM_E_NOMEM;
    b->why = b->score + r->g->l2_entries;
    r->slots[slot].state = QCBMI_SLOT_REBUILT;
    r->slots[slot].rebuilt = (uint32_t)(r->n_rebuilt - 1);
    return 0;
}

/* ---- what a snapshot's table of the same slot names, and somebody else as well ---- */

/* How sure is it that the lost entry was that of the snapshot? Compressed clusters share clusters of the file: a
 * reference too many may be that of a neighbour. Of a cluster the guest may have had some subclusters only. */
static unsigned score_of_shared(const struct qcbmi_rescue *r, const struct q2_l2_entry *e)
{
    unsigned score = qcbmi_score_of_excess(r);

    return e->kind == Q2_COMPRESSED || r->g->extended_l2 ? score - 10 : score;
}

static int take_shared(struct qcbmi_rescue *r, uint64_t slot, const uint8_t *table, struct qcbm_error *err)
{
    const struct qcbmi_rebuilt *b = &r->rebuilt[r->slots[slot].rebuilt];
    int ret = 0;

    for (uint32_t i = 0; ret == 0 && i < r->g->l2_entries; i++) {
        const uint8_t *at = table + (uint64_t)i * r->g->l2_entry_size;
        struct q2_l2_entry e;

        qcbmi_rescue_parse(r, table, i, slot, &e);
        if (b->score[i] || e.host_len == 0 || !qcbmi_rescue_entry_is_sound(r, &e) ||
            !qcbmi_rescue_is_left(r, e.host_offset >> r->g->cluster_bits))
            continue;
        ret = qcbmi_rebuilt_set(r, slot, i, be64_load(at), r->g->extended_l2 ? be64_load(at + 8) : 0,
                                score_of_shared(r, &e), QCBMI_WHY_SNAPSHOT, err);
    }
    return ret;
}

/* Tables of snapshots, the last one first. */
static int ask_snapshots(struct qcbmi_rescue *r, struct qcbm_error *err)
{
    uint8_t *table = qcbmi_alloc_array(r->g->cluster_size, 1, err);
    int ret = table ? 0 : QCBM_E_NOMEM;

    for (size_t i = r->n_snap; ret == 0 && r->refcounts && i-- > 0;) {
        const struct qcbmi_l2_ref *s = &r->snap[i]; /* each table once, so this reads the file once at most */

        if (s->l1_index >= r->n_slots || r->slots[s->l1_index].state != QCBMI_SLOT_REBUILT)
            continue;
        ret = qcbmi_holes_read(&r->holes, s->offset, table, r->g->cluster_size, NULL, "L2 table", err);
        if (ret == 0)
            ret = take_shared(r, s->l1_index, table, err);
    }
    free(table);
    return ret;
}

int qcbmi_rescue_rebuild(struct qcbmi_rescue *r, struct qcbm_error *err)
{
    int ret = 0;

    if (qcbmi_rescue_next_left(r, 0) >= r->n_clusters)
        return 0;
    for (uint64_t i = 0; ret == 0 && i < r->n_slots; i++)
        if (is_lost(&r->slots[i]))
            ret = begin_table(r, i, err);
    if (ret == 0 && r->n_rebuilt)
        ret = ask_snapshots(r, err);
    if (ret == 0 && r->n_rebuilt)
        ret = qcbmi_rebuild_from_left(r, err);
    return ret;
}
