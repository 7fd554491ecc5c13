/* candidates.c - clusters that nothing explains and that have the look of mapping tables
 * SPDX-License-Identifier: MIT
 *
 * One pass over these clusters in the order of the file. A cluster passes if each of its entries keeps the rules of the
 * format, and those that QEMU keeps beyond them: what an entry with COPIED names has the refcount 1 and nobody else,
 * what one without names has more, or is compressed. Data that a guest wrote hardly does, unless it is an image in the
 * image: its tables are named by tables of ours, which nobody names. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/checked.h"
#include "base/sort.h"
#include "format/q2_l1l2.h"
#include "rescue/rescue.h"

#define MAX_CANDIDATES ((size_t)1 << 21)

struct qcbmi_candidate *qcbmi_rescue_candidate(const struct qcbmi_rescue *r, uint64_t offset)
{
    size_t i = qcbmi_lower_bound_u64(r->found, r->n_found, sizeof(*r->found), offset);

    return i < r->n_found && r->found[i].ref.offset == offset ? &r->found[i] : NULL;
}

bool qcbmi_candidate_is_root(const struct qcbmi_candidate *c)
{
    return !c->targeted && !c->l1 && c->n;
}

/* QEMU's rule of COPIED, and that somebody must have named the cluster. */
static bool is_ours(const struct qcbmi_rescue *r, const struct q2_l2_entry *e)
{
    uint64_t cluster = e->host_offset >> r->g->cluster_bits, stored;

    if (!r->refcounts)
        return qcbmi_rescue_is_left(r, cluster) || !e->copied;
    stored = qcbmi_counts_get(&r->stored, cluster);
    if (!qcbmi_rescue_is_left(r, cluster))
        return false;
    return e->kind == Q2_COMPRESSED || e->copied == (stored == 1);
}

static void note_target(struct qcbmi_candidate *c, uint32_t i, const struct q2_l2_entry *e)
{
    if (c->n++ == 0) {
        c->first = e->host_offset;
        c->first_index = i;
    }
    c->last = e->host_offset;
    c->last_index = i;
}

/* A table whose entries all say "zeros" names nothing, and is one all the same for the L1 table that names it. */
static bool is_table(const struct qcbmi_rescue *r, const uint8_t *bytes, struct qcbmi_candidate *c)
{
    uint32_t repeated = 0, zeros = 0;

    for (uint32_t i = 0; i < r->g->l2_entries; i++) {
        struct q2_l2_entry e;

        if (bytes_are_zero(bytes + (uint64_t)i * r->g->l2_entry_size, r->g->l2_entry_size))
            continue;
        qcbmi_rescue_parse(r, bytes, i, 0, &e);
        if (!qcbmi_rescue_entry_is_sound(r, &e) || (e.host_len && !is_ours(r, &e)))
            return false;
        zeros += e.host_len == 0;
        repeated += e.host_len && c->n && e.host_offset == c->last;
        if (e.host_len)
            note_target(c, i, &e);
    }
    return (c->n || zeros) && repeated <= c->n / 20;
}

/* Other metadata that its first bytes show: who has lost the header looks for it. */
static void note_mark(struct qcbmi_rescue *r, uint64_t offset, const uint8_t *bytes)
{
    enum qcbmi_mark_kind kind = QCBMI_MARK_SNAPSHOTS;

    if (memcmp(bytes, "LUKS\xba\xbe\0\1", 8) == 0)
        kind = QCBMI_MARK_LUKS;
    else if (!qcbmi_looks_like_snapshots(r->g, r->img->io.size, bytes))
        return;
    if (r->n_marks < QCBMI_MAX_MARKS)
        r->marks[r->n_marks++] = (struct qcbmi_mark){ offset, kind, false };
}

static int look_at(struct qcbmi_rescue *r, uint64_t cluster, const uint8_t *bytes, struct qcbm_error *err)
{
    struct qcbmi_candidate c = { .ref = { cluster << r->g->cluster_bits, r->n_found } };

    if (r->n_found == MAX_CANDIDATES || !is_table(r, bytes, &c)) {
        note_mark(r, c.ref.offset, bytes);
        return 0;
    }
    if (qcbmi_grow_array(&r->found, &r->found_capacity, r->n_found, sizeof(c), err) < 0)
        return QCBM_E_NOMEM;
    r->found[r->n_found++] = c;
    return 0;
}

/* ---- the pass ---- */

