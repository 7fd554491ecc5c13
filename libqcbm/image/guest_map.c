/* guest_map.c - what is at a guest offset: which layer of a chain says so, and where the bytes lie
 * SPDX-License-Identifier: MIT */
#include "image/guest_map.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/checked.h"
#include "base/sort.h"
#include "image/refscan.h"

#define NO_CLUSTER UINT64_MAX
#define NO_GROUP UINT64_MAX

static bool reads_through(enum q2_kind kind)
{
    return kind == Q2_UNALLOCATED || kind == Q2_UNALLOCATED_ALLOC;
}

/* ---- L1 entries of one layer ---- */

/* The first entry from *@index on that names a table; @end if there is none before it. */
static int find_table(struct qcbmi_guest_layer *l, uint64_t *index, uint64_t end, struct q2_l1_entry *e,
                      struct qcbm_error *err)
{
    struct qcbmi_image *img = l->layer->img;
    const uint8_t *raw;

    while (*index < end) {
        uint64_t at = img->h.l1_offset + 8 * *index, zeros = (qcbmi_window_zero_end(&l->l1, at) - at) / 8;
        int ret;

        if (zeros) {
            *index = u64_min(end, *index + zeros);
            continue;
        }
        ret = qcbmi_window_at(&l->l1, &img->io, at, 8, 8 * (img->g.l1_used - *index), &raw, err);
        if (ret < 0)
            return ret;
        q2_l1_entry_parse(be64_load(raw), &img->g, e);
        if (e->l2_offset)
            return 0;
        (*index)++;
    }
    return 0;
}

/* A damaged L1 may name a table twice, which costs nothing; 4 Mi entries that name one table are an attack. */
static int check_sharing(struct qcbmi_guest_layer *l, struct qcbm_error *err)
{
    const struct qcbmi_image *img = l->layer->img;
    uint64_t *offsets = qcbmi_alloc_array(img->g.l1_used, sizeof(*offsets), err);
    size_t n = 0, distinct = 0;
    int ret = 0;

    if (!offsets)
        return QCBM_E_NOMEM;
    for (uint64_t i = 0; ret == 0 && i < img->g.l1_used; i++) {
        struct q2_l1_entry e;

        ret = find_table(l, &i, img->g.l1_used, &e, err);
        if (ret == 0 && i < img->g.l1_used)
            offsets[n++] = e.l2_offset;
    }
    qcbmi_sort(offsets, n, sizeof(*offsets), qcbmi_by_u64);
    for (size_t i = 0; i < n; i++)
        distinct += i == 0 || offsets[i] != offsets[i - 1];
    free(offsets);
    if (ret == 0 && n > 2 * distinct + 1024)
        ret = qcbmi_fail(err, QCBM_E_CORRUPT, img->h.l1_offset,
                         "%zu entries of the active L1 table share %zu L2 tables", n, distinct);
    return ret;
}

/* ---- L2 entries of one layer ---- */

/* What keeps QEMU from reading it. It does not look at reserved bits, nor at what a compressed entry must not have. */
static unsigned unreadable_for(const struct q2_l2_entry *e)
{
    if (e->kind == Q2_COMPRESSED)
        return e->defects & Q2_DEFECT_DATA_OFFSET;
    return e->defects & (Q2_DEFECT_SUBCLUSTER | Q2_DEFECT_UNALIGNED | Q2_DEFECT_DATA_OFFSET | Q2_DEFECT_V2_ZERO);
}

/* The group of entries that entry @index of the table lies in, with its masks. */
static int load_group(struct qcbmi_guest_layer *l, uint32_t index, struct qcbm_error *err)
{
    struct qcbmi_image *img = l->layer->img;
    uint64_t size = img->g.l2_entry_size, in_table = align_down(index, Q2_L2_SCAN_MAX) * size;
    struct qcbmi_guest_group *group = &l->group;
    int ret;

    if (group->at == l->table + in_table)
        return 0;
    group->at = NO_GROUP;
    ret = qcbmi_window_at(&l->l2, &img->io, l->table + in_table, Q2_L2_SCAN_MAX * size, img->g.cluster_size - in_table,
                          &group->raw, err);
    if (ret < 0)
        return ret;
    q2_l2_scan(&l->scan, group->raw, Q2_L2_SCAN_MAX, &group->masks);
    group->at = l->table + in_table;
    return 0;
}

