/* allocation.c - what one layer has allocated, marked in a dirty map
 * SPDX-License-Identifier: MIT */
#include "ops/allocation.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/checked.h"
#include "base/sort.h"
#include "format/q2_l2_scan.h"

struct mark {
    struct qcbmi_image *img;
    struct qcbmi_dirtymap *map;
    struct qcbmi_allocation *out;
    struct q2_l2_scan scan;
};

/* What a few tables have allocated. */
struct range {
    uint64_t start, end; /* guest bytes */
};
struct marks {
    struct range *list;
    size_t n, capacity;
    struct qcbmi_damage damage;
};

static int mark_range(struct mark *m, uint64_t start, uint64_t end, struct qcbm_error *err)
{
    m->out->allocated_bytes += end - start;
    return qcbmi_dirtymap_set(m->map, start, end, err);
}

static int add_range(const struct mark *m, struct marks *to, uint64_t start, uint64_t end, struct qcbm_error *err)
{
    end = u64_min(end, m->img->g.size); /* the tail of the last L2 table, and VM state, are no guest data */
    if (start >= end)
        return 0;
    if (to->n && to->list[to->n - 1].end == start) {
        to->list[to->n - 1].end = end;
        return 0;
    }
    if (to->n == to->capacity && qcbmi_grow_array(&to->list, &to->capacity, to->n, sizeof(to->list[0]), err) < 0)
        return QCBM_E_NOMEM;
    to->list[to->n++] = (struct range){ start, end };
    return 0;
}

static int merge_marks(void *opaque, void *result, struct qcbm_error *err)
{
    struct mark *m = opaque;
    struct marks *from = result;
    int ret = 0;

    for (size_t i = 0; ret == 0 && i < from->n; i++)
        ret = mark_range(m, from->list[i].start, from->list[i].end, err);
    qcbmi_damage_merge(&m->out->damage, &from->damage);
    from->n = 0;
    return ret;
}

static void drop_marks(void *result)
{
    free(((struct marks *)result)->list);
}

/* The rule that the entry breaks, or NULL. */
static const char *broken_rule(const struct mark *m, const struct q2_l2_entry *e)
{
    if (e->defects)
        return q2_l2_defect_text(e->defects);
    if (!qcbmi_l2_entry_in_file(m->img, e))
        return "its cluster lies past the end of the file";
    return NULL;
}

/* Parse entry @i; damage counts as wholly allocated. The result has a bit for each of 32 parts of the cluster. */
static uint32_t entry_mask(const struct mark *m, struct marks *to, const struct qcbmi_l2_ref *ref, const uint8_t *table,
                           uint32_t i, uint64_t guest)
{
    const struct q2_geometry *g = &m->img->g;
    const uint8_t *at = table + (size_t)i * g->l2_entry_size;
    uint64_t raw = be64_load(at), word = g->extended_l2 ? be64_load(at + 8) : 0;
    struct q2_l2_entry e;
    const char *rule;

    q2_l2_entry_parse(raw, word, guest, g, &e);
    rule = broken_rule(m, &e);
    if (!rule)
        return q2_l2_entry_allocated_mask(&e, g);
    qcbmi_damage_add(&to->damage, ref->offset + (uint64_t)i * g->l2_entry_size,
                     "L2 table at 0x%" PRIx64 ", entry %u (guest 0x%" PRIx64 "): 0x%016" PRIx64 ": %s", ref->offset, i,
                     guest, raw, rule);
    return UINT32_MAX;
}

/* Some of the 32 parts of the cluster at @guest. */
static int mark_parts(const struct mark *m, struct marks *to, uint64_t guest, uint64_t mask, struct qcbm_error *err)
{
    uint64_t part = m->img->g.subcluster_size;
    int ret = 0;

    for (unsigned s = 0, k; ret == 0 && mask >> s; s = k) {
        s += (unsigned)__builtin_ctzll(mask >> s);
        k = s + (unsigned)__builtin_ctzll(~(mask >> s));
        ret = add_range(m, to, guest + s * part, guest + k * part, err);
    }
    return ret;
}

/* What the scan did not know: *@whole gets the bits of those that are wholly allocated. */
static int mark_odd(const struct mark *m, struct marks *to, const struct qcbmi_l2_ref *ref, const uint8_t *table,
                    uint32_t first, uint64_t guest, uint64_t odd, uint64_t *whole, struct qcbm_error *err)
{
    int ret = 0;

    for (; ret == 0 && odd; odd &= odd - 1) {
        unsigned bit = (unsigned)__builtin_ctzll(odd);
        uint64_t at = guest + (first + bit) * (uint64_t)m->img->g.cluster_size;
        uint32_t mask = entry_mask(m, to, ref, table, first + bit, at);

        if (mask == UINT32_MAX)
            *whole |= UINT64_C(1) << bit;
        else
            ret = mark_parts(m, to, at, mask, err);
    }
    return ret;
}

/* The clusters of @whole from the one at @guest on. */
static int mark_whole(const struct mark *m, struct marks *to, uint64_t guest, uint64_t whole, struct qcbm_error *err)
{
    uint64_t cs = m->img->g.cluster_size;
    int ret = 0;

    while (ret == 0 && whole) {
        unsigned first = (unsigned)__builtin_ctzll(whole);
        uint64_t above = ~(whole >> first);
        unsigned n = above ? (unsigned)__builtin_ctzll(above) : 64;

        ret = add_range(m, to, guest + first * cs, guest + (first + n) * cs, err);
        whole = first + n < 64 ? whole >> (first + n) << (first + n) : 0;
    }
    return ret;
}

