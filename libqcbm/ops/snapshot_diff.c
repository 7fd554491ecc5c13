/* snapshot_diff.c - where two states of an image differ: two internal snapshots, or one and the active state
 * SPDX-License-Identifier: MIT */
#include "ops/snapshot_diff.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/checked.h"
#include "base/sort.h"
#include "image/l2_read.h"
#include "ops/shared_clusters.h"

#define BATCH (UINT64_C(16) << 20) /* bytes of tables that are kept, to be compared */

/* Tables of the two states for the same guest bytes; 0: none. */
struct pair {
    uint64_t to, from;
    uint64_t l1_index;
};

struct diff {
    struct qcbmi_snapshot_diff *d;
    const struct q2_geometry *g; /* what is alike in both: clusters and tables */
    uint64_t common;             /* guest bytes that both states have */
    uint64_t n_l1;               /* L1 entries for them */
    uint8_t *bad_l1;             /* of each: it was marked as damaged */
    struct pair *pairs;
    size_t n_pairs;
    uint64_t start, end; /* a run that differs and is not marked yet */
    struct qcbmi_shared shared;
};

/* ---- what differs ---- */

static int mark(struct diff *f, uint64_t start, uint64_t end, struct qcbm_error *err)
{
    int ret = 0;

    if (start != f->end) {
        ret = qcbmi_dirtymap_set(f->d->map, f->start, f->end, err);
        f->start = start;
    }
    f->end = end;
    return ret;
}

static int mark_table(struct diff *f, uint64_t l1_index, struct qcbm_error *err)
{
    uint64_t guest = l1_index * f->g->l2_span;

    return mark(f, guest, u64_min(guest + f->g->l2_span, f->common), err);
}

/* ---- L1 tables ---- */

static uint64_t l1_raw(const struct qcbmi_image *state, uint64_t i)
{
    return i < state->g.l1_used ? be64_load(state->l1 + 8 * i) : 0;
}

static int damaged_l1(struct diff *f, const struct qcbmi_image *state, uint64_t i, const char *rule,
                      struct qcbm_error *err)
{
    uint64_t raw = l1_raw(state, i);

    qcbmi_damage_add(&f->d->damage, state->h.l1_offset + 8 * i,
                     "L1 entry %" PRIu64 " (guest 0x%" PRIx64 "), L2 table at 0x%" PRIx64 ": %s", i, i * f->g->l2_span,
                     raw & Q2_ENTRY_OFFSET_MASK, rule);
    if (f->bad_l1[i])
        return 0;
    f->bad_l1[i] = 1;
    return mark_table(f, i, err);
}

static const char *l1_rule(const struct qcbmi_image *state, const struct q2_l1_entry *e)
{
    const char *rule = q2_l1_defect_text(e);

    if (!rule && e->l2_offset && !range_fits(e->l2_offset, state->g.cluster_size, state->io.size))
        rule = "it lies past the end of the file, or is cut short by it";
    return rule;
}

/* The entries of one state that can be followed. In one L1 each table stands once, and no honest image has it
 * otherwise. */
static int check_l1(struct diff *f, const struct qcbmi_image *state, struct qcbm_error *err)
{
    struct qcbmi_l2_ref *refs = qcbmi_alloc_array(f->n_l1, sizeof(*refs), err);
    size_t n = 0;
    int ret = refs ? 0 : QCBM_E_NOMEM;

    for (uint64_t i = 0; ret == 0 && i < f->n_l1; i++) {
        struct q2_l1_entry e;
        const char *rule;

        q2_l1_entry_parse(l1_raw(state, i), f->g, &e);
        rule = l1_rule(state, &e);
        if (rule)
            ret = damaged_l1(f, state, i, rule, err);
        else if (e.l2_offset)
            refs[n++] = (struct qcbmi_l2_ref){ e.l2_offset, i };
    }
    qcbmi_sort(refs, n, sizeof(*refs), qcbmi_by_two_u64);
    for (size_t i = 0; ret == 0 && i < n; i++)
        if (qcbmi_l2_is_named_twice(refs, n, i))
            ret = damaged_l1(f, state, refs[i].l1_index, "another L1 entry has the same table", err);
    free(refs);
    return ret;
}