/* Clusters [@from, @end), all of them left, which are less than a piece. */
static int scan_run(struct qcbmi_rescue *r, uint8_t *buf, uint64_t from, uint64_t end, struct qcbm_error *err)
{
    unsigned cb = r->g->cluster_bits;
    bool zeros;
    int ret = qcbmi_holes_read(&r->holes, from << cb, buf, (end - from) << cb, &zeros, "clusters", err);

    for (uint64_t i = from; ret == 0 && !zeros && i < end; i++)
        ret = look_at(r, i, buf + ((i - from) << cb), err);
    return ret == 0 ? qcbmi_progress_add(&r->progress, (end - from) << cb, err) : ret;
}

static int scan(struct qcbmi_rescue *r, struct qcbm_error *err)
{
    uint64_t per_piece = u64_max(QCBMI_RESCUE_PIECE >> r->g->cluster_bits, 1), end;
    uint8_t *buf = qcbmi_alloc_array(per_piece << r->g->cluster_bits, 1, err);
    int ret = buf ? 0 : QCBM_E_NOMEM;

    for (uint64_t i = qcbmi_rescue_next_left(r, 0); ret == 0 && i < r->n_clusters; i = qcbmi_rescue_next_left(r, end)) {
        for (end = i + 1; end < r->n_clusters && end - i < per_piece && qcbmi_rescue_is_left(r, end);)
            end++;
        ret = scan_run(r, buf, i, end, err);
    }
    free(buf);
    return ret;
}

/* ---- who names whom ---- */

struct marking {
    struct qcbmi_rescue *r;
    struct qcbmi_bitset targets;
};

/* Who names tables is an L1 table, an old one or one that was looked for. */
static int count_tables(void *opaque, void *none, const struct qcbmi_l2_ref *ref, const uint8_t *table,
                        struct qcbm_error *err)
{
    struct marking *m = opaque;
    struct qcbmi_rescue *r = m->r;
    uint32_t tables = 0;

    (void)none;
    (void)err;
    for (uint32_t i = 0; table && i < r->g->cluster_size / 8; i++) {
        uint64_t off = be64_load(table + 8 * (uint64_t)i) & Q2_ENTRY_OFFSET_MASK;

        tables += off && off != ref->offset && qcbmi_rescue_candidate(r, off);
    }
    r->found[ref->l1_index].l1 = tables && tables >= (r->found[ref->l1_index].n + 1) / 2;
    return 0;
}

/* Who is named by an L2 table is data, whatever it looks like. */
static int mark_targets(void *opaque, void *none, const struct qcbmi_l2_ref *ref, const uint8_t *table,
                        struct qcbm_error *err)
{
    struct marking *m = opaque;
    struct qcbmi_rescue *r = m->r;
    int ret = 0;

    (void)none;
    for (uint32_t i = 0; ret == 0 && table && !r->found[ref->l1_index].l1 && i < r->g->l2_entries; i++) {
        struct q2_l2_entry e;
        uint64_t cluster;

        qcbmi_rescue_parse(r, table, i, 0, &e);
        cluster = e.host_offset >> r->g->cluster_bits;
        if (e.host_len && e.kind != Q2_COMPRESSED && cluster < r->n_clusters)
            ret = qcbmi_bitset_set(&m->targets, cluster, cluster + 1, err);
    }
    return ret;
}

int qcbmi_rescue_candidates(struct qcbmi_rescue *r, struct qcbm_error *err)
{
    struct marking m = { .r = r };
    struct qcbmi_l2_job job = { .stride = sizeof(struct qcbmi_candidate), .what = "L2 table", .opaque = &m };
    int ret = qcbmi_bitset_init(&m.targets, r->n_clusters, err);

    if (ret == 0)
        ret = scan(r, err);
    job.refs = r->found;
    job.n = r->n_found;
    job.look = count_tables;
    if (ret == 0)
        ret = qcbmi_l2_read(r->img, &job, err);
    job.look = mark_targets;
    if (ret == 0)
        ret = qcbmi_l2_read(r->img, &job, err);
    for (size_t i = 0; ret == 0 && i < r->n_found; i++)
        r->found[i].targeted = qcbmi_bitset_get(&m.targets, r->found[i].ref.offset >> r->g->cluster_bits);
    for (size_t i = 0; ret == 0 && i < r->n_marks; i++)
        r->marks[i].targeted = qcbmi_bitset_get(&m.targets, r->marks[i].offset >> r->g->cluster_bits);
    qcbmi_bitset_free(&m.targets);
    return ret;
}