/* Entry @index, of the group that is loaded, for guest cluster @cluster. */
static void parse_entry(struct qcbmi_guest_layer *l, uint32_t index, uint64_t cluster)
{
    const struct q2_geometry *g = &l->layer->img->g;
    const uint8_t *raw = l->group.raw + (size_t)(index % Q2_L2_SCAN_MAX) * g->l2_entry_size;

    if (cluster == l->entry_cluster)
        return;
    q2_l2_entry_parse(be64_load(raw), g->extended_l2 ? be64_load(raw + 8) : 0, cluster << g->cluster_bits, g,
                      &l->entry);
    l->entry_cluster = cluster;
    l->entry_at = l->table + (uint64_t)index * g->l2_entry_size;
    l->entries++;
}

/* Bytes from @in_cluster on that are of one kind with it; of an entry that can be read. */
static uint64_t alike_in_cluster(const struct q2_l2_entry *e, const struct q2_geometry *g, uint64_t in_cluster)
{
    unsigned i = (unsigned)(in_cluster / g->subcluster_size);
    uint32_t bit = UINT32_C(1) << (i & 31), alike;

    if (!g->extended_l2 || e->kind == Q2_COMPRESSED)
        return g->cluster_size - in_cluster;
    alike = e->sub_zero & bit ? e->sub_zero : e->sub_alloc & bit ? e->sub_alloc : ~(e->sub_zero | e->sub_alloc);
    i += (unsigned)__builtin_ctzll(~((uint64_t)alike >> i));
    return i * g->subcluster_size - in_cluster;
}

/* What the entry that was parsed says of @guest, and up to where it does. */
static void describe(const struct qcbmi_guest_layer *l, uint64_t guest, struct qcbmi_guest_piece *out)
{
    const struct q2_geometry *g = &l->layer->img->g;
    const struct q2_l2_entry *e = &l->entry;
    uint64_t in_cluster = guest & (g->cluster_size - 1);

    *out = (struct qcbmi_guest_piece){ .start = guest, .host = QCBM_NO_OFFSET, .doubtful = e->defects };
    out->kind = unreadable_for(e) ? Q2_INVALID : q2_subcluster_kind(e, g, (unsigned)(in_cluster / g->subcluster_size));
    out->end = guest + (out->kind == Q2_INVALID ? g->cluster_size - in_cluster : alike_in_cluster(e, g, in_cluster));
    if (out->kind == Q2_NORMAL || out->kind == Q2_ZERO_ALLOC || out->kind == Q2_UNALLOCATED_ALLOC) {
        out->host = e->host_offset + in_cluster;
    } else if (out->kind == Q2_COMPRESSED) {
        out->host = e->host_offset;
        out->host_len = e->host_len;
    }
}

/* Plain entries of the group from @bit on, as far as their clusters lie one after the other. */
static unsigned plain_run(struct qcbmi_guest_layer *l, unsigned bit, uint64_t *host)
{
    const struct q2_geometry *g = &l->layer->img->g;
    const uint8_t *raw = l->group.raw + (size_t)bit * g->l2_entry_size;
    uint64_t others = ~(l->group.masks.plain >> bit);
    unsigned n = 1, end = others ? (unsigned)__builtin_ctzll(others) : Q2_L2_SCAN_MAX;
    uint64_t next = *host = be64_load(raw) & Q2_ENTRY_OFFSET_MASK;

    for (; n < end; n++) {
        raw += g->l2_entry_size;
        next += g->cluster_size;
        if ((be64_load(raw) & Q2_ENTRY_OFFSET_MASK) != next)
            break;
    }
    l->entries += n;
    return n;
}

/* What the group of @guest says of it: of one entry, or of alike ones that need not be parsed. */
static int find_piece(struct qcbmi_guest_layer *l, uint64_t guest, struct qcbmi_guest_piece *out,
                      struct qcbm_error *err)
{
    const struct q2_geometry *g = &l->layer->img->g;
    uint64_t cluster = guest >> g->cluster_bits, in_cluster = guest & (g->cluster_size - 1), n, host;
    uint32_t index = (uint32_t)(cluster % g->l2_entries);
    unsigned bit = index % Q2_L2_SCAN_MAX;
    int ret = load_group(l, index, err);

    if (ret < 0)
        return ret;
    if (l->group.masks.odd >> bit & 1) {
        parse_entry(l, index, cluster);
        describe(l, guest, out);
        return 0;
    }
    *out = (struct qcbmi_guest_piece){ .start = guest, .host = QCBM_NO_OFFSET };
    if (l->group.masks.plain >> bit & 1) {
        n = plain_run(l, bit, &host);
        out->kind = Q2_NORMAL;
        out->host = host + in_cluster;
    } else {
        uint64_t mapped = (l->group.masks.plain | l->group.masks.odd) >> bit;

        n = mapped ? (unsigned)__builtin_ctzll(mapped) : Q2_L2_SCAN_MAX - bit;
    }
    out->end = guest - in_cluster + (n << g->cluster_bits);
    return 0;
}

