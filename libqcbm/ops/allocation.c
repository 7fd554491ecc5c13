/* allocation.c - what one layer has allocated, marked in a dirty map
 * SPDX-License-Identifier: MIT */
#include "ops/allocation.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bits.h"
#include "base/bytes.h"
#include "base/checked.h"
#include "base/sort.h"
#include "format/q2_l2_scan.h"

struct mark {
    struct qcbmi_image *img;
    struct qcbmi_dirtymap *map;
    struct qcbmi_allocation *out;
    struct q2_l2_scan scan;
    bool parts;                   /* a bit is a subcluster, and a cluster otherwise */
    unsigned unit_bits;           /* size of what a bit stands for */
    struct qcbmi_l2_named *named; /* or NULL: nobody asks */
    uint32_t max;                 /* tables that a piece has at most */
    size_t words;                 /* of one table */
};

/* What the tables of a piece have allocated: for each its index in the L1 table, and then, from word @max on, a bit for
 * each cluster, or subcluster if the map wants to know them. */
struct marks {
    uint32_t n;
    uint64_t allocated; /* bytes */
    struct qcbmi_damage damage;
    struct qcbmi_l2_runs_found named;
    uint64_t data[];
};

static int mark_range(struct mark *m, uint64_t start, uint64_t end, struct qcbm_error *err)
{
    m->out->allocated_bytes += end - start;
    return qcbmi_dirtymap_set(m->map, start, end, err);
}

/* ---- from a table to bits ---- */

/* The rule that the entry breaks, or NULL. */
static const char *broken_rule(const struct mark *m, const struct q2_l2_entry *e)
{
    if (e->defects)
        return q2_l2_defect_text(e->defects);
    if (!qcbmi_l2_entry_in_file(m->img, e))
        return "its cluster lies past the end of the file";
    return NULL;
}

/* What of the cluster of entry @i is allocated: a bit for each of 32 parts. Where it breaks a rule, all of it. */
static uint32_t parse(const struct mark *m, const uint8_t *table, uint32_t i, uint64_t guest, const char **rule)
{
    const struct q2_geometry *g = &m->img->g;
    const uint8_t *at = table + (size_t)i * g->l2_entry_size;
    struct q2_l2_entry e;

    q2_l2_entry_parse(be64_load(at), g->extended_l2 ? be64_load(at + 8) : 0, guest, g, &e);
    *rule = broken_rule(m, &e);
    return *rule ? UINT32_MAX : q2_l2_entry_allocated_mask(&e, g);
}

/* The same, and damage is noted. */
static uint32_t entry_mask(const struct mark *m, struct marks *to, const struct qcbmi_l2_ref *ref, const uint8_t *table,
                           uint32_t i, uint64_t guest)
{
    uint64_t place = (uint64_t)i * m->img->g.l2_entry_size;
    const char *rule;
    uint32_t mask = parse(m, table, i, guest, &rule);

    if (rule)
        qcbmi_damage_add(&to->damage, ref->offset + place,
                         "L2 table at 0x%" PRIx64 ", entry %u (guest 0x%" PRIx64 "): 0x%016" PRIx64 ": %s", ref->offset,
                         i, guest, be64_load(table + place), rule);
    return mask;
}

/* Subclusters of the cluster that entry @i maps: 32 bits, half a word. */
static void put_parts(uint64_t *bits, uint32_t i, uint32_t mask)
{
    bits[i / 2] |= (uint64_t)mask << i % 2 * 32;
}

/* Of 64 entries from @first on: the clusters that are whole, and by entry what only some subclusters of are
 * allocated. */
static void put_mixed(const struct mark *m, struct marks *to, uint64_t *bits, const uint8_t *table, uint32_t first,
                      const struct q2_l2_masks *masks)
{
    to->allocated += masks->parts * m->img->g.subcluster_size;
    for (uint64_t rest = m->parts ? masks->some : 0; rest; rest &= rest - 1) {
        uint32_t i = first + (uint32_t)__builtin_ctzll(rest);
        uint64_t word = be64_load(table + (size_t)i * 16 + 8);

        put_parts(bits, i, (uint32_t)(word | word >> 32));
    }
}

/* What the scan did not know; returns the bits of those of which anything is allocated. */
static uint64_t put_odd(const struct mark *m, struct marks *to, uint64_t *bits, const struct qcbmi_l2_ref *ref,
                        const uint8_t *table, uint32_t first, uint64_t odd)
{
    uint64_t cs = m->img->g.cluster_size, guest = ref->l1_index * m->img->g.l2_span, any = 0;

    for (; odd; odd &= odd - 1) {
        uint32_t i = first + (uint32_t)__builtin_ctzll(odd);
        uint32_t mask = entry_mask(m, to, ref, table, i, guest + i * cs);

        any |= (uint64_t)(mask != 0) << (i - first);
        to->allocated += u64_count(mask) * (cs / 32);
        if (m->parts)
            put_parts(bits, i, mask);
    }
    return any;
}

