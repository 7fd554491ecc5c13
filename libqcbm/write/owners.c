/* owners.c - who uses which cluster of the file, from qcbm's own scan
 * SPDX-License-Identifier: MIT */
#include "write/owners.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "base/sort.h"
#include "format/q2_l2_runs.h"
#include "image/l2_read.h"
#include "image/snapshots.h"
#include "io/holes.h"
#include "write/refcounts.h"

#define BATCH (UINT64_C(1) << 16) /* tables */

void qcbmi_owners_free(struct qcbmi_owners *o)
{
    qcbmi_bitset_free(&o->meta);
    qcbmi_bitset_free(&o->l2);
    qcbmi_bitset_free(&o->data);
    qcbmi_bitset_free(&o->used);
}

/* Strictly: behind a cut QEMU reads zeros, and a file that grows would make these zeros the truth. */
static int check_in_file(const struct qcbmi_owners *o, uint64_t off, uint64_t len, const char *what, uint64_t index,
                         struct qcbm_error *err)
{
    if (range_fits(off, len, o->img->io.size))
        return 0;
    return qcbmi_fail(err, QCBM_E_UNSAFE, off,
                      "%s %" PRIu64 ": %" PRIu64 " bytes at 0x%" PRIx64 " pass the end of the file", what, index, len,
                      off);
}

int qcbmi_owners_blame(const struct qcbmi_owners *o, int ret, uint64_t at, struct qcbm_error *err)
{
    if (ret < 0 && err && err->offset >= o->img->io.size && err->offset != QCBM_NO_OFFSET)
        err->offset = at;
    return ret;
}

static int two_owners(const struct qcbmi_owners *o, uint64_t cluster, const char *what, uint64_t index,
                      const char *other, struct qcbm_error *err)
{
    uint64_t off = cluster << o->img->g.cluster_bits;

    return qcbmi_fail(err, QCBM_E_UNSAFE, off, "cluster at 0x%" PRIx64 " is used as %s %" PRIu64 " and as %s", off,
                      what, index, other);
}

int qcbmi_owners_add(struct qcbmi_owners *o, uint64_t off, uint64_t len, const char *what, uint64_t index,
                     struct qcbm_error *err)
{
    uint64_t first = off >> o->img->g.cluster_bits, end;
    int ret;

    if (len == 0)
        return 0;
    ret = check_in_file(o, off, len, what, index, err);
    if (ret < 0)
        return ret;
    end = div_up(off + len, o->img->g.cluster_size);
    if (qcbmi_bitset_first_in(&o->meta, first, end) < end)
        return two_owners(o, qcbmi_bitset_first_in(&o->meta, first, end), what, index, "other metadata", err);
    if (qcbmi_bitset_first_in(&o->l2, first, end) < end)
        return two_owners(o, qcbmi_bitset_first_in(&o->l2, first, end), what, index, "an L2 table", err);
    return qcbmi_bitset_set(&o->meta, first, end, err);
}

int qcbmi_owners_add_ref(struct qcbmi_owners *o, const struct qcbmi_ref *ref, struct qcbm_error *err)
{
    const char *name = qcbmi_ref_name(&ref->owner);
    uint64_t index = ref->owner.index == UINT64_MAX ? 0 : ref->owner.index;

    name += strncmp(name, "the ", 4) == 0 ? 4 : 0;
    return qcbmi_owners_add(o, ref->offset, ref->len, name, index, err);
}

