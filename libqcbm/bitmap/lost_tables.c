/* lost_tables.c - leaked clusters that are no waste: mapping tables whose pointer is lost, and what they map
 * SPDX-License-Identifier: MIT
 *
 * Content is read once, in file order, within a budget: first the begin of each run of leaked clusters, where QEMU puts
 * a table before the data that it maps. */
#include "bitmap/lost_tables.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/checked.h"
#include "base/sort.h"
#include "bitmap/bitmap_load.h"
#include "format/q2_l1l2.h"

#define MAX_TABLES ((size_t)1 << 12) /* that are told one by one */
#define CONTENT_BUDGET (UINT64_C(256) << 20)
#define PIECE (UINT64_C(1) << 20)
#define PIECE_COST UINT64_C(4096)    /* at least, whatever a hole costs */
#define HEAD 4u                      /* clusters of a run that are read before the rest of any */
#define L1_PIECE (UINT64_C(4) << 10) /* on the stack */
#define FEW 16u                      /* leaked clusters that an ordinary crash leaves */
#define MIN_UNFLAGGED 4u             /* entries of a table none of which tells more */
#define SHOWN 4u                     /* guest ranges in a message */

struct search {
    const struct qcbmi_lost_clues *clues;
    struct qcbmi_image *img;
    const struct q2_geometry *g;
    const struct qcbmi_leaks *leaks;
    struct qcbmi_lost *found;
    struct qcbmi_lost_table **by_target; /* sorted by what they name first */
    size_t capacity;
    uint64_t budget;
    uint8_t *buf;
    struct qcbm_error *err;
};

/* ---- is this a table? ----------------------------------------------------------------------------------- */

struct reading {
    uint32_t named, leaked, repeated;
    uint32_t zeros; /* entries that say "zeros" and name nothing */
    bool own;
    uint64_t first, last;
};

/* What one entry says of a cluster; false if no table has such an entry. */
static bool read_entry(const struct search *s, const struct q2_l2_entry *e, struct reading *r)
{
    uint64_t cluster = e->host_offset >> s->g->cluster_bits;

    if (e->defects)
        return false;
    r->zeros += e->host_len == 0;
    if (e->host_len == 0)
        return true;
    if (!range_fits(e->host_offset, 1, align_up(s->img->io.size, Q2_SECTOR)))
        return false;
    if (e->kind != Q2_COMPRESSED)
        r->repeated += r->named && e->host_offset == r->last;
    r->last = e->host_offset;
    r->named++;
    if (!qcbmi_spans_have(&s->leaks->leaked, cluster))
        return true;
    if (r->leaked++ == 0)
        r->first = cluster;
    r->own |= e->copied || e->kind == Q2_COMPRESSED || qcbmi_spans_have(&s->leaks->shared, cluster);
    return true;
}

/* Entries of L1 tables look like those of L2 tables without subclusters. */
static bool is_mapping_table(const struct search *s, const uint8_t *bytes, bool subclusters, struct reading *r)
{
    struct q2_geometry as = *s->g;

    as.extended_l2 = subclusters;
    *r = (struct reading){ 0 };
    for (uint32_t at = 0; at < as.cluster_size; at += subclusters ? 16 : 8) {
        uint64_t raw = be64_load(bytes + at), word = subclusters ? be64_load(bytes + at + 8) : 0;
        struct q2_l2_entry e;

        if ((raw | word) == 0)
            continue;
        q2_l2_entry_parse(raw, word, 0, &as, &e);
        if (!read_entry(s, &e, r))
            return false;
    }
    if (r->named == 0)
        return r->zeros >= MIN_UNFLAGGED;
    return r->leaked && r->leaked >= r->named / 2 && r->repeated <= r->named / 20 &&
           (r->own || r->leaked >= MIN_UNFLAGGED);
}

/* In a data file each guest cluster lies at its own offset: the table says itself where it belongs. */
static bool is_table_of_data_file(const struct search *s, const uint8_t *bytes, struct reading *r)
{
    uint32_t size = s->g->l2_entry_size;

    *r = (struct reading){ .first = UINT64_MAX };
    for (uint32_t i = 0; i < s->g->l2_entries; i++) {
        uint64_t raw = be64_load(bytes + (size_t)i * size), off = raw & Q2_ENTRY_OFFSET_MASK;
        uint64_t base = off - ((uint64_t)i << s->g->cluster_bits);

        if (raw == 0)
            continue;
        if (raw & (Q2_L2_COMPRESSED | Q2_L2_RESERVED) || !(raw & Q2_ENTRY_COPIED) || base % s->g->l2_span ||
            base >= s->g->size || (r->named && base != r->first))
            return false;
        r->first = base;
        r->named++;
    }
    r->leaked = r->named;
    r->own = true;
    return r->named > 0;
}

