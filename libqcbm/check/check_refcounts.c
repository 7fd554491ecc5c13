/* check_refcounts.c - the refcounts as stored, and the references to their blocks
 * SPDX-License-Identifier: MIT */
#include <inttypes.h>

#include "base/checked.h"
#include "check/check_parts.h"
#include "format/q2_refcount.h"

int qcbmi_check_load_reftable(struct check *c)
{
    int ret = qcbmi_stored_counts_init(&c->disk, c->img, &c->holes, c->err);

    c->progress.total = 8 * c->disk.n_table;
    for (uint64_t i = 0; i < c->img->h.l1_entries && i < c->n_clusters; i++)
        c->progress.total += c->g->cluster_size; /* about: the L2 tables are not known yet */
    return ret;
}

bool qcbmi_check_stored(struct check *c, uint64_t cluster, uint64_t *value)
{
    return qcbmi_stored_get(&c->disk, cluster, value, c->err);
}

static bool afford(void *opaque, uint64_t bytes)
{
    return qcbmi_check_afford(opaque, bytes);
}

int qcbmi_check_load_stored(struct check *c)
{
    struct qcbmi_stored_load load = { .to = &c->stored, .free = c->real_len, .opaque = c, .afford = afford };

    load.progress = &c->progress;
    return qcbmi_stored_counts_load(&c->disk, &load, c->err);
}

/* A block that something else uses, too. The counter is that of this moment: of two entries with one block, the second
 * is to blame, as QEMU has it. So it takes counting again, over all clusters: what a pass has counted may be cut
 * back. */
static int tell_refblock(struct check *c, const struct qcbmi_ref *ref, uint64_t cluster)
{
    uint64_t refcount = qcbmi_counts_get(&c->told, cluster);
    struct check_voice before = c->voice;
    int ret;

    if (!c->recount || refcount == 1)
        return 0;
    c->voice.total = true;
    c->voice.only = CHECK_ALL;
    ret = qcbmi_check_problem(c, QCBM_PROBLEM_REFBLOCK_REFCOUNT, 1, &ref->at,
                              "ERROR refcount block %" PRIu64 " refcount=%" PRIu64, ref->owner.index, refcount);
    c->voice = before;
    return ret;
}

static int check_refblock(struct check *c, const struct qcbmi_ref *ref)
{
    uint64_t cluster = ref->offset >> c->g->cluster_bits;
    int ret = qcbmi_check_reference(c, ref);

    if (ret < 0)
        return ret;
    if (c->sink->looks)
        return tell_refblock(c, ref, cluster);
    if (c->sink->once && cluster >= c->lo && cluster < c->hi && qcbmi_counts_get(&c->refs, cluster) != 1)
        c->recount = true;
    return 0;
}

int qcbmi_check_refblocks(struct check *c)
{
    int ret = 0;

    for (uint64_t i = 0; ret == 0 && i < c->disk.n_table && !c->no_refcounts; i++) {
        uint64_t raw = c->disk.table[i], off = raw & Q2_REFTABLE_OFFSET_MASK;
        struct qcbmi_ref ref = qcbmi_ref_to_block(c->img, i, off);
        bool bad = raw & Q2_REFTABLE_RESERVED || !is_aligned(off, c->g->cluster_size) ||
                   off >> c->g->cluster_bits >= c->n_clusters;

        if (bad && !check_is_first(c))
            continue;
        if (raw & Q2_REFTABLE_RESERVED)
            ret = qcbmi_check_problem(c, QCBM_PROBLEM_REFTABLE_RESERVED, 1, &ref.at,
                                      "ERROR refcount table entry %" PRIu64 " has reserved bits set", i);
        else if (!is_aligned(off, c->g->cluster_size))
            ret = qcbmi_check_problem(
                c, QCBM_PROBLEM_REFBLOCK_UNALIGNED, 1, &ref.at,
                "ERROR refcount block %" PRIu64 " is not cluster aligned; refcount table entry corrupted", i);
        else if (bad)
            ret = qcbmi_check_problem(c, QCBM_PROBLEM_REFBLOCK_OUTSIDE, 1, &ref.at,
                                      "ERROR refcount block %" PRIu64 " is outside image", i);
        else if (off)
            ret = check_refblock(c, &ref);
    }
    return ret;
}