static int share(struct diff *f, uint64_t off, uint64_t len, struct qcbm_error *err)
{
    return qcbmi_shared_add(&f->shared, off, len, err);
}

static const char in_place[] = "both states have it, but the COPIED flag says that it may be written in place";

/* Tables of both states into pairs, unless they are the same one. */
static int pair_tables(struct diff *f, struct qcbm_error *err)
{
    int ret = 0;

    for (uint64_t i = 0; ret == 0 && i < f->n_l1; i++) {
        uint64_t from = l1_raw(f->d->from, i), to = l1_raw(f->d->to, i);
        struct pair p = { to & Q2_ENTRY_OFFSET_MASK, from & Q2_ENTRY_OFFSET_MASK, i };

        if (f->bad_l1[i] || (p.to | p.from) == 0)
            continue;
        if (p.to != p.from)
            f->pairs[f->n_pairs++] = p;
        else if (f->d->to_is_active && (to & Q2_ENTRY_COPIED))
            ret = damaged_l1(f, f->d->to, i, in_place, err);
        else
            ret = share(f, p.to, f->g->cluster_size, err);
    }
    qcbmi_sort(f->pairs, f->n_pairs, sizeof(*f->pairs), qcbmi_by_two_u64);
    return ret;
}

/* ---- L2 entries ---- */

static bool reads_through(enum q2_kind k)
{
    return k == Q2_UNALLOCATED || k == Q2_UNALLOCATED_ALLOC;
}

static bool is_zero(enum q2_kind k)
{
    return k == Q2_ZERO_PLAIN || k == Q2_ZERO_ALLOC;
}

/* Compressed ones that are alike have the same descriptor, and do not come here. */
static bool same_content(enum q2_kind a, enum q2_kind b, bool same_host)
{
    if (reads_through(a) && reads_through(b))
        return true;
    return (is_zero(a) && is_zero(b)) || (a == Q2_NORMAL && b == Q2_NORMAL && same_host);
}

/* An entry where it lies. */
struct place {
    const struct qcbmi_image *state;
    uint64_t table, guest;
    uint32_t i;
    uint64_t raw, word;
};

static int damaged_l2(struct diff *f, const struct place *at, const char *rule, struct qcbm_error *err)
{
    qcbmi_damage_add(&f->d->damage, at->table + (uint64_t)at->i * f->g->l2_entry_size,
                     "L2 table at 0x%" PRIx64 ", entry %u (guest 0x%" PRIx64 "): 0x%016" PRIx64 ": %s", at->table,
                     at->i, at->guest, at->raw, rule);
    return mark(f, at->guest, at->guest + f->g->cluster_size, err);
}

/* The rule that the entry breaks, or NULL. */
static const char *parse(const struct diff *f, const struct place *at, struct q2_l2_entry *e)
{
    q2_l2_entry_parse(at->raw, at->word, at->guest, f->g, e);
    if (e->defects)
        return q2_l2_defect_text(e->defects);
    return qcbmi_l2_entry_in_file(at->state, e) ? NULL : "its cluster lies past the end of the file";
}

/* Both states have what entry @to names. */
static int look_at_shared(struct diff *f, const struct place *to, struct qcbm_error *err)
{
    struct q2_l2_entry e;
    const char *rule = parse(f, to, &e);

    if (!rule && e.host_len && e.copied && f->d->to_is_active)
        rule = in_place;
    if (rule)
        return damaged_l2(f, to, rule, err);
    return e.host_len ? share(f, e.host_offset, e.host_len, err) : 0;
}

/* Entries that are not alike: the parts of the cluster whose content may differ. */
static int look_at_differing(struct diff *f, const struct place *from, const struct place *to, struct qcbm_error *err)
{
    unsigned parts = f->g->extended_l2 ? 32 : 1;
    uint64_t len = f->g->cluster_size / parts;
    struct q2_l2_entry a, b;
    const char *rule = parse(f, from, &a);
    bool same_host;
    int ret = 0;

    if (rule)
        return damaged_l2(f, from, rule, err);
    rule = parse(f, to, &b);
    same_host = a.host_len && b.host_len && a.host_offset == b.host_offset && a.kind != Q2_COMPRESSED &&
                b.kind != Q2_COMPRESSED;
    if (!rule && same_host && b.copied && f->d->to_is_active)
        rule = in_place;
    if (rule)
        return damaged_l2(f, to, rule, err);
    if (same_host)
        ret = share(f, b.host_offset, b.host_len, err);
    for (unsigned k = 0; ret == 0 && k < parts; k++)
        if (!same_content(q2_subcluster_kind(&a, f->g, k), q2_subcluster_kind(&b, f->g, k), same_host))
            ret = mark(f, to->guest + k * len, to->guest + (k + 1) * len, err);
    return ret;
}