/* In one L1 each L2 table stands once; the active state and snapshots share theirs. @refs are those of one L1. */
static int note_l2_tables(struct qcbmi_owners *o, struct qcbmi_l2_ref *refs, uint64_t n, struct qcbm_error *err)
{
    unsigned cb = o->img->g.cluster_bits;
    int ret = 0;

    qcbmi_sort(refs, (size_t)n, sizeof(*refs), qcbmi_by_two_u64);
    for (uint64_t i = 0; ret == 0 && i < n; i++) {
        uint64_t cluster = refs[i].offset >> cb;

        if (qcbmi_l2_is_named_twice(refs, i + 1, i))
            return two_owners(o, cluster, "L2 table of L1 entry", refs[i].l1_index,
                              "the L2 table of another entry of the same L1", err);
        if (qcbmi_bitset_get(&o->meta, cluster))
            return two_owners(o, cluster, "L2 table of L1 entry", refs[i].l1_index, "other metadata", err);
        ret = qcbmi_bitset_set(&o->l2, cluster, cluster + 1, err);
    }
    return ret;
}

/* The L2 tables that one L1 table names. */
struct l2_names {
    struct qcbmi_owners *o;
    const struct qcbmi_l1_table *l1;
    const char *what;
    struct qcbmi_l2_ref *refs;
    size_t n, capacity;
    struct qcbm_error *err;
};

static int add_name(void *opaque, uint64_t raw, uint64_t index)
{
    struct l2_names *names = opaque;
    uint64_t at = names->l1->offset + 8 * index;
    struct q2_l1_entry e;
    int ret;

    q2_l1_entry_parse(raw, &names->o->img->g, &e);
    if (q2_l1_defect_text(&e))
        return qcbmi_fail(names->err, QCBM_E_UNSAFE, at, "%s entry %" PRIu64 ": 0x%016" PRIx64 ": %s", names->what,
                          index, raw, q2_l1_defect_text(&e));
    if (e.l2_offset == 0) /* QEMU reads it as no table, but writes to cluster 0 as to one */
        return qcbmi_fail(names->err, QCBM_E_UNSAFE, at,
                          "%s entry %" PRIu64 ": 0x%016" PRIx64 " makes an L2 table of cluster 0, which is the header",
                          names->what, index, raw);
    ret =
        check_in_file(names->o, e.l2_offset, names->o->img->g.cluster_size, "L2 table of L1 entry", index, names->err);
    if (ret < 0)
        return qcbmi_owners_blame(names->o, ret, at, names->err);
    ret = qcbmi_grow_array(&names->refs, &names->capacity, names->n, sizeof(names->refs[0]), names->err);
    if (ret == 0)
        names->refs[names->n++] = (struct qcbmi_l2_ref){ e.l2_offset, index };
    return ret;
}

static int add_l1(struct qcbmi_owners *o, const struct qcbmi_l1_table *l1, const char *what, struct qcbm_error *err)
{
    struct l2_names names = { .o = o, .l1 = l1, .what = what, .err = err };
    struct qcbmi_holes holes;
    struct qcbmi_table_walk walk = { o->img, &holes, what, &names, NULL, add_name };
    int ret = check_in_file(o, l1->offset, 8 * l1->entries, what, 0, err);

    if (ret < 0)
        return ret;
    qcbmi_holes_init(&holes, &o->img->io);
    ret = qcbmi_table_walk(&walk, l1->offset, l1->entries, err);
    if (ret == 0)
        ret = note_l2_tables(o, names.refs, names.n, err);
    qcbmi_holes_free(&holes);
    free(names.refs);
    return ret;
}

struct metadata_scan {
    struct qcbmi_owners *o;
    struct qcbm_error *err;
};

static int note_ref(void *opaque, const struct qcbmi_ref *ref)
{
    const struct metadata_scan *s = opaque;
    struct qcbmi_ref inside = *ref;

    if (ref->owner.kind == QCBMI_REF_HEADER) /* an image may be shorter than its first cluster */
        inside.len = u64_min(ref->len, s->o->img->io.size);
    return qcbmi_owners_blame(s->o, qcbmi_owners_add_ref(s->o, &inside, s->err), ref->pointer, s->err);
}