static int look_at(struct search *s, uint64_t cluster, const uint8_t *bytes)
{
    const struct q2_geometry *g = s->g;
    struct reading r;
    bool found = g->data_file ? is_table_of_data_file(s, bytes, &r)
                              : (g->extended_l2 && is_mapping_table(s, bytes, true, &r)) ||
                                    is_mapping_table(s, bytes, false, &r);

    if (!found)
        return 0;
    s->found->n_all++;
    if (s->found->n == MAX_TABLES)
        return 0;
    if (qcbmi_grow_array(&s->found->list, &s->capacity, s->found->n, sizeof(s->found->list[0]), s->err) < 0)
        return QCBM_E_NOMEM;
    s->found->list[s->found->n++] = (struct qcbmi_lost_table){ cluster, r.first, r.leaked, r.own, false, false };
    return 0;
}

/* ---- the content of leaked clusters --------------------------------------------------------------------- */

static int read_clusters(struct search *s, uint64_t first, uint64_t end)
{
    unsigned cb = s->g->cluster_bits;
    uint64_t per_piece = u64_max(PIECE >> cb, 1);
    int ret = 0;

    end = u64_min(end, div_up(s->img->io.size, s->g->cluster_size));
    for (uint64_t k = first, n; ret == 0 && k < end; k += n) {
        uint64_t bytes;
        bool zeros;

        n = u64_min(per_piece, end - k);
        bytes = n << cb;
        if (u64_max(bytes, PIECE_COST) > s->budget)
            break;
        s->budget -= u64_max(bytes, PIECE_COST);
        ret = qcbmi_holes_read(s->clues->holes, k << cb, s->buf, bytes, &zeros, "metadata", s->err);
        for (uint64_t i = 0; ret == 0 && !zeros && i < n; i++)
            ret = look_at(s, k + i, s->buf + (i << cb));
    }
    return ret;
}

static int read_leaks(struct search *s)
{
    const struct qcbmi_spans *r = &s->leaks->leaked;
    int ret;

    s->buf = qcbmi_alloc_array(u64_max(PIECE, s->g->cluster_size), 1, s->err);
    ret = s->buf ? 0 : QCBM_E_NOMEM;
    for (size_t i = 0; ret == 0 && i < r->n; i++)
        ret = read_clusters(s, r->list[i].first, u64_min(r->list[i].first + HEAD, r->list[i].end));
    for (size_t i = 0; ret == 0 && i < r->n; i++)
        ret = read_clusters(s, r->list[i].first + HEAD, r->list[i].end);
    qcbmi_sort(s->found->list, s->found->n, sizeof(s->found->list[0]), qcbmi_by_u64);
    return ret;
}

/* ---- what the active L1 says ---------------------------------------------------------------------------- */

static struct qcbmi_lost_table *find_table(const struct search *s, uint64_t cluster)
{
    struct qcbmi_lost_table key = { .cluster = cluster };

    return s->found->n ? bsearch(&key, s->found->list, s->found->n, sizeof(s->found->list[0]), qcbmi_by_u64) : NULL;
}

static int by_target(const void *a, const void *b)
{
    return u64_compare((*(struct qcbmi_lost_table *const *)a)->target, (*(struct qcbmi_lost_table *const *)b)->target);
}

static int index_targets(struct search *s)
{
    s->by_target = qcbmi_alloc_array(s->found->n, sizeof(s->by_target[0]), s->err);
    if (!s->by_target)
        return QCBM_E_NOMEM;
    for (size_t i = 0; i < s->found->n; i++)
        s->by_target[i] = &s->found->list[i];
    qcbmi_sort(s->by_target, s->found->n, sizeof(s->by_target[0]), by_target);
    return 0;
}

static bool targets_before(const void *table, const void *cluster)
{
    return (*(struct qcbmi_lost_table *const *)table)->target < *(const uint64_t *)cluster;
}

/* @cluster is an L2 table of the active state. */
static void note_active(struct search *s, uint64_t cluster)
{
    struct qcbmi_lost_table *t = find_table(s, cluster);
    size_t i = qcbmi_lower_bound(s->by_target, s->found->n, sizeof(s->by_target[0]), targets_before, &cluster);

    if (t)
        t->in_use = true;
    for (; i < s->found->n && s->by_target[i]->target == cluster && !s->by_target[i]->in_use; i++)
        s->by_target[i]->in_use = true;
}

static int note_l1_entry(struct search *s, uint64_t index, uint64_t raw)
{
    struct q2_l1_entry e;

    q2_l1_entry_parse(raw, s->g, &e);
    if (!e.l2_offset || e.reserved || e.unaligned || !range_fits(e.l2_offset, s->g->cluster_size, s->img->io.size))
        return qcbmi_spans_add(&s->found->empty, index, SIZE_MAX, s->err);
    note_active(s, e.l2_offset >> s->g->cluster_bits);
    return 0;
}

