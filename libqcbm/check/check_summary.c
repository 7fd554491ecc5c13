/* check_summary.c - findings counted by kind and table, so that thousands of them are one line
 * SPDX-License-Identifier: MIT
 *
 * Nothing is kept of a single finding. Tables of which something was found are kept up to a limit; what is found in
 * more of them counts as one group of its kind, without a place. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "check/check_parts.h"

#define MAX_GROUPS 16384u      /* 2 MiB with their slots */
#define SLOTS (4 * MAX_GROUPS) /* of the index, a power of two; 0 is free, i + 1 is group i */

struct check_group {
    enum qcbm_problem_id id;
    const char *table; /* NULL: none in particular */
    uint64_t base;     /* where it begins */
    uint64_t n;
    uint64_t guest, guest_end; /* of the disk, or of that of @snapshot; of the file. Nothing if the ends are 0 */
    uint64_t file, file_end;
    uint32_t snapshot;
};

struct check_groups {
    struct check_group *list;
    size_t n, capacity;
    uint32_t slots[SLOTS];
};

/* ---- which table ---- */

/* A refcount counts for a cluster: what is wrong with many of one block is a matter of that block. */
static void place_in_block(struct check *c, uint64_t off, struct check_group *g)
{
    uint64_t per = c->g->refblock_entries, cluster = off >> c->g->cluster_bits;

    g->base = qcbmi_stored_block_of(&c->disk, cluster);
    g->table = g->base ? "refcount block" : "refcount table";
    if (!g->base)
        g->base = c->img->h.reftable_offset;
    g->file = cluster / per * per << c->g->cluster_bits;
    g->file_end = g->file + (per << c->g->cluster_bits);
}

static uint32_t snapshot_of_l1(const struct check *c, uint64_t base)
{
    if (base == c->img->h.l1_offset)
        return UINT32_MAX;
    for (size_t i = 0; i < c->snapshots.n; i++)
        if (c->snapshots.list[i].l1_offset == base)
            return (uint32_t)i;
    return UINT32_MAX;
}

static void place_in_table(const struct check *c, const struct qcbmi_place *at, struct check_group *g)
{
    const struct check_table *t = c->telling;
    bool l2 = strcmp(at->table, "L2 table") == 0;

    g->table = at->table;
    g->base = at->offset;
    if (at->index != UINT64_MAX && strcmp(at->table, "bitmap directory") != 0 &&
        strcmp(at->table, "snapshot table") != 0)
        g->base -= at->index * (l2 ? c->g->l2_entry_size : 8);
    if (l2 && t && t->has_guest && t->offset == g->base) {
        g->guest = t->guest;
        g->guest_end = t->guest + c->g->l2_span;
        g->snapshot = t->state ? t->state - 1 : UINT32_MAX;
    } else if (strcmp(at->table, "L1 table") == 0 && at->index != UINT64_MAX) {
        g->guest = at->index * c->g->l2_span;
        g->guest_end = g->guest + c->g->l2_span;
        g->snapshot = snapshot_of_l1(c, g->base);
    }
}

static struct check_group group_of(struct check *c, enum qcbm_problem_id id, const struct qcbmi_place *at)
{
    struct check_group g = { .id = id, .base = QCBM_NO_OFFSET, .snapshot = UINT32_MAX };

    if (id == QCBM_PROBLEM_CLUSTER_LEAKED || id == QCBM_PROBLEM_REFCOUNT_TOO_LOW || id == QCBM_PROBLEM_REFCOUNT_ZERO)
        place_in_block(c, at->offset, &g);
    else if (at->table && at->offset != QCBM_NO_OFFSET && id != QCBM_PROBLEM_TABLE_OVERWRITTEN) /* a line of a table */
        place_in_table(c, at, &g);
    return g;
}

/* ---- counted ---- */

static uint32_t *find(struct check_groups *s, enum qcbm_problem_id id, uint64_t base)
{
    uint64_t h = (base ^ (uint64_t)id << 56) * UINT64_C(0x9e3779b97f4a7c15);

    for (size_t i = h >> 40;; i++) {
        uint32_t *slot = &s->slots[i % SLOTS];

        if (*slot == 0 || (s->list[*slot - 1].id == id && s->list[*slot - 1].base == base))
            return slot;
    }
}

static struct check_group *take(struct check_groups *s, const struct check_group *g, struct qcbm_error *err)
{
    uint32_t *slot = find(s, g->id, g->base);

    if (*slot)
        return &s->list[*slot - 1];
    if (s->n >= MAX_GROUPS && g->base != QCBM_NO_OFFSET) { /* which leaves room for one of each kind */
        struct check_group other = { .id = g->id, .base = QCBM_NO_OFFSET, .snapshot = UINT32_MAX };

        return take(s, &other, err);
    }
    if (qcbmi_grow_array(&s->list, &s->capacity, s->n, sizeof(s->list[0]), err) < 0)
        return NULL;
    s->list[s->n++] = *g;
    *slot = (uint32_t)s->n;
    return &s->list[s->n - 1];
}

