/* guest_plan.c - guest bytes written into an image, as a plan: one batch of what changes
 * SPDX-License-Identifier: MIT
 *
 * First all entries of the batch are looked at, table by table, which tells how many clusters it takes; then these get
 * places, in rows where there is room; then the plan is made. */
#include "write/guest_plan.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/checked.h"

#define MAX_TABLE_BYTES (UINT64_C(16) << 20) /* of a batch, in memory */

struct qcbmi_guest_table {
    uint64_t l1_index;
    uint64_t old; /* 0: there was none */
    bool own;     /* it is this state's alone, and is changed where it is */
    uint8_t *bytes;
    uint32_t first, end; /* entries that changed */
};

void qcbmi_guest_batch_free(struct qcbmi_guest_batch *b)
{
    qcbmi_alloc_free(&b->alloc);
    for (size_t i = 0; i < b->n_tables; i++)
        free(b->tables[i].bytes);
    free(b->tables);
    free(b->clusters);
    free(b->given_up);
    b->tables = NULL;
    b->clusters = NULL;
    b->given_up = NULL;
    b->n_tables = b->n_clusters = b->n_given_up = 0;
}

/* ---- which bytes ---- */

/* The first extent that ends behind @at. */
static size_t extent_behind(const struct qcbmi_guest_batch *b, uint64_t at)
{
    size_t low = 0, high = b->n;

    while (low < high) {
        size_t mid = low + (high - low) / 2;

        if (b->extents[mid].end <= at)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static int read_old(struct qcbmi_guest_batch *b, uint64_t at, uint8_t *to, uint64_t len, struct qcbm_error *err)
{
    uint64_t disk = b->img->g.sector_size_down, n = b->old && at < disk ? u64_min(len, disk - at) : 0;

    memset(to + n, 0, (size_t)(len - n));
    return n ? qcbmi_data_read(b->old, at, to, n, err) : 0;
}

/* A source of bytes by guest offset: what changes, and between that what is there now. */
static int compose(void *opaque, uint64_t at, uint8_t *to, uint64_t len, uint64_t *got, struct qcbm_error *err)
{
    struct qcbmi_guest_batch *b = opaque;
    const struct qcbmi_guest_extent *e;

    if (b->at >= b->n || b->extents[b->at].end <= at || (b->at && b->extents[b->at - 1].end > at))
        b->at = extent_behind(b, at);
    e = b->at < b->n ? &b->extents[b->at] : NULL;
    if (!e || e->off > at) {
        *got = e ? u64_min(len, e->off - at) : len;
        return read_old(b, at, to, *got, err);
    }
    *got = u64_min(len, e->end - at);
    if (!e->zero)
        return b->bytes->read(b->bytes->opaque, at, to, *got, err);
    memset(to, 0, (size_t)*got);
    return 0;
}

static uint32_t bits(uint64_t first, uint64_t end)
{
    return (uint32_t)(((UINT64_C(1) << end) - 1) & ~((UINT64_C(1) << first) - 1));
}

/* Bytes [@off, @end) of a cluster that ends, as far as the disk goes, at @stop. */
static void touch(struct qcbmi_guest_touch *t, const struct q2_geometry *g, uint64_t off, uint64_t end, uint64_t stop,
                  bool zero)
{
    uint64_t sub = g->subcluster_size, n = g->cluster_size / sub;

    if (!zero) {
        t->data |= bits(off / sub, div_up(end, sub));
        return;
    }
    if (end == stop)
        t->zero |= off % sub ? bits(off / sub + 1, n) : bits(off / sub, n);
    else if (div_up(off, sub) < end / sub)
        t->zero |= bits(div_up(off, sub), end / sub);
    if (off % sub) /* a part of a subcluster is written with the rest of it */
        t->data |= bits(off / sub, off / sub + 1);
    if (end != stop && end % sub)
        t->data |= bits(end / sub, end / sub + 1);
}

/* What is written of the cluster at @cluster; *@i, which ends behind that, becomes the first extent that ends behind
 * the cluster. */
static struct qcbmi_guest_touch touch_of(const struct qcbmi_guest_batch *b, size_t *i, uint64_t cluster)
{
    const struct q2_geometry *g = &b->img->g;
    uint64_t stop = u64_min(g->cluster_size, g->size - cluster);
    struct qcbmi_guest_touch t = { 0 };

    for (; *i < b->n && b->extents[*i].off < cluster + g->cluster_size; ++*i) {
        const struct qcbmi_guest_extent *e = &b->extents[*i];
        uint64_t off = u64_max(e->off, cluster) - cluster, end = u64_min(e->end - cluster, stop);

        touch(&t, g, off, end, stop, e->zero);
        if (e->end > cluster + g->cluster_size)
            break;
    }
    t.zero &= ~t.data;
    return t;
}

/* ---- tables ---- */

static int is_own(struct qcbmi_guest_batch *b, const struct q2_l1_entry *e, bool *own, struct qcbm_error *err)
{
    uint64_t count = 0;
    int ret = qcbmi_refcounts_get(&b->alloc.refs, e->l2_offset >> b->img->g.cluster_bits, &count, err);

    *own = e->copied;
    if (ret == 0 && e->copied && count != 1)
        ret = qcbmi_fail(err, QCBM_E_UNSAFE, e->l2_offset,
                         "L2 table at 0x%" PRIx64 " has the copied flag and refcount %" PRIu64, e->l2_offset, count);
    return ret;
}

static int load_table(struct qcbmi_guest_batch *b, uint64_t index, struct qcbmi_guest_table *t, struct qcbm_error *err)
{
    const struct q2_geometry *g = &b->img->g;
    struct q2_l1_entry e;
    int ret = 0;

    q2_l1_entry_parse(be64_load(b->img->l1 + 8 * index), g, &e);
    if (q2_l1_defect_text(&e))
        return qcbmi_fail(err, QCBM_E_UNSAFE, b->img->h.l1_offset + 8 * index, "L1 entry %" PRIu64 ": %s", index,
                          q2_l1_defect_text(&e));
    *t = (struct qcbmi_guest_table){ .l1_index = index, .old = e.l2_offset, .first = UINT32_MAX };
    t->bytes = qcbmi_alloc_array(g->cluster_size, 1, err);
    if (!t->bytes)
        return QCBM_E_NOMEM;
    if (e.l2_offset)
        ret = qcbmi_io_read(&b->img->io, e.l2_offset, t->bytes, g->cluster_size, "L2 table", err);
    return ret == 0 && e.l2_offset ? is_own(b, &e, &t->own, err) : ret;
}

/* The table of guest offset @guest, which is that of the cluster before or a new one. */
static int find_table(struct qcbmi_guest_batch *b, uint64_t guest, struct qcbmi_guest_table **out,
                      struct qcbm_error *err)
{
    uint64_t index = guest / b->img->g.l2_span;
    int ret;

    if (b->n_tables == 0 || b->tables[b->n_tables - 1].l1_index != index) {
        if (qcbmi_grow_array(&b->tables, &b->tables_capacity, b->n_tables, sizeof(*b->tables), err) < 0)
            return QCBM_E_NOMEM;
        ret = load_table(b, index, &b->tables[b->n_tables], err);
        b->n_tables++;
        if (ret < 0)
            return ret;
    }
    *out = &b->tables[b->n_tables - 1];
    return 0;
}

static bool is_full(const struct qcbmi_guest_batch *b, uint64_t cluster)
{
    const struct q2_geometry *g = &b->img->g;

    if (b->n_clusters >= b->max_clusters)
        return true;
    return b->n_tables && (b->n_tables + 1) * g->cluster_size > MAX_TABLE_BYTES &&
           b->tables[b->n_tables - 1].l1_index != cluster / g->l2_span;
}

/* ---- one cluster ---- */

static int give_up(struct qcbmi_guest_batch *b, uint64_t off, uint64_t len, struct qcbm_error *err)
{
    if (qcbmi_grow_array(&b->given_up, &b->given_up_capacity, b->n_given_up, sizeof(*b->given_up), err) < 0)
        return QCBM_E_NOMEM;
    b->given_up[b->n_given_up++] = (struct qcbmi_range){ off, len };
    return 0;
}

static int need_cluster(struct qcbmi_guest_batch *b, uint64_t guest, uint32_t index, struct qcbm_error *err)
{
    if (qcbmi_grow_array(&b->clusters, &b->clusters_capacity, b->n_clusters, sizeof(*b->clusters), err) < 0)
        return QCBM_E_NOMEM;
    b->clusters[b->n_clusters++] =
        (struct qcbmi_guest_cluster){ .guest = guest, .table = b->n_tables - 1, .index = index };
    return 0;
}

static void set_entry(struct qcbmi_guest_table *t, uint32_t index, const struct q2_geometry *g,
                      const struct qcbmi_guest_entry *e)
{
    uint8_t *at = t->bytes + (uint64_t)index * g->l2_entry_size;

    be64_store(at, e->raw);
    if (g->extended_l2)
        be64_store(at + 8, e->word);
    t->first = t->first < index ? t->first : index;
    t->end = t->end > index + 1 ? t->end : index + 1;
}

static int write_cluster(struct qcbmi_guest_batch *b, uint64_t guest, struct qcbmi_guest_touch t,
                         struct qcbm_error *err)
{
    const struct q2_geometry *g = &b->img->g;
    uint32_t index = (uint32_t)(guest % g->l2_span >> g->cluster_bits);
    struct qcbmi_guest_table *table;
    struct qcbmi_guest_entry e;
    struct q2_l2_entry old;
    uint64_t raw, word;
    int ret = find_table(b, guest, &table, err);

    if (ret < 0)
        return ret;
    raw = be64_load(table->bytes + (uint64_t)index * g->l2_entry_size);
    word = g->extended_l2 ? be64_load(table->bytes + (uint64_t)index * g->l2_entry_size + 8) : 0;
    q2_l2_entry_parse(raw, word, guest, g, &old);
    if (old.defects)
        return qcbmi_fail(err, QCBM_E_UNSAFE, table->old + (uint64_t)index * g->l2_entry_size,
                          "L2 entry of guest 0x%" PRIx64 ": %s", guest, q2_l2_defect_text(old.defects));
    if (b->drops)
        qcbmi_guest_entry_drop(&old, raw, word, g, &e);
    else
        qcbmi_guest_entry_write(&old, raw, word, guest, t, b->has_backing, g, &e);
    if (e.changes)
        set_entry(table, index, g, &e);
    if (e.gives_up)
        ret = give_up(b, old.host_offset, old.host_len, err);
    return ret == 0 && (e.needs_cluster || (g->data_file && !b->drops)) ? need_cluster(b, guest, index, err) : ret;
}

/* Up to where zeros change nothing, as there is no table that says anything else. @cluster: not even there. */
static uint64_t skip_empty(const struct qcbmi_guest_batch *b, const struct qcbmi_guest_extent *e, uint64_t cluster)
{
    const struct q2_geometry *g = &b->img->g;
    uint64_t slot = cluster / g->l2_span, end = u64_min((slot + 1) * g->l2_span, align_down(e->end, g->cluster_size));

    if (g->data_file || !(b->drops || (e->zero && !b->has_backing)) || be64_load(b->img->l1 + 8 * slot) != 0)
        return cluster;
    return e->off <= cluster && end > cluster ? u64_min(end, align_down(b->known, g->cluster_size)) : cluster;
}

static int look(struct qcbmi_guest_batch *b, struct qcbm_error *err)
{
    uint64_t cs = b->img->g.cluster_size, at = b->from;
    size_t i = extent_behind(b, at);
    int ret = qcbmi_l1_load(b->img, err);

    while (ret == 0 && i < b->n) {
        uint64_t cluster = align_down(u64_max(b->extents[i].off, at), cs);

        if (cluster + cs > b->known || is_full(b, cluster)) {
            b->end = u64_max(cluster, b->from);
            return 0;
        }
        at = skip_empty(b, &b->extents[i], cluster);
        if (at == cluster) {
            ret = write_cluster(b, cluster, touch_of(b, &i, cluster), err);
            at = cluster + cs;
        }
        while (i < b->n && b->extents[i].end <= at)
            i++;
    }
    b->end = b->known == UINT64_MAX ? UINT64_MAX : u64_max(align_down(b->known, cs), b->from);
    return ret;
}

/* ---- the plan ---- */

/* Data that lies in a row on both sides is one write. */
static int plan_data(struct qcbmi_guest_batch *b, struct qcbmi_plan *plan, uint64_t host, size_t first, size_t n,
                     struct qcbm_error *err)
{
    uint64_t cs = b->img->g.cluster_size;
    int ret = 0;

    for (size_t i = first, end; ret == 0 && i < first + n; i = end) {
        struct qcbmi_source source = { .fn = compose, .opaque = b, .first = b->clusters[i].guest };

        for (end = i + 1; end < first + n && b->clusters[end].guest == b->clusters[end - 1].guest + cs;)
            end++;
        ret = qcbmi_plan_write_from(plan, "guest data", host + (i - first) * cs, (end - i) * cs, &source, err);
    }
    return ret;
}

static void place(struct qcbmi_guest_batch *b, const struct qcbmi_guest_cluster *c, uint64_t host)
{
    uint8_t *at = b->tables[c->table].bytes + (uint64_t)c->index * b->img->g.l2_entry_size;

    be64_store(at, be64_load(at) | host);
}

static int place_clusters(struct qcbmi_guest_batch *b, struct qcbmi_plan *plan, struct qcbm_error *err)
{
    int ret = 0;

    if (b->img->g.data_file)
        return 0;
    for (size_t i = 0; ret == 0 && i < b->n_clusters;) {
        uint64_t host, got;

        ret = qcbmi_alloc_take_some(&b->alloc, b->n_clusters - i, &host, &got, err);
        if (ret < 0)
            return ret;
        for (uint64_t j = 0; j < got; j++)
            place(b, &b->clusters[i + j], host + (j << b->img->g.cluster_bits));
        ret = plan_data(b, plan, host, i, (size_t)got, err);
        i += (size_t)got;
    }
    return ret;
}

static int plan_l1(struct qcbmi_guest_batch *b, struct qcbmi_plan *plan, const struct qcbmi_guest_table *t,
                   uint64_t raw, struct qcbm_error *err)
{
    uint8_t bytes[8];

    be64_store(bytes, raw);
    return qcbmi_plan_write(plan, "L1 entry", b->img->h.l1_offset + 8 * t->l1_index, bytes, sizeof(bytes), err);
}

/* A table that is new, or a copy of one that somebody else has, too; a table without entries goes with its disk. */
static int plan_new_table(struct qcbmi_guest_batch *b, struct qcbmi_plan *plan, struct qcbmi_guest_table *t,
                          struct qcbm_error *err)
{
    uint64_t cs = b->img->g.cluster_size, off = 0;
    uint8_t *bytes = t->bytes;
    bool gone = b->drops && bytes_are_zero(bytes, cs);
    int ret = 0;

    if (!gone) {
        ret = qcbmi_alloc_take(&b->alloc, 1, &off, err);
        plan->current = 0;
        t->bytes = ret == 0 ? NULL : bytes;
        if (ret == 0)
            ret = qcbmi_plan_write_owned(plan, "L2 table", off, bytes, cs, err);
    }
    plan->current = 2;
    if (ret == 0)
        ret = plan_l1(b, plan, t, gone ? 0 : off | Q2_ENTRY_COPIED, err);
    return ret == 0 && t->old ? give_up(b, t->old, cs, err) : ret;
}

static int plan_table(struct qcbmi_guest_batch *b, struct qcbmi_plan *plan, struct qcbmi_guest_table *t,
                      struct qcbm_error *err)
{
    uint64_t size = b->img->g.l2_entry_size, at = t->first * size;

    if (t->first >= t->end)
        return 0;
    if (!t->own || (b->drops && bytes_are_zero(t->bytes, b->img->g.cluster_size)))
        return plan_new_table(b, plan, t, err);
    plan->current = 2;
    return qcbmi_plan_write(plan, "L2 entries", t->old + at, t->bytes + at, (t->end - t->first) * size, err);
}

/* Stages: 0 prepare | 1 refcounts | 2 switch | 3 reclaim. */
static int make_plan(struct qcbmi_guest_batch *b, struct qcbmi_plan *plan, struct qcbm_error *err)
{
    int ret = place_clusters(b, plan, err);

    if (ret == 0)
        ret = qcbmi_plan_stage(plan, "refcounts", false, err);
    if (ret == 0)
        ret = qcbmi_plan_stage(plan, "switch", true, err);
    if (ret == 0)
        ret = qcbmi_plan_stage(plan, "reclaim", true, err);
    for (size_t i = 0; ret == 0 && i < b->n_tables; i++)
        ret = plan_table(b, plan, &b->tables[i], err);
    if (ret == 0)
        ret = qcbmi_alloc_emit(&b->alloc, plan, 0, 1, err);
    plan->current = 3;
    for (size_t i = 0; ret == 0 && i < b->n_given_up; i++)
        ret = qcbmi_alloc_release(&b->alloc, plan, b->given_up[i].off, b->given_up[i].len, err);
    return ret < 0 ? ret : qcbmi_alloc_emit_released(&b->alloc, plan, err);
}

int qcbmi_guest_plan(struct qcbmi_guest_batch *b, struct qcbmi_owners *owners, struct qcbmi_plan *plan,
                     struct qcbm_error *err)
{
    uint64_t most = b->max_clusters + MAX_TABLE_BYTES / b->img->g.cluster_size + 2;
    int ret = qcbmi_alloc_begin(&b->alloc, owners, most, err);

    if (ret == 0)
        ret = look(b, err);
    return ret < 0 ? ret : make_plan(b, plan, err);
}

int qcbmi_guest_write_beside(struct qcbmi_guest_batch *b, struct qcbmi_io *data_file, struct qcbm_error *err)
{
    uint64_t cs = b->img->g.cluster_size;
    uint8_t *buf = qcbmi_alloc_array(cs, 1, err);
    int ret = buf ? 0 : QCBM_E_NOMEM;

    for (size_t i = 0; ret == 0 && i < b->n_clusters; i++) {
        uint64_t guest = b->clusters[i].guest, len = u64_min(cs, b->img->g.size - guest);

        for (uint64_t done = 0, got; ret == 0 && done < len; done += got)
            ret = compose(b, guest + done, buf + done, len - done, &got, err);
        if (ret == 0 && !(bytes_are_zero(buf, len) && qcbmi_io_is_hole(data_file, guest, len)))
            ret = qcbmi_io_write(data_file, guest, buf, len, err);
    }
    free(buf);
    return ret < 0 ? ret : qcbmi_io_flush(data_file, err);
}
