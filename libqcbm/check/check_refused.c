/* check_refused.c - what a repair refuses without force: images of which it could lose the last trace of somebody's
 * data
 * SPDX-License-Identifier: MIT
 *
 * The rules are those of the repair, which asks here for its first; the cures tell by them which way leads on. What
 * only the repair learns, by doing the rest, is "perhaps". */
#include "base/checked.h"
#include "check/check_parts.h"

static bool has_kind(const struct check_suspect *x, enum qcbmi_ref_kind kind)
{
    for (uint64_t i = 0; i < u64_min(x->n_owners, CHECK_MAX_OWNERS); i++)
        if (x->owners[i].kind == kind)
            return true;
    return false;
}

/* Refcounts alone, which are counted anew: no pointer of the guest's is wrong. */
static bool is_of_refcounts(const struct check_suspect *x)
{
    for (uint64_t i = 0; i < u64_min(x->n_owners, CHECK_MAX_OWNERS); i++)
        if (x->owners[i].kind != QCBMI_REF_REFBLOCK && x->owners[i].kind != QCBMI_REF_REFTABLE)
            return false;
    return x->n_owners <= CHECK_MAX_OWNERS;
}

const char *qcbmi_check_why_disputed(const struct check *c, const struct check_suspect *x)
{
    if (x->n_owners < 2)
        return NULL;
    if (has_kind(x, QCBMI_REF_L1) || has_kind(x, QCBMI_REF_SNAPSHOTS))
        return ", so one of them is lost";
    if (c->r.leaks &&
        !is_of_refcounts(x)) /* with the pointer that is wrong now goes the only trace that they are no waste */
        return ", and leaked clusters may be what one of them had";
    return NULL;
}

bool qcbmi_check_has_disputed(const struct check *c)
{
    const struct check_suspects *s = c->suspects;

    for (size_t i = 0; s && i < s->n; i++)
        if (qcbmi_check_why_disputed(c, &s->list[i]))
            return true;
    return s && s->n == CHECK_MAX_SUSPECTS;
}

static bool has_too_many_owners(const struct check *c)
{
    for (size_t i = 0; c->suspects && i < c->suspects->n; i++)
        if (c->suspects->list[i].n_owners > CHECK_MAX_PARTED)
            return true;
    return false;
}

bool qcbmi_check_gives_up_snapshots(const struct check *c)
{
    return c->met[QCBM_PROBLEM_SNAPSHOT_TABLE] || c->met[QCBM_PROBLEM_SNAPSHOT_LOST] ||
           c->met[QCBM_PROBLEM_SNAPSHOT_L1_UNALIGNED] || c->met[QCBM_PROBLEM_SNAPSHOT_L1_SIZE];
}

bool qcbmi_check_leads_nowhere(const struct check *c)
{
    static const enum qcbm_problem_id kinds[] = {
        QCBM_PROBLEM_REFERENCE_PAST_END,
        QCBM_PROBLEM_REFERENCE_NOWHERE,
        QCBM_PROBLEM_L1_UNALIGNED,
        QCBM_PROBLEM_L2_DATA_UNALIGNED,
        QCBM_PROBLEM_L2_COMPRESSED_SUBCLUSTERS,
        QCBM_PROBLEM_L2_SUBCLUSTERS_UNALLOCATED,
        QCBM_PROBLEM_TABLE_CUT,
        QCBM_PROBLEM_TABLE_OVERWRITTEN,
    };

    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        if (c->met_of_others[kinds[i]])
            return true;
    return false;
}

enum check_refusal qcbmi_check_refusal(const struct check *c)
{
    if (has_too_many_owners(c))
        return CHECK_REFUSED_EVER;
    if (c->r.lost_tables || qcbmi_check_gives_up_snapshots(c) || qcbmi_check_has_disputed(c))
        return CHECK_REFUSED;
    return qcbmi_check_leads_nowhere(c) ? CHECK_REFUSED_PERHAPS : CHECK_NOT_REFUSED;
}

/* Is it of refcounts, flags or bitmaps, which say nothing of mapping tables and snapshots? */
bool qcbmi_check_is_beside_maps(enum qcbm_problem_id id)
{
    const struct qcbm_problem *rule = qcbm_problem_get(id);

    switch (id) {
    case QCBM_PROBLEM_CLUSTER_LEAKED:
    case QCBM_PROBLEM_REFCOUNT_TOO_LOW:
    case QCBM_PROBLEM_REFCOUNT_ZERO:
    case QCBM_PROBLEM_COPIED_L1:
    case QCBM_PROBLEM_COPIED_L2:
        return true;
    default:
        return rule->severity == QCBM_CHECK_WARNING || rule->repair == QCBM_REPAIR_BITMAPS;
    }
}

/* Two owners of which none is a bitmap: of a bitmap such clusters are dirty. */
static bool has_two_others(const struct check *c)
{
    for (size_t i = 0; c->suspects && i < c->suspects->n; i++) {
        const struct check_suspect *x = &c->suspects->list[i];
        uint64_t others = 0;

        for (uint64_t k = 0; k < u64_min(x->n_owners, CHECK_MAX_OWNERS); k++)
            others += x->owners[k].kind < QCBMI_REF_BITMAP_DIRECTORY || x->owners[k].kind > QCBMI_REF_BITMAP_DATA;
        if (others > 1)
            return true;
    }
    return false;
}

bool qcbmi_check_refuses_bitmaps(const struct check *c)
{
    for (unsigned id = 0; id < QCBMI_PROBLEM_COUNT; id++)
        if (c->met_of_others[id] && id != QCBM_PROBLEM_LOST_TABLE && id != QCBM_PROBLEM_CLUSTER_TWO_OWNERS &&
            (id == QCBM_PROBLEM_REFCOUNT_ZERO || !qcbmi_check_is_beside_maps(id)))
            return true;
    return has_two_others(c);
}