static void put_group(const struct mark *m, struct marks *to, uint64_t *bits, const struct qcbmi_l2_ref *ref,
                      const uint8_t *table, uint32_t first, const struct q2_l2_masks *masks)
{
    uint64_t odd = masks->odd & ~masks->mixed, any = masks->plain | masks->some;

    to->allocated += (uint64_t)u64_count(masks->plain) << m->img->g.cluster_bits;
    if (masks->some)
        put_mixed(m, to, bits, table, first, masks);
    if (odd)
        any |= put_odd(m, to, bits, ref, table, first, odd);
    if (!m->parts)
        bits[first / 64] = any;
    for (uint64_t rest = m->parts ? masks->plain : 0; rest; rest &= rest - 1)
        put_parts(bits, first + (uint32_t)__builtin_ctzll(rest), UINT32_MAX);
}

/* What the last cluster of the disk, that of entry @i, has behind the end of it is no guest data. */
static void cut_last(const struct mark *m, struct marks *to, uint64_t *bits, const uint8_t *table, uint32_t i,
                     uint64_t guest)
{
    uint64_t part = m->img->g.cluster_size / 32, size = m->img->g.size;
    const char *rule;
    uint32_t mask = parse(m, table, i, guest, &rule), hidden = 0;

    for (unsigned k = 0; k < 32; k++) {
        uint64_t start = guest + k * part, end = start + part;

        if (start >= size)
            hidden |= UINT32_C(1) << k;
        if (end > size && (mask >> k & 1))
            to->allocated -= end - u64_max(start, size);
    }
    if (m->parts)
        bits[i / 2] &= ~((uint64_t)hidden << i % 2 * 32);
    else if (!(mask & ~hidden))
        bits[i / 64] &= ~(UINT64_C(1) << i % 64);
}

static int look_at_table(void *opaque, void *result, const struct qcbmi_l2_ref *ref, const uint8_t *table,
                         struct qcbm_error *err)
{
    const struct mark *m = opaque;
    struct marks *to = result;
    const struct q2_geometry *g = &m->img->g;
    uint64_t guest = ref->l1_index * g->l2_span, *bits = to->data + m->max + to->n * m->words;
    uint32_t n = (uint32_t)u64_min(g->l2_entries, div_up(g->size - guest, g->cluster_size));

    if (!table)
        return 0;
    to->data[to->n++] = ref->l1_index;
    memset(bits, 0, m->words * sizeof(bits[0]));
    for (uint32_t i = 0; i < n; i += Q2_L2_SCAN_MAX) {
        struct q2_l2_masks masks;

        q2_l2_scan(&m->scan, table + (size_t)i * g->l2_entry_size, n - i < Q2_L2_SCAN_MAX ? n - i : Q2_L2_SCAN_MAX,
                   &masks);
        put_group(m, to, bits, ref, table, i, &masks);
    }
    guest += (n - 1) * (uint64_t)g->cluster_size;
    if (guest + g->cluster_size > g->size)
        cut_last(m, to, bits, table, n - 1, guest);
    return m->named ? qcbmi_l2_found_in(&to->named, m->img, &m->scan, table, err) : 0;
}

/* ---- from bits to granules ---- */

/* Each pair of bits of @words becomes one; returns how many there are then. */
static uint64_t fold(uint64_t *words, uint64_t n)
{
    static const uint64_t keep[] = { UINT64_C(0x5555555555555555), UINT64_C(0x3333333333333333),
                                     UINT64_C(0x0f0f0f0f0f0f0f0f), UINT64_C(0x00ff00ff00ff00ff),
                                     UINT64_C(0x0000ffff0000ffff), UINT64_C(0x00000000ffffffff) };
    uint64_t n_words = div_up(n, 64);

    for (uint64_t i = 0; i < n_words; i++) {
        uint64_t v = (words[i] | words[i] >> 1) & keep[0];

        for (unsigned k = 1; k < 6; k++)
            v = (v | v >> (1u << (k - 1))) & keep[k];
        words[i / 2] = i % 2 ? words[i / 2] | v << 32 : v;
    }
    return div_up(n, 2);
}

/* The clusters, or subclusters, whose bits are set, from guest offset @guest on; run by run, at any granularity. */
static int mark_runs(struct mark *m, uint64_t guest, const uint64_t *bits, uint64_t n, struct qcbm_error *err)
{
    uint64_t start = 0, end = 0; /* the run that was met last */
    int ret = 0;

    for (uint64_t i = 0; ret == 0 && i < n; i += 64)
        for (uint64_t rest = bits[i / 64]; ret == 0 && rest;) {
            uint64_t first = i + (uint64_t)__builtin_ctzll(rest), ones = ~(rest >> (first - i));
            uint64_t stop = ones ? first + (uint64_t)__builtin_ctzll(ones) : i + 64;

            if (first != end) {
                ret = qcbmi_dirtymap_set(m->map, guest + (start << m->unit_bits), guest + (end << m->unit_bits), err);
                start = first;
            }
            end = stop;
            rest = stop - i < 64 ? rest >> (stop - i) << (stop - i) : 0;
        }
    return ret < 0 ? ret
                   : qcbmi_dirtymap_set(m->map, guest + (start << m->unit_bits), guest + (end << m->unit_bits), err);
}