/* The L2 tables are noted when all other metadata is known. */
static int note_state(void *opaque, const struct qcbmi_ref *l1)
{
    const struct metadata_scan *s = opaque;
    const struct qcbmi_image *img = s->o->img;

    if (l1->owner.state && (l1->len > Q2_MAX_L1_BYTES || !is_aligned(l1->offset, img->g.cluster_size)))
        return qcbmi_fail(s->err, QCBM_E_UNSAFE, img->h.snapshots_offset,
                          "snapshot %" PRIu64 ": L1 table of %" PRIu64 " bytes at 0x%" PRIx64
                          " is too large or not cluster-aligned",
                          l1->owner.index, l1->len, l1->offset);
    return note_ref(opaque, l1);
}

static int note_refblocks(struct metadata_scan *s)
{
    uint64_t *table = NULL, n = 0;
    int ret = qcbmi_reftable_read(s->o->img, &table, &n, s->err);

    for (uint64_t i = 0; ret == 0 && i < n; i++) {
        struct qcbmi_ref ref;

        if (table[i] == 0)
            continue;
        ref = qcbmi_ref_to_block(s->o->img, i, table[i]);
        ret = note_ref(s, &ref);
    }
    free(table);
    return ret;
}

static int init_sets(struct qcbmi_owners *o, struct qcbm_error *err)
{
    int ret = qcbmi_bitset_init(&o->meta, o->n_clusters, err);

    if (ret == 0)
        ret = qcbmi_bitset_init(&o->l2, o->n_clusters, err);
    return ret < 0 ? ret : qcbmi_bitset_init(&o->data, o->n_clusters, err);
}

static int load_snapshots(struct qcbmi_image *img, struct qcbm_error *err)
{
    int ret = qcbmi_snapshots_load(img, err);

    if (ret == QCBM_E_LIMIT) /* of an entry: no way to write, but it is in the file */
        (void)qcbmi_image_refuse(img, QCBM_E_CORRUPT, err);
    return ret;
}

int qcbmi_owners_scan_metadata(struct qcbmi_image *img, struct qcbmi_owners *o, struct qcbm_error *err)
{
    struct metadata_scan s = { o, err };
    struct qcbmi_ref_sink sink = { &s, note_ref, note_state, NULL };
    struct qcbmi_l1_table active = qcbmi_active_l1(img);
    struct qcbmi_refs refs = { .img = img };
    int ret;

    o->img = img;
    o->n_clusters = qcbmi_image_end(img) >> img->g.cluster_bits;
    ret = init_sets(o, err);
    if (ret == 0)
        ret = load_snapshots(img, err);
    refs.snapshots = img->snapshots;
    refs.n_snapshots = img->h.n_snapshots;
    refs.snapshot_table = img->snapshot_table;
    refs.snapshot_table_len = img->snapshot_table_bytes;
    if (ret == 0)
        ret = qcbmi_refs_walk(&refs, &sink);
    if (ret == 0)
        ret = note_refblocks(&s);
    for (uint32_t i = 0; ret == 0 && i < img->h.n_snapshots; i++) {
        struct qcbmi_l1_table l1 = qcbmi_snapshot_l1(img, img->snapshot_table, &img->snapshots[i]);

        ret = add_l1(o, &l1, "snapshot L1 table", err);
    }
    return ret < 0 ? ret : add_l1(o, &active, "active L1 table", err);
}

/* The first of clusters [@first, @end) that is metadata, or @end. */
static uint64_t first_metadata(const struct qcbmi_owners *o, uint64_t first, uint64_t end)
{
    return u64_min(qcbmi_bitset_first_in(&o->meta, first, end), qcbmi_bitset_first_in(&o->l2, first, end));
}

static int two_uses(const struct qcbmi_owners *o, uint64_t cluster, uint64_t at, struct qcbm_error *err)
{
    return qcbmi_fail(err, QCBM_E_UNSAFE, at, "L2 entry: its data cluster at 0x%" PRIx64 " is also metadata",
                      cluster << o->img->g.cluster_bits);
}

