/* check_walk.c - the list of references into the sink of a pass, and what is wrong with entries of the snapshot table
 * SPDX-License-Identifier: MIT */
#include <inttypes.h>

#include "base/checked.h"
#include "check/check_parts.h"

static int take_ref(void *opaque, const struct qcbmi_ref *ref)
{
    const struct check *c = opaque;

    if (ref->owner.kind == QCBMI_REF_LUKS && c->img->h.crypt_method != 2)
        return 0;
    if (ref->owner.kind == QCBMI_REF_REFTABLE && c->no_refcounts)
        return 0;
    return qcbmi_check_reference(opaque, ref);
}

static int tell_unsound(struct check *c, uint32_t i)
{
    const struct q2_snapshot *s = &c->snapshots.list[i];
    struct qcbmi_place at = { c->img->h.snapshots_offset, "snapshot table", i, UINT32_MAX };
    char id[256], name[256];

    (void)qcbmi_printable(id, sizeof(id), s->id, s->id_len);
    (void)qcbmi_printable(name, sizeof(name), s->name, s->name_len);
    if (!is_aligned(s->l1_offset, c->g->cluster_size))
        return qcbmi_check_problem(c, QCBM_PROBLEM_SNAPSHOT_L1_UNALIGNED, 1, &at,
                                   "ERROR snapshot %s (%s) l1_offset=%#" PRIx64
                                   ": L1 table is not cluster aligned; snapshot table entry corrupted",
                                   id, name, s->l1_offset);
    return qcbmi_check_problem(c, QCBM_PROBLEM_SNAPSHOT_L1_SIZE, 1, &at,
                               "ERROR snapshot %s (%s) l1_size=%#" PRIx32
                               ": L1 table is too large; snapshot table entry corrupted",
                               id, name, s->l1_entries);
}

static int tell_snapshots_of_data_file(struct check *c)
{
    return qcbmi_check_problem(c, QCBM_PROBLEM_SNAPSHOT_DATA_FILE, 1, &CHECK_NOWHERE,
                               "ERROR %" PRIi32 " snapshots in image with data file", (int32_t)c->snapshots.n);
}

static int take_state(void *opaque, const struct qcbmi_ref *l1)
{
    struct check *c = opaque;
    uint32_t state = l1->owner.state;
    int ret = 0;

    if (state == 1 && c->g->data_file)
        ret = tell_snapshots_of_data_file(c);
    if (ret == 0 && state && !qcbmi_snapshot_l1_is_sound(c->img, &c->snapshots.list[state - 1]))
        return tell_unsound(c, state - 1);
    return ret < 0 ? ret : c->sink->state(c, l1);
}

static int take_bitmaps(void *opaque)
{
    return qcbmi_check_bitmap_references(opaque);
}

int qcbmi_check_walk(struct check *c)
{
    struct qcbmi_refs refs = qcbmi_loose_refs(c->img, &c->snapshots);
    struct qcbmi_ref_sink sink = { c, take_ref, take_state, take_bitmaps };

    return qcbmi_refs_walk(&refs, &sink);
}
