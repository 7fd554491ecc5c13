/* raw_scan.c - the entries of a metadata image that do not show the raw data as it is
 * SPDX-License-Identifier: MIT */
#include "rawdisk/raw_scan.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "base/sort.h"
#include "image/l2_read.h"
#include "image/tables.h"
#include "io/open.h"
#include "rawdisk/plain_entry.h"

/* ---- ranges ---- */

static int tell_last(struct qcbmi_raw_scan *s, struct qcbm_error *err)
{
    int ret = s->last.end ? s->range(s->opaque, &s->last, err) : 0;

    s->last.end = 0;
    return ret;
}

static int add(struct qcbmi_raw_scan *s, enum qcbmi_raw_kind kind, uint64_t start, uint64_t len, struct qcbm_error *err)
{
    uint64_t end = u64_min(start + len, s->img->g.size);
    int ret = 0;

    if (start >= end)
        return 0;
    if (s->last.end && s->last.end == start && s->last.kind == kind) {
        s->last.end = end;
        return 0;
    }
    ret = tell_last(s, err);
    s->last = (struct qcbmi_raw_range){ kind, start, end };
    return ret;
}

/* ---- entries ---- */

static enum qcbmi_raw_kind kind_of_part(const struct q2_l2_entry *e, enum q2_kind kind)
{
    switch (kind) {
    case Q2_ZERO_PLAIN:
    case Q2_ZERO_ALLOC:
        return QCBMI_RAW_ZERO;
    case Q2_NORMAL:
        return e->copied ? QCBMI_RAW_BAD : QCBMI_RAW_NOT_COPIED;
    case Q2_UNALLOCATED:
    case Q2_UNALLOCATED_ALLOC:
        return QCBMI_RAW_UNALLOCATED;
    default:
        return QCBMI_RAW_BAD;
    }
}

/* Of a cluster that shows something of the data, and not all of it as it is. */
static int look_at_parts(struct qcbmi_raw_scan *s, const struct q2_l2_entry *e, uint64_t guest, struct qcbm_error *err)
{
    const struct q2_geometry *g = &s->img->g;
    unsigned n = g->cluster_size / g->subcluster_size;
    int ret = 0;

    for (unsigned i = 0; ret == 0 && i < n; i++) {
        enum q2_kind kind = q2_subcluster_kind(e, g, i);

        if (kind != Q2_NORMAL || !e->copied)
            ret = add(s, kind_of_part(e, kind), guest + (uint64_t)i * g->subcluster_size, g->subcluster_size, err);
    }
    return ret;
}

static int look_at_entry(struct qcbmi_raw_scan *s, uint64_t guest, const uint8_t *at, struct qcbm_error *err)
{
    const struct q2_geometry *g = &s->img->g;
    struct q2_l2_entry e;

    q2_l2_entry_parse(be64_load(at), g->extended_l2 ? be64_load(at + 8) : 0, guest, g, &e);
    if (e.kind == Q2_COMPRESSED || (e.defects & ~(unsigned)Q2_DEFECT_DATA_OFFSET))
        return add(s, QCBMI_RAW_BAD, guest, g->cluster_size, err);
    if (e.host_len && e.host_offset != guest)
        return add(s, QCBMI_RAW_ELSEWHERE, guest, g->cluster_size, err);
    return look_at_parts(s, &e, guest, err);
}

static int look_at_table(void *opaque, void *result, const struct qcbmi_l2_ref *ref, const uint8_t *table,
                         struct qcbm_error *err)
{
    struct qcbmi_raw_scan *s = opaque;
    const struct q2_geometry *g = &s->img->g;
    uint64_t first = ref->l1_index * g->l2_entries, all = div_up(g->size, g->cluster_size);
    uint32_t n = (uint32_t)u64_min(g->l2_entries, all - first), from = n, end = 0, odd = 0;
    int ret = 0;

    (void)result;
    if (!table) { /* a hole: zeros */
        ret = add(s, QCBMI_RAW_UNALLOCATED, first << g->cluster_bits, g->l2_span, err);
        return ret == 0 && s->table ? s->table(s->opaque, ref->offset, ref->l1_index, 0, n, n, err) : ret;
    }
    for (uint32_t i = 0; ret == 0 && i < n; i++) {
        const uint8_t *at = table + (size_t)i * g->l2_entry_size;

        if (qcbmi_entry_is_plain(g, first + i, at))
            continue;
        from = from < i ? from : i;
        end = i + 1;
        odd++;
        ret = look_at_entry(s, (first + i) << g->cluster_bits, at, err);
    }
    return ret == 0 && odd && s->table ? s->table(s->opaque, ref->offset, ref->l1_index, from, end, odd, err) : ret;
}

/* ---- tables ---- */

/* Is there a whole table? A last cluster that the file cuts short would have entries that are gone. */
static bool is_table(const struct qcbmi_image *img, const struct q2_l1_entry *e)
{
    return !q2_l1_defect_text(e) && range_fits(e->l2_offset, img->g.cluster_size, img->io.size);
}