/* Bits that the table at @l1_index has of the disk, and of the map, whose disk may be shorter than that of a lower
 * layer; the last one may stand for less. */
static uint64_t bits_of_table(const struct mark *m, uint64_t l1_index)
{
    const struct q2_geometry *g = &m->img->g;
    uint64_t guest = l1_index * g->l2_span, end = u64_min(g->size, m->map->size);

    return guest >= end ? 0 : u64_min(g->l2_span, align_up(end - guest, UINT64_C(1) << m->unit_bits)) >> m->unit_bits;
}

/* Where granules are made of whole bits, and the table begins with a word of them, words go into the map as they
 * are. */
static int merge_table(struct mark *m, uint64_t l1_index, uint64_t *bits, struct qcbm_error *err)
{
    uint64_t guest = l1_index * m->img->g.l2_span, n = bits_of_table(m, l1_index);
    unsigned coarser = m->map->gran_bits - m->unit_bits;

    if (n % 64) /* what lies behind the end would be folded into the last granule */
        bits[n / 64] &= (UINT64_C(1) << n % 64) - 1;
    if (n == 0)
        return 0;
    if (m->map->gran_bits < m->unit_bits || guest & ((UINT64_C(64) << m->map->gran_bits) - 1))
        return mark_runs(m, guest, bits, n, err);
    while (coarser--)
        n = fold(bits, n);
    return qcbmi_bitset_or_words(&m->map->bits, guest >> m->map->gran_bits, bits, n, err);
}

static int merge_marks(void *opaque, void *result, struct qcbm_error *err)
{
    struct mark *m = opaque;
    struct marks *from = result;
    int ret = 0;

    for (uint32_t i = 0; ret == 0 && i < from->n; i++)
        ret = merge_table(m, from->data[i], from->data + m->max + i * m->words, err);
    qcbmi_damage_merge(&m->out->damage, &from->damage);
    m->out->allocated_bytes += from->allocated;
    from->allocated = 0;
    from->n = 0;
    return ret < 0 || !m->named ? ret : qcbmi_l2_named_take(m->named, &from->named, err);
}

static void drop_marks(void *result)
{
    qcbmi_l2_found_free(&((struct marks *)result)->named);
}

/* ---- the tables ---- */

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
    const struct q2_geometry *g = &m->img->g;

    m->max = (uint32_t)u64_max(QCBMI_L2_PIECE >> g->cluster_bits, 1);
    m->parts = g->extended_l2 && m->map->gran_bits < g->cluster_bits;
    m->unit_bits = g->cluster_bits - (m->parts ? 5 : 0); /* 32 subclusters */
    m->words = (m->parts ? 32 * g->l2_entries : g->l2_entries) / 64;
    job.result_size = sizeof(struct marks) + m->max * (m->words + 1) * sizeof(uint64_t);
    job.progress = progress;
    job.opaque = m;
    job.look = look_at_table;
    job.merge = merge_marks;
    job.drop = drop_marks;
    return qcbmi_l2_read(m->img, &job, err);
}

/* Damaged tables are not among @refs, and what they name is not known. */
static int name_tables(struct mark *m, const struct qcbmi_l2_ref *refs, size_t n, struct qcbm_error *err)
{
    unsigned cb = m->img->g.cluster_bits;
    int ret = 0;

    for (size_t i = 0; ret == 0 && m->named && i < n; i++)
        ret = qcbmi_bitset_set(&m->named->tables, refs[i].offset >> cb, (refs[i].offset >> cb) + 1, err);
    return ret;
}

int qcbmi_allocation_mark(struct qcbmi_image *img, struct qcbmi_dirtymap *map, struct qcbmi_allocation *out,
                          struct qcbmi_progress *progress, struct qcbm_error *err)
{
    struct mark m = { .img = img, .map = map, .out = out, .named = out->named };
    struct qcbmi_l2_ref *refs;
    size_t n = 0;
    int ret = qcbmi_l1_load(img, err);

    if (ret < 0)
        return ret;
    if (m.named && !m.named->known)
        m.named = NULL;
    q2_l2_scan_init(&m.scan, &img->g, qcbmi_image_end(img));
    refs = qcbmi_alloc_array(img->g.l1_used, sizeof(*refs), err);
    if (!refs)
        return QCBM_E_NOMEM;
    ret = collect_tables(&m, refs, &n, err);
    if (ret == 0)
        ret = drop_shared(&m, refs, &n, err);
    if (ret == 0)
        ret = name_tables(&m, refs, n, err);
    if (ret == 0)
        ret = read_tables(&m, refs, n, progress, err);
    if (m.named && out->damage.count)
        m.named->known = false;
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