/* Compressed clusters and those that cannot be read are looked at one by one. */
static bool continues(const struct qcbmi_guest_piece *run, const struct qcbmi_guest_piece *next)
{
    return run->kind == next->kind && run->kind != Q2_COMPRESSED && run->kind != Q2_INVALID &&
           run->doubtful == next->doubtful &&
           (run->host == QCBM_NO_OFFSET ? next->host == QCBM_NO_OFFSET
                                        : run->host + (next->start - run->start) == next->host);
}

/* Pass over entries from l->run.end on that lie where all is known to be zeros. */
static void skip_hole(struct qcbmi_guest_layer *l)
{
    const struct q2_geometry *g = &l->layer->img->g;
    uint64_t in_table = (l->run.end >> g->cluster_bits) % g->l2_entries * g->l2_entry_size, at = l->table + in_table;
    uint64_t zeros = u64_min(g->cluster_size - in_table, qcbmi_window_zero_end(&l->l2, at) - at);

    l->run.end += (zeros / g->l2_entry_size) << g->cluster_bits;
}

/* The run of alike entries from @guest on, up to the end of the table. What keeps an entry behind it from being
 * read is the matter of who asks for that entry. */
static int read_run(struct qcbmi_guest_layer *l, uint64_t guest, struct qcbm_error *err)
{
    struct qcbmi_guest_piece *run = &l->run, *next = &l->next;
    uint64_t limit = l->table_end;
    int ret = 0;

    if (guest >= next->start && guest < next->end)
        *run = *next;
    else
        ret = find_piece(l, guest, run, err);
    next->end = 0;
    while (ret == 0 && run->end < limit && run->kind != Q2_INVALID) {
        if (run->kind == Q2_UNALLOCATED && !run->doubtful)
            skip_hole(l);
        if (run->end >= limit || find_piece(l, run->end, next, NULL) < 0)
            break;
        if (!continues(run, next))
            break;
        run->end = next->end;
        next->end = 0;
    }
    run->end = u64_min(run->end, limit);
    return ret;
}

/* QEMU reads zeros behind the end of the file: such a table says "unallocated" to it. The caller reports it. */
static int lose_table(struct qcbmi_guest_layer *l, uint64_t index, struct qcbm_error *err)
{
    uint64_t offset = l->table, size = l->layer->img->io.size;

    l->table = 0;
    if (l->strict)
        return qcbmi_fail(err, QCBM_E_CORRUPT, l->layer->img->h.l1_offset + 8 * index,
                          "L1 entry %" PRIu64 ": L2 table at 0x%" PRIx64 " lies past the end of the file at 0x%" PRIx64,
                          index, offset, size);
    if (offset == l->last_lost)
        return 0;
    if (l->lost_tables++ == 0)
        l->first_lost = index;
    l->last_lost = offset;
    return 0;
}

/* The table of @guest becomes l->table, with 0 for none; l->table_end is up to where that holds. */
static int enter_table(struct qcbmi_guest_layer *l, uint64_t guest, struct qcbm_error *err)
{
    const struct qcbmi_image *img = l->layer->img;
    const struct q2_geometry *g = &img->g;
    uint64_t first = guest / g->l2_span, index = first, end = div_up(l->end, g->l2_span);
    struct q2_l1_entry e = { 0 };
    int ret = find_table(l, &index, end, &e, err);

    l->table_end = 0;
    if (ret < 0)
        return ret;
    e.reserved = false; /* QEMU does not look at these here */
    if (index == first && q2_l1_defect_text(&e))
        return qcbmi_fail(err, QCBM_E_CORRUPT, img->h.l1_offset + 8 * index,
                          "L1 entry %" PRIu64 ", L2 table at 0x%" PRIx64 ": %s", index, e.l2_offset,
                          q2_l1_defect_text(&e));
    l->table = index == first ? e.l2_offset : 0;
    if (l->table >= img->io.size)
        ret = lose_table(l, index, err);
    if (ret < 0)
        return ret;
    if (l->table && qcbmi_window_is_zero(&l->l2, l->table, g->cluster_size))
        l->table = 0;
    index += index == first;
    l->table_from = guest;
    l->table_end = index < end ? index * g->l2_span : l->end;
    return 0;
}

