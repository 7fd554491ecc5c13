/* repair_two_owners.c - a cluster with two owners: copied, so that each has its own
 * SPDX-License-Identifier: MIT
 *
 * One of the two has the bytes of the other, and the image does not say which: both are named. A higher refcount, as
 * QEMU's repair gives it, would make that look like a snapshot. Who can move gets the copy: guest data before mapping
 * tables. The refcounts' own clusters are left to repair_rebuild.c, which leaves all of them behind, and those of
 * bitmaps to repair_bitmaps.c, which knows that their bits may be another's as long as they are. A copied table names
 * the data of the other one, so the work goes on in rounds, until nothing has two owners or no round helps. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/checked.h"
#include "repair/repair_changed.h"
#include "repair/repair_look.h"

#define MAX_COPIED (UINT64_C(1) << 30) /* bytes */
#define MAX_ROWS 16u

struct move {
    struct qcbmi_repair *r;
    struct check *c;
    struct qcbmi_plan plan;
    struct qcbmi_bitset shared; /* clusters with two owners */
    uint8_t *buf;               /* a cluster */
    size_t prepare, change;
    uint64_t n; /* in this round */
    uint64_t rows;
};

static struct qcbmi_l1_table table_of(const struct check *c, uint32_t state)
{
    if (state == 0)
        return qcbmi_active_l1(c->img);
    return qcbmi_snapshot_l1(c->img, c->snapshots.bytes, &c->snapshots.list[state - 1]);
}

static bool is_shared(const struct move *m, uint64_t cluster)
{
    return cluster < m->shared.n_bits && qcbmi_bitset_get(&m->shared, cluster);
}

/* The entry of the L1 table that @owner hangs on; false if there is none. */
static int l1_entry(struct move *m, const struct qcbmi_ref_owner *owner, uint64_t *at, uint64_t *raw)
{
    struct qcbmi_l1_table t = table_of(m->c, owner->state);
    uint64_t index = owner->kind == QCBMI_REF_L2 ? owner->index : owner->index / m->c->g->l2_span;
    uint8_t bytes[8] = { 0 };
    int ret = 0;

    *raw = 0;
    *at = t.offset + 8 * index;
    if (index < t.entries)
        ret = qcbmi_check_read(m->c, *at, bytes, sizeof(bytes), NULL);
    if (ret == 0)
        *raw = be64_load(bytes);
    return ret;
}

/* Where the offset of @cluster is stored for @owner, and with what flags; *@at 0: it is not there any more, or its own
 * table has to be copied first. */
static int find_pointer(struct move *m, const struct qcbmi_ref_owner *owner, uint64_t cluster, uint64_t *at,
                        uint64_t *raw)
{
    const struct q2_geometry *g = m->c->g;
    uint64_t l2;
    uint8_t bytes[8];
    int ret = l1_entry(m, owner, at, raw);

    if (ret == 0 && owner->kind == QCBMI_REF_DATA) {
        l2 = *raw & Q2_ENTRY_OFFSET_MASK;
        if (!l2 || !is_aligned(l2, g->cluster_size) || is_shared(m, l2 >> g->cluster_bits)) {
            *at = 0;
            return 0;
        }
        *at = l2 + owner->index % g->l2_span / g->cluster_size * g->l2_entry_size;
        ret = qcbmi_check_read(m->c, *at, bytes, sizeof(bytes), NULL);
        *raw = ret == 0 ? be64_load(bytes) : 0;
    }
    if (*raw & Q2_L2_COMPRESSED || (*raw & Q2_ENTRY_OFFSET_MASK) != cluster << g->cluster_bits)
        *at = 0;
    return ret;
}

static int copy_cluster(struct move *m, uint64_t cluster, uint64_t at, uint64_t raw)
{
    const struct q2_geometry *g = m->c->g;
    uint64_t to = qcbmi_repair_append(m->r, &m->plan, 1);
    int ret = qcbmi_check_read(m->c, cluster << g->cluster_bits, m->buf, g->cluster_size, NULL);
    uint8_t bytes[8];

    m->plan.current = m->prepare;
    if (ret == 0)
        ret = qcbmi_plan_write(&m->plan, "copy of a cluster", to, m->buf, g->cluster_size, m->c->err);
    be64_store(bytes, (raw & ~(Q2_ENTRY_OFFSET_MASK | Q2_ENTRY_COPIED)) | to); /* COPIED waits for the refcount */
    m->plan.current = m->change;
    return ret < 0 ? ret : qcbmi_plan_write(&m->plan, "mapping table entry", at, bytes, sizeof(bytes), m->c->err);
}