static void go_to(struct place *p, const uint8_t *table, const struct q2_geometry *g)
{
    const uint8_t *at = table + (size_t)p->i * g->l2_entry_size;

    p->raw = be64_load(at);
    p->word = g->extended_l2 ? be64_load(at + 8) : 0;
}

/* Where a state has no table, @a or @b is all zeros. */
static int compare(struct diff *f, const struct pair *p, const uint8_t *a, const uint8_t *b, struct qcbm_error *err)
{
    uint64_t guest = p->l1_index * f->g->l2_span;
    uint32_t n = (uint32_t)u64_min(f->g->l2_entries, div_up(f->common - guest, f->g->cluster_size));
    struct place from = { .state = f->d->from, .table = p->from }, to = { .state = f->d->to, .table = p->to };
    int ret = 0;

    for (uint32_t i = 0; ret == 0 && i < n; i++) {
        from.i = to.i = i;
        from.guest = to.guest = guest + (uint64_t)i * f->g->cluster_size;
        go_to(&from, a, f->g);
        go_to(&to, b, f->g);
        if (((from.raw ^ to.raw) & ~Q2_ENTRY_COPIED) | (from.word ^ to.word))
            ret = look_at_differing(f, &from, &to, err);
        else if ((to.raw & ~Q2_ENTRY_COPIED) | to.word)
            ret = look_at_shared(f, &to, err);
    }
    return ret;
}

/* ---- L2 tables ---- */

/* A table that is to be read, and where it goes. */
struct wanted {
    struct qcbmi_l2_ref ref;
    uint8_t *to;
};

static int keep_table(void *opaque, void *result, const struct qcbmi_l2_ref *ref, const uint8_t *table,
                      struct qcbm_error *err)
{
    const struct diff *f = opaque;
    const struct wanted *w = (const struct wanted *)(const void *)ref;

    (void)result;
    (void)err;
    if (table)
        memcpy(w->to, table, f->g->cluster_size);
    else
        memset(w->to, 0, f->g->cluster_size);
    return 0;
}

static void want(struct diff *f, struct wanted *list, size_t *n, uint64_t table, uint64_t index, uint8_t *to)
{
    if (table)
        list[(*n)++] = (struct wanted){ { table, index }, to };
    else
        memset(to, 0, f->g->cluster_size);
}

/* Pairs [@first, @first + @n): their tables are read in file order, and then compared. */
static int compare_batch(struct diff *f, size_t first, size_t n, uint8_t *buf, struct wanted *list,
                         struct qcbm_error *err)
{
    struct qcbmi_l2_job job = { .refs = list, .stride = sizeof(*list), .what = "L2 table", .exact = true };
    size_t cs = f->g->cluster_size;
    int ret;

    for (size_t i = 0; i < n; i++) {
        want(f, list, &job.n, f->pairs[first + i].from, f->pairs[first + i].l1_index, buf + 2 * i * cs);
        want(f, list, &job.n, f->pairs[first + i].to, f->pairs[first + i].l1_index, buf + (2 * i + 1) * cs);
    }
    qcbmi_sort(list, job.n, sizeof(*list), qcbmi_by_two_u64);
    job.progress = f->d->progress;
    job.opaque = f;
    job.look = keep_table;
    ret = qcbmi_l2_read(f->d->to, &job, err);
    f->d->tables_read += job.n;
    for (size_t i = 0; ret == 0 && i < n; i++)
        ret = compare(f, &f->pairs[first + i], buf + 2 * i * cs, buf + (2 * i + 1) * cs, err);
    return ret;
}