int qcbmi_check_count(struct check *c, enum qcbm_problem_id id, const struct qcbmi_place *at, uint64_t *number)
{
    struct check_group g = group_of(c, id, at), *to;

    *number = 1;
    if (!g.table) /* what is about no table is a line of its own */
        return 0;
    if (!c->groups)
        c->groups = qcbmi_alloc_array(1, sizeof(*c->groups), c->err);
    to = c->groups ? take(c->groups, &g, c->err) : NULL;
    if (!to)
        return QCBM_E_NOMEM;
    *number = ++to->n;
    if (to->base == QCBM_NO_OFFSET)
        return 0;
    to->guest = u64_min(to->guest, g.guest);
    to->guest_end = u64_max(to->guest_end, g.guest_end);
    to->file = u64_min(to->file, g.file);
    to->file_end = u64_max(to->file_end, g.file_end);
    return 0;
}

/* ---- told ---- */

static bool has_many(struct check_groups *s, enum qcbm_problem_id id, uint64_t base)
{
    uint32_t slot = *find(s, id, base);

    return slot && s->list[slot - 1].n > QCBM_CHECK_MANY;
}

/* Refcounts that are too low beside ones that are too high are no refcounts. */
static enum qcbm_check_cause cause_in_block(struct check_groups *s, const struct check_group *g)
{
    bool low = has_many(s, QCBM_PROBLEM_REFCOUNT_TOO_LOW, g->base),
         zero = has_many(s, QCBM_PROBLEM_REFCOUNT_ZERO, g->base);

    if ((low || zero) && has_many(s, QCBM_PROBLEM_CLUSTER_LEAKED, g->base))
        return QCBM_CHECK_CAUSE_OVERWRITTEN;
    return g->id == QCBM_PROBLEM_REFCOUNT_ZERO ? QCBM_CHECK_CAUSE_ZEROED : QCBM_CHECK_CAUSE_UNKNOWN;
}

static enum qcbm_check_cause cause_of(struct check_groups *s, const struct check_group *g)
{
    switch (g->id) {
    case QCBM_PROBLEM_CLUSTER_LEAKED:
    case QCBM_PROBLEM_REFCOUNT_TOO_LOW:
    case QCBM_PROBLEM_REFCOUNT_ZERO:
        return cause_in_block(s, g);
    case QCBM_PROBLEM_REFERENCE_PAST_END:
    case QCBM_PROBLEM_TABLE_CUT:
    case QCBM_PROBLEM_REFBLOCK_OUTSIDE:
        return QCBM_CHECK_CAUSE_CUT;
    case QCBM_PROBLEM_REFERENCE_NOWHERE:
    case QCBM_PROBLEM_L1_RESERVED:
    case QCBM_PROBLEM_L1_UNALIGNED:
    case QCBM_PROBLEM_L2_RESERVED:
    case QCBM_PROBLEM_L2_DATA_UNALIGNED:
    case QCBM_PROBLEM_L2_PREALLOC_UNALIGNED:
    case QCBM_PROBLEM_L2_COMPRESSED_COPIED:
    case QCBM_PROBLEM_L2_SUBCLUSTERS:
    case QCBM_PROBLEM_L2_SUBCLUSTERS_UNALLOCATED:
    case QCBM_PROBLEM_REFTABLE_RESERVED:
    case QCBM_PROBLEM_REFBLOCK_UNALIGNED:
        return QCBM_CHECK_CAUSE_OVERWRITTEN;
    case QCBM_PROBLEM_SNAPSHOT_LOST:
        return QCBM_CHECK_CAUSE_ZEROED;
    default:
        return QCBM_CHECK_CAUSE_UNKNOWN;
    }
}

int qcbmi_check_tell_summary(struct check *c)
{
    struct check_groups *s = c->groups;

    for (size_t i = 0; s && c->o.summary && i < s->n; i++) {
        const struct check_group *g = &s->list[i];
        struct qcbm_check_summary row = {
            qcbm_problem_get(g->id), g->n,        g->table,      g->base, g->guest, g->guest_end - g->guest, g->file,
            g->file_end - g->file,   g->snapshot, cause_of(s, g)
        };

        if (g->n > QCBM_CHECK_MANY && c->o.summary(c->o.opaque, &row))
            return qcbmi_fail_stopped(c->err);
    }
    return 0;
}

void qcbmi_check_groups_free(struct check_groups *groups)
{
    if (!groups)
        return;
    free(groups->list);
    free(groups);
}