static int tell(struct move *m, const struct check_suspect *x, const struct qcbmi_ref_owner *moved, const char *how)
{
    const struct qcbmi_ref_owner *other = moved == &x->owners[0] ? &x->owners[1] : &x->owners[0];
    struct qcbm_repair_row row = { .code = "two-owners", .offset = x->cluster << m->c->g->cluster_bits };
    char a[192], b[192], done[512];

    if (++m->rows > MAX_ROWS)
        return 0;
    qcbmi_check_owner_text(m->c, moved, a, sizeof(a));
    qcbmi_check_owner_text(m->c, other, b, sizeof(b));
    snprintf(done, sizeof(done), "cluster %" PRIu64 " was used as %s and as %s: %s%s", x->cluster, a, b, how,
             m->rows == MAX_ROWS ? "; and more of them" : "");
    row.done = done;
    row.lost =
        "one of the two has the bytes of the other, and the image does not say which: compare both with a backup";
    if (moved->kind == QCBMI_REF_DATA) {
        row.guest_offset = moved->index;
        row.guest_length = u64_min(m->c->g->cluster_size, u64_max(m->c->g->size, moved->index + 1) - moved->index);
    }
    return qcbmi_repair_tell(m->r, &row, m->c->err);
}

static const struct qcbmi_ref_owner *movable(const struct check_suspect *x, enum qcbmi_ref_kind kind)
{
    for (uint64_t i = u64_min(x->n_owners, CHECK_MAX_OWNERS); i-- > 0;)
        if (x->owners[i].kind == kind)
            return &x->owners[i];
    return NULL;
}

static bool is_of_refcounts(const struct check_suspect *x)
{
    return movable(x, QCBMI_REF_REFBLOCK) || movable(x, QCBMI_REF_REFTABLE);
}

/* What is mapped by any of the owners, in the disk. */
static int note_changed(struct move *m, const struct check_suspect *x)
{
    const struct q2_geometry *g = m->c->g;
    int ret = 0;

    for (uint64_t i = 0; ret == 0 && i < u64_min(x->n_owners, CHECK_MAX_OWNERS); i++) {
        const struct qcbmi_ref_owner *o = &x->owners[i];

        if (o->state == 0 && (o->kind == QCBMI_REF_DATA || o->kind == QCBMI_REF_COMPRESSED))
            ret = qcbmi_repair_note_changed(m->r, o->index, g->cluster_size, m->c->err);
        else if (o->state == 0 && o->kind == QCBMI_REF_L2 && o->index < g->l1_used)
            ret = qcbmi_repair_note_changed(m->r, o->index * g->l2_span, g->l2_span, m->c->err);
    }
    return ret;
}

bool qcbmi_repair_is_of_bitmap(const struct qcbmi_ref_owner *owner)
{
    return owner->kind == QCBMI_REF_BITMAP_DATA || owner->kind == QCBMI_REF_BITMAP_TABLE ||
           owner->kind == QCBMI_REF_BITMAP_DIRECTORY;
}

/* The bitmap among the owners, if nobody else is left when it has gone; else NULL. */
static const struct qcbmi_ref_owner *bitmap_of_two(const struct check_suspect *x)
{
    const struct qcbmi_ref_owner *found = NULL;
    uint64_t others = 0;

    for (uint64_t i = 0; i < u64_min(x->n_owners, CHECK_MAX_OWNERS); i++) {
        others += !qcbmi_repair_is_of_bitmap(&x->owners[i]);
        found = qcbmi_repair_is_of_bitmap(&x->owners[i]) ? &x->owners[i] : found;
    }
    return x->n_owners <= CHECK_MAX_OWNERS && others <= 1 ? found : NULL;
}

/* It is told once, however many rounds there are. */
static int leave_to_bitmaps(struct move *m, const struct check_suspect *x, const struct qcbmi_ref_owner *bitmap)
{
    const struct qcbmi_bitset *known = &m->r->were_shared;
    int ret;

    if (x->cluster < known->n_bits && qcbmi_bitset_get(known, x->cluster))
        return 0;
    ret = qcbmi_repair_note_shared(m->r, x->cluster, m->c->err);
    if (ret == 0)
        ret = note_changed(m, x);
    return ret < 0 ? ret : tell(m, x, bitmap, "the first is written anew, and dirty where it had its bits there");
}

