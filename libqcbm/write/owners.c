/* owners.c - who uses which cluster of the file, from qcbm's own scan
 * SPDX-License-Identifier: MIT */
#include "write/owners.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "base/sort.h"
#include "format/q2_l2_runs.h"
#include "image/l2_read.h"
#include "image/snapshots.h"
#include "write/refcounts.h"

void qcbmi_owners_free(struct qcbmi_owners *o)
{
    qcbmi_bitset_free(&o->meta);
    qcbmi_bitset_free(&o->l2);
    qcbmi_bitset_free(&o->data);
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

static int add_refcount_structures(struct qcbmi_owners *o, struct qcbm_error *err)
{
    const struct q2_header *h = &o->img->h;
    uint64_t n = (uint64_t)h->reftable_clusters << o->img->g.cluster_bits;
    uint64_t *table = NULL;
    int ret = qcbmi_owners_blame(o, qcbmi_owners_add(o, h->reftable_offset, n, "refcount table", 0, err),
                                 Q2_OFF_REFTABLE_OFFSET, err);

    if (ret == 0)
        ret = qcbmi_reftable_read(o->img, &table, &n, err);
    for (uint64_t i = 0; ret == 0 && i < n; i++)
        if (table[i])
            ret = qcbmi_owners_add(o, table[i], o->img->g.cluster_size, "refcount block", i, err);
    free(table);
    return ret;
}

/* In one L1 each L2 table stands once; the active state and snapshots share theirs. @refs are those of one L1. */
static int note_l2_tables(struct qcbmi_owners *o, struct qcbmi_l2_ref *refs, uint64_t n, struct qcbm_error *err)
{
    unsigned cb = o->img->g.cluster_bits;
    int ret = 0;

    qsort(refs, (size_t)n, sizeof(*refs), qcbmi_by_two_u64);
    for (uint64_t i = 0; ret == 0 && i < n; i++) {
        uint64_t cluster = refs[i].offset >> cb;

        if (i && refs[i].offset == refs[i - 1].offset)
            return two_owners(o, cluster, "L2 table of L1 entry", refs[i].l1_index,
                              "the L2 table of another entry of the same L1", err);
        if (qcbmi_bitset_get(&o->meta, cluster))
            return two_owners(o, cluster, "L2 table of L1 entry", refs[i].l1_index, "other metadata", err);
        ret = qcbmi_bitset_set(&o->l2, cluster, cluster + 1, err);
    }
    return ret;
}

/* The L2 tables that @l1 (raw, at @off) names; *@n is how many there are. */
static int l2_refs(const struct qcbmi_owners *o, const uint8_t *l1, uint64_t entries, uint64_t off, const char *what,
                   struct qcbmi_l2_ref *refs, uint64_t *n, struct qcbm_error *err)
{
    *n = 0;
    for (uint64_t i = 0; i < entries; i++) {
        uint64_t raw = be64_load(l1 + 8 * i);
        struct q2_l1_entry e;
        int ret;

        q2_l1_entry_parse(raw, &o->img->g, &e);
        if (e.reserved || e.unaligned)
            return qcbmi_fail(err, QCBM_E_UNSAFE, off + 8 * i,
                              "%s entry %" PRIu64 ": 0x%016" PRIx64 " has reserved bits or is not cluster-aligned",
                              what, i, raw);
        if (e.l2_offset == 0 && e.copied) /* QEMU reads it as no table, but writes to cluster 0 as to one */
            return qcbmi_fail(err, QCBM_E_UNSAFE, off + 8 * i,
                              "%s entry %" PRIu64 ": 0x%016" PRIx64
                              " makes an L2 table of cluster 0, which is the header",
                              what, i, raw);
        if (e.l2_offset == 0)
            continue;
        ret = check_in_file(o, e.l2_offset, o->img->g.cluster_size, "L2 table of L1 entry", i, err);
        if (ret < 0)
            return qcbmi_owners_blame(o, ret, off + 8 * i, err);
        refs[(*n)++] = (struct qcbmi_l2_ref){ e.l2_offset, i };
    }
    return 0;
}

static int add_l1(struct qcbmi_owners *o, uint64_t off, uint64_t entries, const char *what, struct qcbm_error *err)
{
    struct qcbmi_l2_ref *refs;
    uint8_t *l1;
    uint64_t n = 0;
    int ret = check_in_file(o, off, 8 * entries, what, 0, err);

    if (ret < 0 || entries == 0 || qcbmi_io_is_hole(&o->img->io, off, 8 * entries))
        return ret;
    l1 = qcbmi_alloc_array(entries, 8, err);
    refs = qcbmi_alloc_array(entries, sizeof(*refs), err);
    ret = l1 && refs ? qcbmi_io_read(&o->img->io, off, l1, 8 * entries, what, err) : QCBM_E_NOMEM;
    if (ret == 0)
        ret = l2_refs(o, l1, entries, off, what, refs, &n, err);
    if (ret == 0)
        ret = note_l2_tables(o, refs, n, err);
    free(refs);
    free(l1);
    return ret;
}

static int add_snapshots(struct qcbmi_owners *o, struct qcbm_error *err)
{
    struct qcbmi_image *img = o->img;
    int ret = qcbmi_snapshots_load(img, err);

    if (ret == QCBM_E_LIMIT) /* of an entry: no way to write, but it is in the file */
        (void)qcbmi_image_refuse(img, QCBM_E_CORRUPT, err);
    if (ret == 0 && img->h.n_snapshots)
        ret = qcbmi_owners_blame(
            o, qcbmi_owners_add(o, img->h.snapshots_offset, img->snapshot_table_bytes, "snapshot table", 0, err),
            Q2_OFF_SNAPSHOTS_OFFSET, err);
    for (uint32_t i = 0; ret == 0 && i < img->h.n_snapshots; i++) {
        uint64_t bytes = 8 * (uint64_t)img->snapshots[i].l1_entries;

        if (bytes > Q2_MAX_L1_BYTES || !is_aligned(img->snapshots[i].l1_offset, img->g.cluster_size))
            return qcbmi_fail(err, QCBM_E_UNSAFE, img->h.snapshots_offset,
                              "snapshot %u: L1 table of %" PRIu64 " bytes at 0x%" PRIx64
                              " is too large or not cluster-aligned",
                              i, bytes, img->snapshots[i].l1_offset);
        ret = qcbmi_owners_blame(
            o, qcbmi_owners_add(o, img->snapshots[i].l1_offset, bytes, "L1 table of snapshot", i, err),
            img->h.snapshots_offset + (uint64_t)(img->snapshots[i].extra - Q2_SNAPSHOT_FIXED - img->snapshot_table),
            err);
    }
    for (uint32_t i = 0; ret == 0 && i < img->h.n_snapshots; i++)
        ret = add_l1(o, img->snapshots[i].l1_offset, img->snapshots[i].l1_entries, "snapshot L1 table", err);
    return ret;
}

int qcbmi_owners_scan_metadata(struct qcbmi_image *img, struct qcbmi_owners *o, struct qcbm_error *err)
{
    const struct q2_extension *crypto = q2_extension_find(&img->exts, Q2_EXT_CRYPTO);
    uint64_t n = qcbmi_image_end(img) >> img->g.cluster_bits;
    int ret;

    o->img = img;
    o->n_clusters = n;
    ret = qcbmi_bitset_init(&o->meta, n, err);
    if (ret == 0)
        ret = qcbmi_bitset_init(&o->l2, n, err);
    if (ret == 0)
        ret = qcbmi_bitset_init(&o->data, n, err);
    if (ret == 0)
        ret = qcbmi_owners_add(o, 0, u64_min(img->g.cluster_size, img->io.size), "header", 0, err);
    if (ret == 0)
        ret = qcbmi_owners_blame(
            o, qcbmi_owners_add(o, img->h.l1_offset, 8 * (uint64_t)img->h.l1_entries, "active L1 table", 0, err),
            Q2_OFF_L1_OFFSET, err);
    if (ret == 0 && crypto)
        ret = qcbmi_owners_blame(
            o, qcbmi_owners_add(o, be64_load(crypto->data), be64_load(crypto->data + 8), "LUKS header", 0, err),
            crypto->offset + 8, err);
    if (ret == 0)
        ret = add_refcount_structures(o, err);
    if (ret == 0)
        ret = add_snapshots(o, err);
    if (ret == 0)
        ret = add_l1(o, img->h.l1_offset, img->h.l1_entries, "active L1 table", err);
    return ret;
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

static int note_entry(struct qcbmi_owners *o, const struct q2_l2_entry *e, uint64_t at, struct qcbm_error *err)
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
    return qcbmi_bitset_set(&o->data, first, end, err);
}

struct scan {
    struct qcbmi_owners *o;
    struct q2_l2_scan masks;
};

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

static int note_run(struct scan *s, uint64_t table, const uint8_t *bytes, const struct q2_l2_run *run,
                    struct qcbm_error *err)
{
    const struct q2_geometry *g = &s->o->img->g;
    uint64_t place = (uint64_t)run->index * g->l2_entry_size;
    uint64_t cluster = (run->raw & Q2_ENTRY_OFFSET_MASK) >> g->cluster_bits, end = cluster + run->n;
    struct q2_l2_entry e;

    if (!run->odd && first_metadata(s->o, cluster, end) < end)
        return blame_entry(s->o, table, bytes, run, first_metadata(s->o, cluster, end), err);
    if (!run->odd)
        return qcbmi_bitset_set(&s->o->data, cluster, end, err);
    q2_l2_entry_parse(run->raw, g->extended_l2 ? be64_load(bytes + place + 8) : 0, 0, g, &e);
    return note_entry(s->o, &e, table + place, err);
}

static int note_table(void *opaque, void *none, const struct qcbmi_l2_ref *ref, const uint8_t *table,
                      struct qcbm_error *err)
{
    struct q2_l2_run list[Q2_L2_SCAN_MAX];
    struct scan *s = opaque;
    struct q2_l2_runs runs;
    uint32_t n = 1;
    int ret = 0;

    (void)none;
    if (!table)
        return 0;
    q2_l2_runs_begin(&runs, &s->masks, &s->o->img->g, table);
    while (ret == 0 && n) {
        n = q2_l2_runs_next(&runs, list);
        for (uint32_t i = 0; ret == 0 && i < n; i++)
            ret = note_run(s, ref->offset, table, &list[i], err);
    }
    return ret;
}

int qcbmi_owners_scan_data(struct qcbmi_owners *o, struct qcbm_error *err)
{
    struct qcbmi_l2_ref refs[256];
    struct scan s = { .o = o };
    struct qcbmi_l2_job job = { .refs = refs, .stride = sizeof(refs[0]), .what = "L2 table", .opaque = &s };
    uint64_t next = 0;
    int ret = 0;

    q2_l2_scan_init(&s.masks, &o->img->g, qcbmi_image_end(o->img));
    if (o->img->g.data_file) /* guest data lies in the other file */
        return 0;
    job.look = note_table;
    while (ret == 0 && next < o->n_clusters) {
        job.n = 0;
        for (; job.n < 256 && (next = qcbmi_bitset_next_set(&o->l2, next)) < o->n_clusters; next++)
            refs[job.n++] = (struct qcbmi_l2_ref){ next << o->img->g.cluster_bits, 0 };
        ret = qcbmi_l2_read(o->img, &job, err);
    }
    return ret;
}