static int look_at_table(void *opaque, void *result, const struct qcbmi_l2_ref *ref, const uint8_t *table,
                         struct qcbm_error *err)
{
    const struct mark *m = opaque;
    struct marks *to = result;
    const struct q2_geometry *g = &m->img->g;
    uint64_t guest = ref->l1_index * g->l2_span;
    uint32_t n = (uint32_t)u64_min(g->l2_entries, div_up(g->size - guest, g->cluster_size));
    int ret = 0;

    for (uint32_t i = 0; ret == 0 && table && i < n; i += Q2_L2_SCAN_MAX) {
        struct q2_l2_masks masks;

        q2_l2_scan(&m->scan, table + (size_t)i * g->l2_entry_size, n - i < Q2_L2_SCAN_MAX ? n - i : Q2_L2_SCAN_MAX,
                   &masks);
        ret = mark_odd(m, to, ref, table, i, guest, masks.odd, &masks.plain, err);
        if (ret == 0)
            ret = mark_whole(m, to, guest + i * (uint64_t)g->cluster_size, masks.plain, err);
    }
    return ret;
}

/* A table that cannot be read, or cannot be its own: all that it maps counts as allocated. */
static int mark_damaged_table(struct mark *m, uint64_t l1_index, uint64_t l2_offset, const char *rule,
                              struct qcbm_error *err)
{
    uint64_t guest = l1_index * m->img->g.l2_span;

    qcbmi_damage_add(&m->out->damage, m->img->h.l1_offset + 8 * l1_index,
                     "L1 entry %" PRIu64 " (guest 0x%" PRIx64 "), L2 table at 0x%" PRIx64 ": %s", l1_index, guest,
                     l2_offset, rule);
    return mark_range(m, guest, u64_min(guest + m->img->g.l2_span, m->img->g.size), err);
}

/* The L2 tables of the active L1, entries that are damaged left out and marked. */
static int collect_tables(struct mark *m, struct qcbmi_l2_ref *refs, size_t *n, struct qcbm_error *err)
{
    const struct q2_geometry *g = &m->img->g;
    int ret = 0;

    *n = 0;
    for (uint64_t i = 0; ret == 0 && i < g->l1_used; i++) {
        struct q2_l1_entry e;

        q2_l1_entry_parse(be64_load(m->img->l1 + 8 * i), g, &e);
        if (q2_l1_defect_text(&e))
            ret = mark_damaged_table(m, i, e.l2_offset, q2_l1_defect_text(&e), err);
        else if (e.l2_offset && !range_fits(e.l2_offset, g->cluster_size, m->img->io.size))
            /* QEMU reads zeros, hence "unallocated", behind a cut. It writes L2 tables whole, so this one was cut. */
            ret = mark_damaged_table(m, i, e.l2_offset, "it lies past the end of the file, or is cut short by it", err);
        else if (e.l2_offset)
            refs[(*n)++] = (struct qcbmi_l2_ref){ e.l2_offset, i };
    }
    qcbmi_sort(refs, *n, sizeof(*refs), qcbmi_by_two_u64);
    return ret;
}

/* Two L1 entries with one table: no honest image has that, and following it would cost the table's length each time. */
static int drop_shared(struct mark *m, struct qcbmi_l2_ref *refs, size_t *n, struct qcbm_error *err)
{
    size_t kept = 0;
    int ret = 0;

    for (size_t i = 0; ret == 0 && i < *n; i++) {
        bool shared = qcbmi_l2_is_named_twice(refs, *n, i);

        if (shared)
            ret = mark_damaged_table(m, refs[i].l1_index, refs[i].offset, "another L1 entry has the same table", err);
        refs[kept] = refs[i];
        kept += !shared;
    }
    *n = kept;
    return ret;
}

static int read_tables(struct mark *m, const struct qcbmi_l2_ref *refs, size_t n, struct qcbmi_progress *progress,
                       struct qcbm_error *err)
{
    struct qcbmi_l2_job job = { .refs = refs, .n = n, .stride = sizeof(*refs), .what = "L2 table" };

    job.result_size = sizeof(struct marks);
    job.progress = progress;
    job.opaque = m;
    job.look = look_at_table;
    job.merge = merge_marks;
    job.drop = drop_marks;
    return qcbmi_l2_read(m->img, &job, err);
}

int qcbmi_allocation_mark(struct qcbmi_image *img, struct qcbmi_dirtymap *map, struct qcbmi_allocation *out,
                          struct qcbmi_progress *progress, struct qcbm_error *err)
{
    struct mark m = { .img = img, .map = map, .out = out };
    struct qcbmi_l2_ref *refs;
    size_t n = 0;
    int ret = qcbmi_l1_load(img, err);

    if (ret < 0)
        return ret;
    q2_l2_scan_init(&m.scan, &img->g, qcbmi_image_end(img));
    refs = qcbmi_alloc_array(img->g.l1_used, sizeof(*refs), err);
    if (!refs)
        return QCBM_E_NOMEM;
    ret = collect_tables(&m, refs, &n, err);
    if (ret == 0)
        ret = drop_shared(&m, refs, &n, err);
    if (ret == 0)
        ret = read_tables(&m, refs, n, progress, err);
    free(refs);
    return ret;
}

int qcbmi_allocation_cost(struct qcbmi_image *img, uint64_t *bytes, struct qcbm_error *err)
{
    int ret = qcbmi_l1_load(img, err);

    *bytes = 0;
    for (uint64_t i = 0; ret == 0 && i < img->g.l1_used; i++)
        if (be64_load(img->l1 + 8 * i) & Q2_ENTRY_OFFSET_MASK)
            *bytes += img->g.cluster_size;
    return ret;
}