/* What L1 entries name, by place; those that name nothing are told. */
static int list_tables(struct qcbmi_raw_scan *s, struct qcbmi_l2_ref *refs, size_t *n, struct qcbm_error *err)
{
    const struct q2_geometry *g = &s->img->g;
    int ret = 0;

    *n = 0;
    for (uint64_t i = 0; ret == 0 && i < g->l1_used; i++) {
        struct q2_l1_entry e;

        q2_l1_entry_parse(be64_load(s->img->l1 + 8 * i), g, &e);
        if (e.l2_offset == 0 && !q2_l1_defect_text(&e))
            ret = add(s, QCBMI_RAW_NO_TABLE, i * g->l2_span, g->l2_span, err);
        else if (!is_table(s->img, &e))
            ret = add(s, QCBMI_RAW_BAD_TABLE, i * g->l2_span, g->l2_span, err);
        else
            refs[(*n)++] = (struct qcbmi_l2_ref){ e.l2_offset, i };
    }
    if (*n)
        qsort(refs, *n, sizeof(refs[0]), qcbmi_by_two_u64);
    return ret < 0 ? ret : tell_last(s, err);
}

/* Of several L1 entries that name one table at most one can be right, and nobody knows which. */
static int drop_shared(struct qcbmi_raw_scan *s, struct qcbmi_l2_ref *refs, size_t *n, struct qcbm_error *err)
{
    const struct q2_geometry *g = &s->img->g;
    size_t kept = 0, all = *n;
    uint64_t before = UINT64_MAX; /* the place of the entry before, which may have been overwritten */
    int ret = 0;

    for (size_t i = 0; ret == 0 && i < all; i++) {
        struct qcbmi_l2_ref ref = refs[i];
        bool shared = ref.offset == before || (i + 1 < all && refs[i + 1].offset == ref.offset);

        before = ref.offset;
        if (shared)
            ret = add(s, QCBMI_RAW_BAD_TABLE, ref.l1_index * g->l2_span, g->l2_span, err);
        else
            refs[kept++] = ref;
    }
    *n = kept;
    return ret < 0 ? ret : tell_last(s, err);
}

int qcbmi_raw_scan(struct qcbmi_raw_scan *s, struct qcbm_error *err)
{
    struct qcbmi_l2_job job = { .stride = sizeof(struct qcbmi_l2_ref), .what = "L2 table", .opaque = s };
    struct qcbmi_l2_ref *refs;
    int ret = qcbmi_l1_load(s->img, err);

    if (ret < 0)
        return ret;
    refs = qcbmi_alloc_array(s->img->g.l1_used, sizeof(*refs), err);
    if (!refs)
        return QCBM_E_NOMEM;
    s->last.end = 0;
    ret = list_tables(s, refs, &job.n, err);
    if (ret == 0)
        ret = drop_shared(s, refs, &job.n, err);
    job.refs = refs;
    job.look = look_at_table;
    job.progress = s->progress;
    if (s->progress)
        s->progress->total = (uint64_t)job.n << s->img->g.cluster_bits;
    if (ret == 0)
        ret = qcbmi_l2_read(s->img, &job, err);
    if (ret == 0)
        ret = tell_last(s, err);
    free(refs);
    return ret;
}

/* ---- the data ---- */

int qcbmi_raw_nonzero(struct qcbmi_holes *data, uint64_t start, uint64_t end, uint64_t unit, uint8_t *buf,
                      int (*fn)(void *opaque, uint64_t start, uint64_t end, struct qcbm_error *err), void *opaque,
                      struct qcbm_error *err)
{
    uint64_t from = 0, to = 0; /* a run that goes on */
    int ret = 0;

    end = u64_min(end, data->io->size);
    for (uint64_t at = start, len; ret == 0 && at < end; at += len) {
        bool zeros;

        len = u64_min(align_down(at, QCBMI_RAW_PIECE) + QCBMI_RAW_PIECE, end) - at;
        ret = qcbmi_holes_read(data, at, buf, len, &zeros, "raw data", err);
        for (uint64_t k = at, n; ret == 0 && !zeros && k < at + len; k += n) {
            n = u64_min(align_down(k, unit) + unit, at + len) - k;
            if (bytes_are_zero(buf + (k - at), n))
                continue;
            if (to != k && to)
                ret = fn(opaque, from, to, err);
            from = to == k ? from : k;
            to = k + n;
        }
    }
    return ret == 0 && to ? fn(opaque, from, to, err) : ret;
}

int qcbmi_raw_open(struct qcbmi_io *io, const struct qcbmi_image *img, const char *name, struct qcbm_error *err)
{
    unsigned flags = img->open_flags & (QCBM_OPEN_NO_LOCK | QCBM_OPEN_FORCE_SHARE);
    int ret;

    *io = (struct qcbmi_io){ 0 };
    if (!name && (!img->data_file || !*img->data_file))
        return qcbmi_fail(err, QCBM_E_NOTFOUND, QCBM_NO_OFFSET, "the image names no data file");
    if (!name && qcbmi_io_is_remote(&img->io))
        return qcbmi_fail(err, QCBM_E_CHAIN, QCBM_NO_OFFSET,
                          "its data file is a name of the server's machine: no file is opened here for it");
    ret = qcbmi_open(io, name ? name : img->full_data_file, false, err);
    if (ret == 0)
        ret = qcbmi_lock(io, flags, err);
    if (ret == 0)
        ret = qcbmi_io_refresh_size(io, err);
    if (ret < 0)
        qcbmi_io_close(io);
    return ret;
}