static int read_l1(struct search *s)
{
    uint64_t off = s->img->h.l1_offset, len = 8 * s->g->l1_used;
    int ret = index_targets(s);

    for (uint64_t at = 0; ret == 0 && at < len; at += L1_PIECE) {
        uint64_t n = u64_min(L1_PIECE, len - at);
        uint8_t bytes[L1_PIECE];

        ret = qcbmi_holes_read(s->clues->holes, off + at, bytes, n, NULL, "metadata", s->err);
        for (uint64_t i = 0; ret == 0 && i < n; i += 8)
            ret = note_l1_entry(s, (at + i) / 8, be64_load(bytes + i));
    }
    return ret;
}

struct stale_data {
    const struct search *s;
    uint64_t n;
};

static int count_stale_data(void *opaque, uint64_t offset, struct qcbm_error *err)
{
    struct stale_data *d = opaque;

    (void)err;
    d->n += qcbmi_spans_have(&d->s->leaks->leaked, offset >> d->s->g->cluster_bits);
    return 0;
}

/* The leaked clusters that the table of a stale bitmap names. Tables that overlap are read as far as the budget
 * goes. */
static int count_stale_bitmap(struct search *s, const struct qcbmi_bitmap *b, uint64_t *n)
{
    uint64_t bytes = 8 * (uint64_t)b->d.table_entries, bad;
    struct stale_data d = { s, 0 };
    int ret = 0;

    if (bytes <= s->budget && qcbmi_bitmap_table_in_file(s->img, b)) {
        s->budget -= bytes;
        ret = qcbmi_bitmap_clusters(s->img, s->clues->holes, b, count_stale_data, &d, &bad, s->err);
    }
    *n += d.n;
    return ret;
}

/* The clusters of stale bitmaps leak, and a bitmap's table has the look of an L2 table. *@n is how many leaks are
 * theirs. */
static int leave_out_bitmaps(struct search *s, uint64_t *n)
{
    const struct qcbmi_bitmap_list *was = s->clues->bitmaps->was;
    unsigned cb = s->g->cluster_bits;
    struct qcbmi_spans r = { 0 };
    int ret = 0;

    *n = was ? (was->ext.directory_size >> cb) + 1 : 0;
    for (uint32_t i = 0; ret == 0 && was && i < was->n; i++) {
        uint64_t bytes = 8 * (uint64_t)was->list[i].d.table_entries, first = was->list[i].d.table_offset >> cb;

        *n += (bytes >> cb) + 1;
        ret = qcbmi_grow_array(&r.list, &r.capacity, r.n, sizeof(r.list[0]), s->err);
        if (ret == 0)
            r.list[r.n++] = (struct qcbmi_span){ first, first + (bytes >> cb) + 1 };
        if (ret == 0)
            ret = count_stale_bitmap(s, &was->list[i], n);
    }
    qcbmi_spans_sort(&r);
    for (size_t i = 0; i < s->found->n; i++)
        s->found->list[i].in_use |= qcbmi_spans_have(&r, s->found->list[i].cluster);
    free(r.list);
    return ret;
}

/* ---- evidence and suspicion ----------------------------------------------------------------------------- */

/* A table of the active state has its clusters alone, or shares them with a snapshot. One that does neither is that of
 * a lost snapshot, or of a bitmap that was never finished: its loss takes nothing from the disk of today. */
bool qcbmi_lost_is_evidence(const struct qcbmi_lost_table *t)
{
    return t->own && !t->in_use;
}

/* @of_bitmaps: leaks that stale bitmaps account for. Where all of the disk is mapped nothing can be missing. */
static void judge(struct search *s, uint64_t of_bitmaps)
{
    const struct qcbmi_leaks *l = s->leaks;
    bool many;

    s->found->room = l->blank.n || s->found->empty.n || !s->clues->all_mapped;
    many = l->n_leaked >= FEW + of_bitmaps && s->found->room;
    for (size_t i = 0; i < s->found->n; i++) {
        struct qcbmi_lost_table *t = &s->found->list[i];

        t->is_l1 = !s->g->data_file && find_table(s, t->target);
        s->found->n_evidence += qcbmi_lost_is_evidence(t);
        s->found->n_unowned += !t->in_use && !qcbmi_lost_is_evidence(t);
    }
    /* With the dirty bit refcounts may be old: leaks are no surprise then. */
    s->found->suspicion = (many || s->found->n_unowned) && !(s->img->h.incompatible & QCBM_INCOMPAT_DIRTY);
}