static int separate(struct move *m, const struct check_suspect *x)
{
    const struct qcbmi_ref_owner *owner;
    uint64_t at = 0, raw = 0;
    int ret = 0;

    if (x->n_owners < 2 || is_of_refcounts(x))
        return 0;
    owner = bitmap_of_two(x);
    if (owner)
        return leave_to_bitmaps(m, x, owner);
    owner = movable(x, QCBMI_REF_DATA);
    if (owner)
        ret = find_pointer(m, owner, x->cluster, &at, &raw);
    if (ret == 0 && at == 0) {
        owner = movable(x, QCBMI_REF_L2);
        ret = owner ? find_pointer(m, owner, x->cluster, &at, &raw) : 0;
    }
    if (ret < 0 || at == 0)
        return ret;
    m->n++;
    m->r->separated = true;
    m->r->lost_pointers++; /* one of the two pointers is wrong: what it led to is a leak */
    ret = copy_cluster(m, x->cluster, at, raw);
    if (ret == 0)
        ret = qcbmi_repair_note_shared(m->r, x->cluster, m->c->err);
    if (ret == 0)
        ret = note_changed(m, x);
    return ret < 0 ? ret : tell(m, x, owner, "the first has a copy now");
}

static int separate_all(struct move *m)
{
    struct check *c = m->c;
    int ret = qcbmi_plan_stage(&m->plan, "bits of bitmaps", false, c->err);

    if (ret == 0)
        ret = qcbmi_plan_stage(&m->plan, "bitmaps", true, c->err);
    if (ret == 0)
        ret = qcbmi_plan_stage(&m->plan, "prepare", false, c->err);
    m->prepare = m->plan.current;
    if (ret == 0)
        ret = qcbmi_plan_stage(&m->plan, "entries", true, c->err);
    m->change = m->plan.current;
    if (ret == 0)
        ret = qcbmi_repair_shared(c, &m->shared);
    m->buf = qcbmi_alloc_array(c->g->cluster_size, 1, c->err);
    if (!m->buf)
        return QCBM_E_NOMEM;
    for (size_t i = 0; ret == 0 && c->suspects && i < c->suspects->n && m->n * c->g->cluster_size < MAX_COPIED; i++)
        ret = separate(m, &c->suspects->list[i]);
    return ret < 0 ? ret : qcbmi_repair_mark_stored(m->r, c, &m->plan, 0);
}

/* *@moved: how many clusters were copied. */
static int one_round(struct qcbmi_repair *r, uint64_t *moved, struct qcbm_error *err)
{
    struct check c;
    struct move m = { .r = r, .c = &c };
    int ret = qcbmi_repair_look(r, &c, 0, NULL, NULL, err);

    if (ret == 0)
        ret = qcbmi_repair_refuse_lost(r, &c);
    if (ret == 0 && c.met[QCBM_PROBLEM_CLUSTER_TWO_OWNERS] && r->left && !qcbmi_repair_is_forced(r))
        ret = qcbmi_fail(
            err, QCBM_E_UNSAFE, QCBM_NO_OFFSET,
            "clusters have two owners, and entries of mapping tables lead nowhere: nothing was written; with "
            "--force such entries are given up, and read as zeros");
    if (ret == 0 && c.met[QCBM_PROBLEM_CLUSTER_TWO_OWNERS])
        ret = separate_all(&m);
    qcbmi_check_free(&c);
    qcbmi_bitset_free(&m.shared);
    free(m.buf);
    if (ret == 0 && m.plan.held) /* bits that have to be set, too */
        ret = qcbmi_repair_commit(r, &m.plan, err);
    qcbmi_plan_free(&m.plan);
    *moved = m.n;
    return ret;
}

int qcbmi_repair_two_owners(struct qcbmi_repair *r, struct qcbm_error *err)
{
    uint64_t copied = 0, moved = 1;
    int ret = 0;

    for (unsigned i = 0; ret == 0 && moved && i < QCBMI_MAX_ROUNDS && copied < MAX_COPIED; i++) {
        ret = one_round(r, &moved, err);
        copied += moved * r->work->image->g.cluster_size;
    }
    if (ret == 0 && moved)
        return qcbmi_fail(err, QCBM_E_LIMIT, QCBM_NO_OFFSET,
                          "clusters with two owners are left after %u rounds, with %" PRIu64
                          " bytes copied: nothing was written",
                          QCBMI_MAX_ROUNDS, copied);
    return ret;
}