static int read_qcow2(struct qcbmi_guest_layer *l, uint64_t guest, struct qcbm_error *err)
{
    if (guest < l->table_from || guest >= l->table_end) {
        int ret = enter_table(l, guest, err);

        if (ret < 0)
            return ret;
    }
    if (l->table)
        return read_run(l, guest, err);
    l->run = (struct qcbmi_guest_piece){ .start = guest, .end = l->table_end, .host = QCBM_NO_OFFSET };
    return 0;
}

static int read_raw(struct qcbmi_guest_layer *l, uint64_t guest, struct qcbm_error *err)
{
    bool is_data = true;
    uint64_t end = 0;
    int ret = qcbmi_holes_at(&l->holes, guest, &is_data, &end, err);

    l->run = (struct qcbmi_guest_piece){ .start = guest, .host = guest };
    l->run.kind = is_data ? Q2_NORMAL : Q2_ZERO_ALLOC;
    l->run.end = u64_min(end, l->end);
    return ret;
}

/* ---- the chain ---- */

static int layer_failed(const struct qcbmi_guest_map *m, size_t i, int ret, struct qcbm_error *err)
{
    const char *name = m->chain->layers[i].filename;
    char text[256];

    if (i == 0)
        return ret;
    return qcbmi_prefix(err, ret, "layer '%s': ", qcbmi_printable(text, sizeof(text), name, strlen(name)));
}

/* Entries of the active L1 that a cut of the file took away. */
static uint64_t count_lost_entries(const struct qcbmi_image *img)
{
    uint64_t off = img->h.l1_offset, size = img->io.size, there = off < size ? (size - off) / 8 : 0;

    return img->g.l1_used > there ? img->g.l1_used - there : 0;
}

static int init_layer(struct qcbmi_guest_layer *l, struct qcbmi_layer *layer, unsigned flags, struct qcbm_error *err)
{
    struct qcbmi_image *img = layer->img;
    int ret = 0;

    l->layer = layer;
    l->end = align_down(layer->size, Q2_SECTOR);
    l->entry_cluster = NO_CLUSTER;
    l->group.at = NO_GROUP;
    if (img)
        q2_l2_scan_init(&l->scan, &img->g, qcbmi_image_end(img));
    l->lost_entries = img ? count_lost_entries(img) : 0;
    qcbmi_holes_init(&l->holes, img ? &img->io : &layer->raw);
    l->l1.holes = l->l2.holes = &l->holes;
    l->strict = flags & QCBMI_GUEST_STRICT;
    if (l->strict && l->lost_entries)
        ret = qcbmi_fail(err, QCBM_E_CORRUPT, Q2_OFF_L1_OFFSET,
                         "active L1 table: %" PRIu64 " entries lie past the end of the file at 0x%" PRIx64,
                         l->lost_entries, img->io.size);
    if (ret == 0 && img && (flags & QCBMI_GUEST_ALL))
        ret = check_sharing(l, err);
    /* With an external data file the holes would be those of that file, which is not opened. */
    if (ret == 0 && img && (flags & QCBMI_GUEST_HOLES) && !img->g.data_file && !img->h.crypt_method)
        ret = qcbmi_looks_preallocated(img, &l->ask_holes, err);
    return ret;
}

int qcbmi_guest_map_init(struct qcbmi_guest_map *m, const struct qcbmi_chain *chain, unsigned flags,
                         struct qcbm_error *err)
{
    int ret;

    *m = (struct qcbmi_guest_map){ .chain = chain, .visible = chain->n };
    m->layers = qcbmi_alloc_array(chain->n, sizeof(*m->layers), err);
    if (!m->layers)
        return QCBM_E_NOMEM;
    ret = qcbmi_min_tree_init(&m->through, chain->n, err);
    for (size_t i = 0; ret == 0 && i < chain->n; i++) {
        ret = init_layer(&m->layers[i], &chain->layers[i], flags, err);
        if (i > 0)
            m->layers[i].end = u64_min(m->layers[i].end, m->layers[i - 1].end);
        if (ret < 0)
            ret = layer_failed(m, i, ret, err);
    }
    return ret;
}

void qcbmi_guest_map_free(struct qcbmi_guest_map *m)
{
    for (size_t i = 0; m->layers && i < m->chain->n; i++) {
        qcbmi_window_free(&m->layers[i].l1);
        qcbmi_window_free(&m->layers[i].l2);
        qcbmi_holes_free(&m->layers[i].holes);
    }
    free(m->layers);
    qcbmi_min_tree_free(&m->through);
    *m = (struct qcbmi_guest_map){ 0 };
}

