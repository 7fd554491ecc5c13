/* check_lost.c - leaked clusters that are no waste: mapping tables whose pointer is lost, and what they map
 * SPDX-License-Identifier: MIT
 *
 * Two grades. Evidence: a leaked cluster whose content is a mapping table of other leaked clusters. Suspicion: many leaked
 * clusters in an image that does not map all of its disk, be it that a table is all zeros or has no place in the L1 table,
 * or that a piece of a table was zeroed or overwritten; a crash of QEMU leaves the same where it had allocated clusters
 * and not yet written the entries. Content is read once, in file order, within a budget:
 * first the begin of each run of leaked clusters, where QEMU puts a table before the data that it maps. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "base/sort.h"
#include "bitmap/bitmap_load.h"
#include "check/check.h"

#define MAX_TABLES ((size_t)1 << 12) /* that are told one by one */
#define CONTENT_BUDGET (UINT64_C(256) << 20)
#define PIECE (UINT64_C(1) << 20)
#define PIECE_COST UINT64_C(4096)    /* at least, whatever a hole costs */
#define HEAD 4u                      /* clusters of a run that are read before the rest of any */
#define L1_PIECE (UINT64_C(4) << 10) /* on the stack */
#define FEW 16u                      /* leaked clusters that an ordinary crash leaves */
#define MIN_UNFLAGGED 4u             /* entries of a table none of which tells more */
#define SHOWN 4u                     /* guest ranges in a message */

struct table {
    uint64_t cluster;
    uint64_t target; /* the first leaked cluster that it names, or the guest offset with a data file */
    uint32_t n;      /* leaked clusters that it names */
    bool own;        /* it has a cluster alone, by its flags, or shares one with a snapshot */
    bool in_use;     /* the active L1 names it, or the first that it names: these are only counted once too often */
};

struct search {
    struct check *c;
    struct table *tables;     /* sorted, once all are known */
    struct table **by_target; /* the same, sorted by what they name first */
    size_t n, capacity;
    uint64_t n_all;
    uint64_t budget;
    uint8_t *buf;
    struct check_runs empty; /* L1 entries of the disk without a table that can be used */
};

/* ---- is this a table? ----------------------------------------------------------------------------------- */

struct reading {
    uint32_t named, leaked, repeated;
    uint32_t zeros; /* entries that say "zeros" and name nothing */
    bool own;
    uint64_t first, last;
};

/* What one entry says of a cluster; false if no table has such an entry. */
static bool read_entry(const struct check *c, const struct q2_l2_entry *e, struct reading *r)
{
    uint64_t cluster = e->host_offset >> c->g->cluster_bits;

    if (e->defects)
        return false;
    r->zeros += e->host_len == 0;
    if (e->host_len == 0)
        return true;
    if (!range_fits(e->host_offset, 1, c->file_len))
        return false;
    if (e->kind != Q2_COMPRESSED)
        r->repeated += r->named && e->host_offset == r->last;
    r->last = e->host_offset;
    r->named++;
    if (!qcbmi_check_in_runs(&c->lost.leaked, cluster))
        return true;
    if (r->leaked++ == 0)
        r->first = cluster;
    r->own |= e->copied || e->kind == Q2_COMPRESSED || qcbmi_check_in_runs(&c->lost.shared, cluster);
    return true;
}

/* Entries of L1 tables look like those of L2 tables without subclusters. */
static bool is_mapping_table(const struct check *c, const uint8_t *bytes, bool subclusters, struct reading *r)
{
    struct q2_geometry as = *c->g;

    as.extended_l2 = subclusters;
    *r = (struct reading){ 0 };
    for (uint32_t at = 0; at < as.cluster_size; at += subclusters ? 16 : 8) {
        uint64_t raw = be64_load(bytes + at), word = subclusters ? be64_load(bytes + at + 8) : 0;
        struct q2_l2_entry e;

        if ((raw | word) == 0)
            continue;
        q2_l2_entry_parse(raw, word, 0, &as, &e);
        if (!read_entry(c, &e, r))
            return false;
    }
    if (r->named == 0)
        return r->zeros >= MIN_UNFLAGGED;
    return r->leaked && r->leaked >= r->named / 2 && r->repeated <= r->named / 20 &&
           (r->own || r->leaked >= MIN_UNFLAGGED);
}