int qcbmi_lost_search(const struct qcbmi_lost_clues *clues, struct qcbmi_lost *out, struct qcbm_error *err)
{
    struct search s = { .clues = clues, .img = clues->img, .g = &clues->img->g, .leaks = clues->leaks, .found = out };
    uint64_t of_bitmaps = 0;
    int ret;

    *out = (struct qcbmi_lost){ 0 };
    if (clues->leaks->n_leaked == 0)
        return 0;
    s.budget = CONTENT_BUDGET;
    s.err = err;
    qcbmi_spans_sort(&clues->leaks->blank);
    ret = read_leaks(&s);
    if (ret == 0)
        ret = read_l1(&s);
    if (ret == 0)
        ret = leave_out_bitmaps(&s, &of_bitmaps);
    if (ret == 0)
        judge(&s, of_bitmaps);
    free(s.by_target);
    free(s.buf);
    return ret;
}

void qcbmi_lost_free(struct qcbmi_lost *l)
{
    free(l->list);
    free(l->empty.list);
    *l = (struct qcbmi_lost){ 0 };
}

/* ---- words ---------------------------------------------------------------------------------------------- */

void qcbmi_lost_table_text(const struct qcbmi_image *img, const struct qcbmi_lost_table *t, char *to, size_t size)
{
    const struct q2_geometry *g = &img->g;
    uint64_t offset = t->cluster << g->cluster_bits;

    if (g->data_file)
        snprintf(to, size,
                 "leaked cluster %" PRIu64 " (offset 0x%" PRIx64 ") is the L2 table of guest 0x%" PRIx64
                 " - 0x%" PRIx64,
                 t->cluster, offset, t->target, u64_min(t->target + g->l2_span, g->size));
    else
        snprintf(to, size,
                 "leaked cluster %" PRIu64 " (offset 0x%" PRIx64 ") is an L%d table that names %" PRIu32
                 " leaked clusters, the first at 0x%" PRIx64,
                 t->cluster, offset, t->is_l1 ? 1 : 2, t->n, t->target << g->cluster_bits);
}

static void guest_text(const struct q2_geometry *g, const struct qcbmi_spans *r, char *to, size_t size)
{
    size_t len = 0;

    for (size_t i = 0; i < r->n && i < SHOWN; i++)
        len += (size_t)snprintf(to + len, size - len, "%s0x%" PRIx64 " - 0x%" PRIx64, i ? ", " : "",
                                r->list[i].first * g->l2_span, u64_min(r->list[i].end * g->l2_span, g->size));
    if (r->n > SHOWN)
        snprintf(to + len, size - len, " and %zu more ranges", r->n - SHOWN);
}

/* Tables of zeros say more than places without a table, which most disks have. */
void qcbmi_lost_suspicion_text(const struct qcbmi_image *img, const struct qcbmi_leaks *leaks,
                               const struct qcbmi_lost *found, char *to, size_t size)
{
    const struct qcbmi_spans *where = leaks->blank.n ? &leaks->blank : &found->empty;
    char guest[SHOWN * 48 + 48], tables[64] = "",
                                 ranges[SHOWN * 48 + 192] = "or lost entries of a table, of which range cannot be told";

    if (where->n) {
        guest_text(&img->g, where, guest, sizeof(guest));
        snprintf(ranges, sizeof(ranges), "guest ranges %s: %s; or lost entries of a table, then any range",
                 leaks->blank.n ? "whose L2 table is all zeros or overwritten" : "without an L2 table", guest);
    }
    if (found->n_unowned)
        snprintf(tables, sizeof(tables), "; %" PRIu64 " of them look like mapping tables", found->n_unowned);
    snprintf(to, size,
             "%" PRIu64 " leaked cluster%s (%" PRIu64 " bytes) may be data that a lost mapping table mapped%s; %s",
             leaks->n_leaked, qcbmi_s(leaks->n_leaked), leaks->n_leaked << img->g.cluster_bits, tables, ranges);
}

/* With snapshots one reference that is missing is a leak, too, though a snapshot may have the cluster. */
void qcbmi_lost_few_text(const struct qcbmi_image *img, const struct qcbmi_leaks *leaks, char *to, size_t size)
{
    uint64_t n = leaks->n_leaked;
    const char *what =
        leaks->shared.n
            ? (n == 1 ? "counts once more than anything refers to it" : "count once more than anything refers to them")
            : (n == 1 ? "is in use and nothing refers to it" : "are in use and nothing refers to them");

    snprintf(to, size,
             "%" PRIu64 " cluster%s (%" PRIu64 " bytes) %s: leaks of a crash, or what a lost table had; 'qcbm check "
             "--explain FILE' tells",
             n, n == 1 ? "" : "s", n << img->g.cluster_bits, what);
}