struct scan {
    struct qcbmi_owners *o;
    struct q2_l2_scan masks;
};

/* What the tables of a piece refer to comes into @o when it is merged: until then @o is only looked at. */
static int merge_found(void *opaque, void *result, struct qcbm_error *err)
{
    struct scan *s = opaque;

    return qcbmi_l2_found_give(result, &s->o->data, err);
}

static void drop_found(void *result)
{
    qcbmi_l2_found_free(result);
}

static int note_entry(const struct qcbmi_owners *o, struct qcbmi_l2_runs_found *to, const struct q2_l2_entry *e,
                      uint64_t at, struct qcbm_error *err)
{
    unsigned cb = o->img->g.cluster_bits;
    uint64_t first, end;

    if (e->defects & ~(unsigned)Q2_DEFECT_DATA_OFFSET)
        return qcbmi_fail(err, QCBM_E_UNSAFE, at, "L2 entry is damaged (reserved bits, alignment or subcluster word)");
    if (e->host_len == 0)
        return 0;
    if (!qcbmi_l2_entry_in_file(o->img, e))
        return qcbmi_fail(err, QCBM_E_UNSAFE, at,
                          "L2 entry: host range 0x%" PRIx64 " + %" PRIu64 " passes the end of the file", e->host_offset,
                          e->host_len);
    first = e->host_offset >> cb;
    end = ((e->host_offset + e->host_len - 1) >> cb) + 1;
    if (first_metadata(o, first, end) < end)
        return two_uses(o, first_metadata(o, first, end), at, err);
    return qcbmi_l2_found_add(to, first, end, err);
}

/* Cluster @hit of @run is metadata, too: to blame is the entry that names it. */
static int blame_entry(const struct qcbmi_owners *o, uint64_t table, const uint8_t *bytes, const struct q2_l2_run *run,
                       uint64_t hit, struct qcbm_error *err)
{
    const struct q2_geometry *g = &o->img->g;
    uint64_t at = (uint64_t)run->index * g->l2_entry_size;

    while ((be64_load(bytes + at) & Q2_ENTRY_OFFSET_MASK) >> g->cluster_bits != hit)
        at += g->l2_entry_size;
    return two_uses(o, hit, table + at, err);
}

static int note_run(const struct scan *s, struct qcbmi_l2_runs_found *to, uint64_t table, const uint8_t *bytes,
                    const struct q2_l2_run *run, struct qcbm_error *err)
{
    const struct q2_geometry *g = &s->o->img->g;
    uint64_t place = (uint64_t)run->index * g->l2_entry_size;
    uint64_t cluster = (run->raw & Q2_ENTRY_OFFSET_MASK) >> g->cluster_bits, end = cluster + run->n;
    struct q2_l2_entry e;

    if (!run->odd && first_metadata(s->o, cluster, end) < end)
        return blame_entry(s->o, table, bytes, run, first_metadata(s->o, cluster, end), err);
    if (!run->odd)
        return qcbmi_l2_found_add(to, cluster, end, err);
    q2_l2_entry_parse(run->raw, g->extended_l2 ? be64_load(bytes + place + 8) : 0, 0, g, &e);
    return note_entry(s->o, to, &e, table + place, err);
}

static int note_table(void *opaque, void *result, const struct qcbmi_l2_ref *ref, const uint8_t *table,
                      struct qcbm_error *err)
{
    struct q2_l2_run list[Q2_L2_SCAN_MAX];
    const struct scan *s = opaque;
    struct q2_l2_runs runs;
    uint32_t n = 1;
    int ret = 0;

    if (!table)
        return 0;
    q2_l2_runs_begin(&runs, &s->masks, &s->o->img->g, table);
    while (ret == 0 && n) {
        n = q2_l2_runs_next(&runs, list);
        for (uint32_t i = 0; ret == 0 && i < n; i++)
            ret = note_run(s, result, ref->offset, table, &list[i], err);
    }
    return ret;
}