/* Layers that have ended at @guest are out of sight; on the way back they come into sight again. */
static void move_to(struct qcbmi_guest_map *m, uint64_t guest)
{
    if (guest < m->at) {
        m->visible = m->chain->n;
        for (size_t i = 0; i < m->chain->n; i++)
            qcbmi_min_tree_set(&m->through, i, 0);
    }
    m->at = guest;
    while (m->visible > 1 && m->layers[m->visible - 1].end <= guest)
        m->visible--;
}

/* What layer @i has at m->at becomes its run. */
static int look_at(struct qcbmi_guest_map *m, size_t i, struct qcbm_error *err)
{
    struct qcbmi_guest_layer *l = &m->layers[i];
    uint64_t bit = UINT64_C(1) << (i % 64);
    int ret;

    if (m->at < l->run.start || m->at >= l->run.end) {
        ret = l->layer->img ? read_qcow2(l, m->at, err) : read_raw(l, m->at, err);
        if (ret < 0) {
            l->run = (struct qcbmi_guest_piece){ 0 };
            return layer_failed(m, i, ret, err);
        }
    }
    if (reads_through(l->run.kind)) {
        qcbmi_min_tree_set(&m->through, i, l->run.end);
        m->doubtful[i / 64] = l->run.doubtful ? m->doubtful[i / 64] | bit : m->doubtful[i / 64] & ~bit;
    }
    return 0;
}

static bool doubts_before(const struct qcbmi_guest_map *m, size_t layer)
{
    uint64_t below = m->doubtful[layer / 64] & ((UINT64_C(1) << (layer % 64)) - 1);

    for (size_t i = 0; below == 0 && i < layer / 64; i++)
        below = m->doubtful[i];
    return below != 0;
}

/* [@start, @end) of @run. */
static void give_piece(const struct qcbmi_guest_piece *run, uint64_t start, uint64_t end, struct qcbmi_guest_piece *out)
{
    bool moves = run->host != QCBM_NO_OFFSET && run->kind != Q2_COMPRESSED;

    out->start = start;
    out->end = end;
    out->kind = run->kind;
    out->hole = false;
    out->host = moves ? run->host + (start - run->start) : run->host;
    out->host_len = run->host_len;
}

/* A hole of the file under an allocated cluster reads as zeros as well. */
static int look_for_hole(struct qcbmi_guest_layer *l, struct qcbmi_guest_piece *p, struct qcbm_error *err)
{
    bool is_data = true;
    uint64_t end = UINT64_MAX;
    int ret = qcbmi_holes_at(&l->holes, p->host, &is_data, &end, err);

    p->hole = !is_data;
    p->end = u64_min(p->end, p->start + u64_min(end - p->host, UINT64_MAX - p->start));
    return ret;
}

int qcbmi_guest_map_at(struct qcbmi_guest_map *m, uint64_t guest, struct qcbmi_guest_piece *out, struct qcbm_error *err)
{
    struct qcbmi_guest_layer *l;
    size_t i;

    move_to(m, guest);
    for (;;) {
        int ret;

        i = qcbmi_min_tree_first(&m->through, guest);
        if (i >= m->visible)
            break;
        ret = look_at(m, i, err);
        if (ret < 0)
            return ret;
        if (!reads_through(m->layers[i].run.kind))
            break;
    }
    i = i < m->visible ? i : m->visible - 1; /* where all read through, the lowest one says so */
    l = &m->layers[i];
    give_piece(&l->run, guest, u64_min(l->run.end, qcbmi_min_tree_before(&m->through, i)), out);
    out->layer = i;
    out->doubtful = l->run.doubtful || doubts_before(m, i);
    return l->ask_holes && out->kind == Q2_NORMAL ? look_for_hole(l, out, err) : 0;
}

/* ---- what a piece means ---- */

int qcbmi_guest_map_fail(const struct qcbmi_guest_map *m, const struct qcbmi_guest_piece *piece, struct qcbm_error *err)
{
    const struct qcbmi_guest_layer *l = &m->layers[piece->layer];
    const struct q2_l2_entry *e = &l->entry;
    int ret = qcbmi_fail(
        err, QCBM_E_CORRUPT, l->entry_at, "L2 entry of guest 0x%" PRIx64 " (host offset 0x%" PRIx64 "): %s",
        align_down(piece->start, l->layer->img->g.cluster_size), e->host_offset, q2_l2_defect_text(unreadable_for(e)));

    return layer_failed(m, piece->layer, ret, err);
}

bool qcbmi_guest_piece_is_zero(const struct qcbmi_guest_piece *piece)
{
    return !piece->doubtful && piece->kind != Q2_NORMAL && piece->kind != Q2_COMPRESSED && piece->kind != Q2_INVALID;
}