static int compare_tables(struct diff *f, struct qcbm_error *err)
{
    uint64_t cs = f->g->cluster_size;
    size_t batch = (size_t)u64_min(f->n_pairs, u64_max(BATCH / (2 * cs), 1));
    uint8_t *buf = qcbmi_alloc_array(2 * batch, cs, err);
    struct wanted *list = qcbmi_alloc_array(2 * batch, sizeof(*list), err);
    int ret = buf && list ? 0 : QCBM_E_NOMEM;

    for (size_t i = 0; f->d->progress && i < f->n_pairs; i++)
        f->d->progress->total += (f->pairs[i].from ? cs : 0) + (f->pairs[i].to ? cs : 0);
    for (size_t i = 0; ret == 0 && i < f->n_pairs; i += batch)
        ret = compare_batch(f, i, f->n_pairs - i < batch ? f->n_pairs - i : batch, buf, list, err);
    free(buf);
    free(list);
    return ret;
}

/* ---- all of it ---- */

/* With refcounts that say too little, what was shared may have been given to somebody else: nothing is sure then. */
static int check_shared(struct diff *f, struct qcbm_error *err)
{
    uint64_t before = f->d->damage.count;
    int ret = qcbmi_shared_check(&f->shared, &f->d->damage, err);

    return ret < 0 || f->d->damage.count == before ? ret : qcbmi_dirtymap_set(f->d->map, 0, f->d->map->size, err);
}

/* Two states have an L1 table each; with one for both, what is written in one is written in the other. */
static int check_two_tables(struct diff *f, struct qcbm_error *err)
{
    uint64_t at = f->d->to->h.l1_offset;

    if (f->n_l1 == 0 || at != f->d->from->h.l1_offset)
        return 0;
    qcbmi_damage_add(&f->d->damage, at, "L1 table at 0x%" PRIx64 ": two states have it", at);
    return qcbmi_dirtymap_set(f->d->map, 0, f->d->map->size, err);
}

static int run(struct diff *f, struct qcbm_error *err)
{
    int ret = qcbmi_shared_init(&f->shared, f->d->to, err);

    f->bad_l1 = qcbmi_alloc_array(f->n_l1, 1, err);
    f->pairs = qcbmi_alloc_array(f->n_l1, sizeof(*f->pairs), err);
    if (!f->bad_l1 || !f->pairs)
        ret = QCBM_E_NOMEM;
    if (ret == 0)
        ret = check_two_tables(f, err);
    if (ret == 0)
        ret = check_l1(f, f->d->from, err);
    if (ret == 0)
        ret = check_l1(f, f->d->to, err);
    if (ret == 0)
        ret = pair_tables(f, err);
    if (ret == 0)
        ret = compare_tables(f, err);
    if (ret == 0)
        ret = mark(f, f->common, u64_max(f->d->from->g.size, f->d->to->g.size), err);
    if (ret == 0)
        ret = qcbmi_dirtymap_set(f->d->map, f->start, f->end, err);
    return ret < 0 ? ret : check_shared(f, err);
}

/* An image that was not closed may have refcounts, and with them flags, that were never written. */
static int check_counts_hold(const struct qcbmi_image *img, struct qcbm_error *err)
{
    if (!(img->h.incompatible & (QCBM_INCOMPAT_DIRTY | QCBM_INCOMPAT_CORRUPT)))
        return 0;
    return qcbmi_image_refuse(img,
                              qcbmi_fail(err, QCBM_E_UNSAFE, Q2_OFF_INCOMPATIBLE,
                                         "the image is marked %s: what its states share cannot be relied on",
                                         img->h.incompatible & QCBM_INCOMPAT_CORRUPT ? "corrupt" : "dirty"),
                              err);
}

int qcbmi_snapshot_diff_mark(struct qcbmi_snapshot_diff *d, struct qcbm_error *err)
{
    struct diff f = { .d = d, .g = &d->to->g };
    int ret = check_counts_hold(d->to, err);

    if (ret == 0)
        ret = qcbmi_l1_load(d->from, err);
    if (ret == 0)
        ret = qcbmi_l1_load(d->to, err);
    if (ret < 0)
        return ret;
    f.common = u64_min(d->from->g.size, d->to->g.size);
    f.n_l1 = div_up(f.common, f.g->l2_span);
    f.n_l1 = u64_min(f.n_l1, u64_max(d->from->g.l1_used, d->to->g.l1_used));
    ret = run(&f, err);
    qcbmi_shared_free(&f.shared);
    free(f.bad_l1);
    free(f.pairs);
    return ret;
}