uint64_t qcbmi_owners_data_cost(const struct qcbmi_owners *o)
{
    if (o->img->g.data_file) /* guest data lies in the other file */
        return 0;
    return qcbmi_bitset_count(&o->l2) << o->img->g.cluster_bits;
}

/* In batches, so that memory does not follow the number of tables. */
static int read_tables(struct scan *s, struct qcbmi_l2_ref *refs, size_t max, struct qcbmi_l2_job *job,
                       struct qcbm_error *err)
{
    const struct qcbmi_owners *o = s->o;
    uint64_t next = 0;
    int ret = 0;

    while (ret == 0 && next < o->n_clusters) {
        job->n = 0;
        for (; job->n < max && (next = qcbmi_bitset_next_set(&o->l2, next)) < o->n_clusters; next++)
            refs[job->n++] = (struct qcbmi_l2_ref){ next << o->img->g.cluster_bits, 0 };
        ret = qcbmi_l2_read(o->img, job, err);
    }
    return ret;
}

int qcbmi_owners_scan_data(struct qcbmi_owners *o, struct qcbmi_progress *progress, struct qcbm_error *err)
{
    size_t max = (size_t)u64_min(qcbmi_bitset_count(&o->l2), BATCH);
    struct scan s = { .o = o };
    struct qcbmi_l2_job job = { .stride = sizeof(struct qcbmi_l2_ref), .what = "L2 table", .opaque = &s };
    struct qcbmi_l2_ref *refs;
    int ret;

    if (o->img->g.data_file || max == 0)
        return 0;
    refs = qcbmi_alloc_array(max, sizeof(*refs), err);
    if (!refs)
        return QCBM_E_NOMEM;
    q2_l2_scan_init(&s.masks, &o->img->g, qcbmi_image_end(o->img));
    job.refs = refs;
    job.progress = progress;
    job.result_size = sizeof(struct qcbmi_l2_runs_found);
    job.look = note_table;
    job.merge = merge_found;
    job.drop = drop_found;
    ret = read_tables(&s, refs, max, &job, err);
    free(refs);
    return ret;
}

/* ---- what another reading found ---- */

static bool are_same(const struct qcbmi_bitset *a, const struct qcbmi_bitset *b)
{
    uint64_t k = qcbmi_bitset_next_set(a, 0);

    while (k < a->n_bits && qcbmi_bitset_get(b, k))
        k = qcbmi_bitset_next_set(a, k + 1);
    return a->n_bits == b->n_bits && k == a->n_bits && qcbmi_bitset_count(a) == qcbmi_bitset_count(b);
}

bool qcbmi_owners_know_data(struct qcbmi_owners *o, struct qcbmi_l2_named *named)
{
    struct qcbmi_bitset *data = &named->data;
    uint64_t end = 0;

    if (!named->known || data->n_bits != o->n_clusters || !are_same(&named->tables, &o->l2))
        return false;
    for (uint64_t k; (k = qcbmi_bitset_next_set(data, end)) < data->n_bits;) {
        end = qcbmi_bitset_next_clear(data, k);
        if (first_metadata(o, k, end) < end)
            return false;
    }
    qcbmi_bitset_free(&o->data);
    o->data = *data;
    *data = (struct qcbmi_bitset){ 0 };
    o->counted = named->counted;
    o->used = named->used;
    named->used = (struct qcbmi_bitset){ 0 };
    qcbmi_l2_named_free(named);
    return true;
}

void qcbmi_owners_take_busy(struct qcbmi_owners *o, struct qcbmi_image *img, struct qcbmi_bitset *busy)
{
    *o = (struct qcbmi_owners){ .img = img, .counted = true, .used = *busy };
    o->n_clusters = qcbmi_image_end(img) >> img->g.cluster_bits;
    *busy = (struct qcbmi_bitset){ 0 };
}