/* In a data file each guest cluster lies at its own offset: the table says itself where it belongs. */
static bool is_table_of_data_file(const struct check *c, const uint8_t *bytes, struct reading *r)
{
    uint32_t size = c->g->l2_entry_size;

    *r = (struct reading){ .first = UINT64_MAX };
    for (uint32_t i = 0; i < c->g->l2_entries; i++) {
        uint64_t raw = be64_load(bytes + (size_t)i * size), off = raw & Q2_ENTRY_OFFSET_MASK;
        uint64_t base = off - ((uint64_t)i << c->g->cluster_bits);

        if (raw == 0)
            continue;
        if (raw & (Q2_L2_COMPRESSED | Q2_L2_RESERVED) || !(raw & Q2_ENTRY_COPIED) || base % c->g->l2_span ||
            base >= c->g->size || (r->named && base != r->first))
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
    const struct q2_geometry *g = s->c->g;
    struct reading r;
    bool found = g->data_file ? is_table_of_data_file(s->c, bytes, &r)
                              : (g->extended_l2 && is_mapping_table(s->c, bytes, true, &r)) ||
                                    is_mapping_table(s->c, bytes, false, &r);

    if (!found)
        return 0;
    s->n_all++;
    if (s->n == MAX_TABLES)
        return 0;
    if (qcbmi_grow_array(&s->tables, &s->capacity, s->n, sizeof(s->tables[0]), s->c->err) < 0)
        return QCBM_E_NOMEM;
    s->tables[s->n++] = (struct table){ cluster, r.first, r.leaked, r.own, false };
    return 0;
}

/* ---- the content of leaked clusters --------------------------------------------------------------------- */

static int read_clusters(struct search *s, uint64_t first, uint64_t end)
{
    unsigned cb = s->c->g->cluster_bits;
    uint64_t per_piece = u64_max(PIECE >> cb, 1);
    int ret = 0;

    end = u64_min(end, div_up(s->c->img->io.size, s->c->g->cluster_size));
    for (uint64_t k = first, n; ret == 0 && k < end; k += n) {
        uint64_t bytes;
        bool zeros;

        n = u64_min(per_piece, end - k);
        bytes = n << cb;
        if (u64_max(bytes, PIECE_COST) > s->budget)
            break;
        s->budget -= u64_max(bytes, PIECE_COST);
        ret = qcbmi_check_read(s->c, k << cb, s->buf, bytes, &zeros);
        for (uint64_t i = 0; ret == 0 && !zeros && i < n; i++)
            ret = look_at(s, k + i, s->buf + (i << cb));
    }
    return ret;
}

static int read_leaks(struct search *s)
{
    const struct check_runs *r = &s->c->lost.leaked;
    int ret;

    s->buf = qcbmi_alloc_array(u64_max(PIECE, s->c->g->cluster_size), 1, s->c->err);
    ret = s->buf ? 0 : QCBM_E_NOMEM;
    for (size_t i = 0; ret == 0 && i < r->n; i++)
        ret = read_clusters(s, r->list[i].first, u64_min(r->list[i].first + HEAD, r->list[i].end));
    for (size_t i = 0; ret == 0 && i < r->n; i++)
        ret = read_clusters(s, r->list[i].first + HEAD, r->list[i].end);
    qcbmi_sort(s->tables, s->n, sizeof(s->tables[0]), qcbmi_by_u64);
    return ret;
}

/* ---- what the active L1 says ---------------------------------------------------------------------------- */

static struct table *find_table(const struct search *s, uint64_t cluster)
{
    struct table key = { .cluster = cluster };

    return s->n ? bsearch(&key, s->tables, s->n, sizeof(s->tables[0]), qcbmi_by_u64) : NULL;
}

static int by_target(const void *a, const void *b)
{
    return u64_compare((*(struct table *const *)a)->target, (*(struct table *const *)b)->target);
}

static int index_targets(struct search *s)
{
    s->by_target = qcbmi_alloc_array(s->n, sizeof(s->by_target[0]), s->c->err);
    if (!s->by_target)
        return QCBM_E_NOMEM;
    for (size_t i = 0; i < s->n; i++)
        s->by_target[i] = &s->tables[i];
    qcbmi_sort(s->by_target, s->n, sizeof(s->by_target[0]), by_target);
    return 0;
}

static bool targets_before(const void *table, const void *cluster)
{
    return (*(struct table *const *)table)->target < *(const uint64_t *)cluster;
}

/* @cluster is an L2 table of the active state. */
static void note_active(struct search *s, uint64_t cluster)
{
    struct table *t = find_table(s, cluster);
    size_t i = qcbmi_lower_bound(s->by_target, s->n, sizeof(s->by_target[0]), targets_before, &cluster);

    if (t)
        t->in_use = true;
    for (; i < s->n && s->by_target[i]->target == cluster && !s->by_target[i]->in_use; i++)
        s->by_target[i]->in_use = true;
}

static int note_l1_entry(struct search *s, uint64_t index, uint64_t raw)
{
    const struct check *c = s->c;
    struct q2_l1_entry e;

    q2_l1_entry_parse(raw, c->g, &e);
    if (!e.l2_offset || e.reserved || e.unaligned || !range_fits(e.l2_offset, c->g->cluster_size, c->img->io.size))
        return qcbmi_check_add_to_runs(&s->empty, index, SIZE_MAX, c->err);
    note_active(s, e.l2_offset >> c->g->cluster_bits);
    return 0;
}

static int read_l1(struct search *s)
{
    uint64_t off = s->c->img->h.l1_offset, len = 8 * s->c->g->l1_used;
    int ret = index_targets(s);

    for (uint64_t at = 0; ret == 0 && at < len; at += L1_PIECE) {
        uint64_t n = u64_min(L1_PIECE, len - at);
        uint8_t bytes[L1_PIECE];

        ret = qcbmi_check_read(s->c, off + at, bytes, n, NULL);
        for (uint64_t i = 0; ret == 0 && i < n; i += 8)
            ret = note_l1_entry(s, (at + i) / 8, be64_load(bytes + i));
    }
    return ret;
}

struct stale_data {
    const struct check *c;
    uint64_t n;
};

static int count_stale_data(void *opaque, uint64_t offset, struct qcbm_error *err)
{
    struct stale_data *d = opaque;

    (void)err;
    d->n += qcbmi_check_in_runs(&d->c->lost.leaked, offset >> d->c->g->cluster_bits);
    return 0;
}

/* The leaked clusters that the table of a stale bitmap names. Tables that overlap are read as far as the budget goes. */
static int count_stale_bitmap(struct search *s, const struct qcbmi_bitmap *b, uint64_t *n)
{
    uint64_t bytes = 8 * (uint64_t)b->d.table_entries, bad;
    struct stale_data d = { s->c, 0 };
    int ret = 0;

    if (bytes <= s->budget && qcbmi_bitmap_table_in_file(s->c->img, b)) {
        s->budget -= bytes;
        ret = qcbmi_bitmap_clusters(s->c->img, b, count_stale_data, &d, &bad, s->c->err);
    }
    *n += d.n;
    return ret;
}

/* The clusters of stale bitmaps leak, and a bitmap's table has the look of an L2 table. *@n is how many leaks are theirs. */
static int leave_out_bitmaps(struct search *s, uint64_t *n)
{
    const struct qcbmi_bitmap_list *was = s->c->handle->bitmaps->was;
    unsigned cb = s->c->g->cluster_bits;
    struct check_runs r = { 0 };
    int ret = 0;

    *n = was ? (was->ext.directory_size >> cb) + 1 : 0;
    for (uint32_t i = 0; ret == 0 && was && i < was->n; i++) {
        uint64_t bytes = 8 * (uint64_t)was->list[i].d.table_entries, first = was->list[i].d.table_offset >> cb;

        *n += (bytes >> cb) + 1;
        ret = qcbmi_grow_array(&r.list, &r.capacity, r.n, sizeof(r.list[0]), s->c->err);
        if (ret == 0)
            r.list[r.n++] = (struct check_run){ first, first + (bytes >> cb) + 1 };
        if (ret == 0)
            ret = count_stale_bitmap(s, &was->list[i], n);
    }
    qcbmi_check_sort_runs(&r);
    for (size_t i = 0; i < s->n; i++)
        s->tables[i].in_use |= qcbmi_check_in_runs(&r, s->tables[i].cluster);
    free(r.list);
    return ret;
}

/* ---- words ---------------------------------------------------------------------------------------------- */

/* A table of the active state has its clusters alone, or shares them with a snapshot. One that does neither is that of a
 * lost snapshot, or of a bitmap that was never finished: its loss takes nothing from the disk of today. */
static bool is_evidence(const struct table *t)
{
    return t->own && !t->in_use;
}

static int tell_table(struct search *s, const struct table *t)
{
    const struct q2_geometry *g = s->c->g;
    struct qcbmi_place at = { t->cluster << g->cluster_bits, NULL, UINT64_MAX, UINT32_MAX };
    bool is_l1 = !g->data_file && find_table(s, t->target);

    if (g->data_file)
        return qcbmi_check_problem(s->c, QCBM_PROBLEM_LOST_TABLE, 1, &at,
                                   "leaked cluster %" PRIu64 " (offset 0x%" PRIx64
                                   ") is the L2 table of guest 0x%" PRIx64 " - 0x%" PRIx64,
                                   t->cluster, at.offset, t->target, u64_min(t->target + g->l2_span, g->size));
    return qcbmi_check_problem(s->c, QCBM_PROBLEM_LOST_TABLE, 1, &at,
                               "leaked cluster %" PRIu64 " (offset 0x%" PRIx64 ") is an L%d table that names %" PRIu32
                               " leaked clusters, the first at 0x%" PRIx64,
                               t->cluster, at.offset, is_l1 ? 1 : 2, t->n, t->target << g->cluster_bits);
}

static int tell_tables(struct search *s)
{
    int ret = 0;

    for (size_t i = 0; ret == 0 && i < s->n; i++) {
        if (!is_evidence(&s->tables[i]))
            continue;
        s->c->r.lost_tables++;
        ret = tell_table(s, &s->tables[i]);
    }
    if (ret == 0 && s->n_all > s->n && s->c->r.lost_tables)
        ret = qcbmi_check_problem(s->c, QCBM_PROBLEM_LOST_TABLE, s->n_all - s->n, &CHECK_NOWHERE,
                                  "%" PRIu64 " more leaked clusters look like mapping tables", s->n_all - s->n);
    return ret;
}

static void guest_text(const struct check *c, const struct check_runs *r, char *to, size_t size)
{
    size_t len = 0;

    for (size_t i = 0; i < r->n && i < SHOWN; i++)
        len += (size_t)snprintf(to + len, size - len, "%s0x%" PRIx64 " - 0x%" PRIx64, i ? ", " : "",
                                r->list[i].first * c->g->l2_span, u64_min(r->list[i].end * c->g->l2_span, c->g->size));
    if (r->n > SHOWN)
        snprintf(to + len, size - len, " and %zu more ranges", r->n - SHOWN);
}

/* Tables of zeros say more than places without a table, which most disks have. */
static int tell_suspicion(struct search *s, uint64_t unowned)
{
    struct check *c = s->c;
    const struct check_runs *where = c->lost.blank.n ? &c->lost.blank : &s->empty;
    char guest[SHOWN * 48 + 48] = "none";
    char tables[64] = "";

    if (where->n)
        guest_text(c, where, guest, sizeof(guest));
    if (unowned)
        snprintf(tables, sizeof(tables), "; %" PRIu64 " of them look like mapping tables", unowned);
    c->r.suspicious_leaks = c->lost.n_leaked;
    return qcbmi_check_problem(
        c, QCBM_PROBLEM_LOST_TABLE_SUSPECTED, 1, &CHECK_NOWHERE,
        "%" PRIu64 " leaked clusters (%" PRIu64 " bytes) may belong to a lost mapping table%s; guest ranges %s: %s; or "
        "to lost entries of any other table",
        c->lost.n_leaked, c->lost.n_leaked << c->g->cluster_bits, tables,
        c->lost.blank.n ? "whose L2 table is all zeros or overwritten" : "without an L2 table", guest);
}

/* @of_bitmaps: leaks that stale bitmaps account for. Where all of the disk is mapped nothing can be missing. */
static int judge(struct search *s, uint64_t of_bitmaps)
{
    struct check *c = s->c;
    bool room = c->lost.blank.n || s->empty.n || c->r.allocated_clusters < c->r.total_clusters;
    bool many = c->lost.n_leaked >= FEW + of_bitmaps && room;
    uint64_t unowned = 0;
    int ret;

    for (size_t i = 0; i < s->n; i++)
        unowned += !s->tables[i].in_use && !is_evidence(&s->tables[i]);
    ret = tell_tables(s);
    /* With the dirty bit refcounts may be old: leaks are no surprise then. */
    if (ret < 0 || c->img->h.incompatible & QCBM_INCOMPAT_DIRTY)
        return ret;
    return many || unowned ? tell_suspicion(s, unowned) : 0;
}

/* References were left out, or those of snapshots are unknown: what looks like a leak may be none. */
static int tell_nothing(struct check *c)
{
    c->r.suspicious_leaks = c->lost.n_leaked;
    if (!c->o.lost_only)
        return 0;
    return qcbmi_fail(c->err, QCBM_E_CORRUPT, QCBM_NO_OFFSET,
                      c->snapshots_unknown ? "the table of snapshots cannot be read"
                                           : "tables refer to the same bytes over and over");
}

int qcbmi_check_tell_lost(struct check *c)
{
    struct search s = { .c = c, .budget = CONTENT_BUDGET };
    uint64_t of_bitmaps = 0;
    int ret;

    if (c->exhausted || c->snapshots_unknown)
        return tell_nothing(c);
    if (c->lost.n_leaked == 0)
        return 0;
    qcbmi_check_sort_runs(&c->lost.blank);
    ret = read_leaks(&s);
    if (ret == 0)
        ret = read_l1(&s);
    if (ret == 0)
        ret = leave_out_bitmaps(&s, &of_bitmaps);
    if (ret == 0)
        ret = judge(&s, of_bitmaps);
    free(s.tables);
    free(s.by_target);
    free(s.empty.list);
    free(s.buf);
    return ret;
}
