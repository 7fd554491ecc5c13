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
#include "io/slow.h"

#define NO_GROUP UINT64_MAX
#define BYTES_AHEAD (UINT64_C(16) << 20) /* of tables, where these are large */

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

/* ---- pieces of one layer: the first ahead is its run, of what was asked for last ---- */

static const struct qcbmi_guest_piece *run_of(const struct qcbmi_guest_layer *l)
{
    return &l->ahead.pieces[l->ahead.at];
}

/* One piece, and nothing is known of what lies behind it. */
static void set_run(struct qcbmi_guest_layer *l, const struct qcbmi_guest_piece *run)
{
    l->ahead.pieces[0] = *run;
    l->ahead.at = 0;
    l->ahead.n = 1;
}

static void forget_run(struct qcbmi_guest_layer *l)
{
    set_run(l, &(struct qcbmi_guest_piece){ 0 });
}

/* A table may map more than the disk has. */
static void cut_ahead(struct qcbmi_guest_ahead *a, uint64_t end)
{
    while (a->n > a->at + 1 && a->pieces[a->n - 1].start >= end)
        a->n--;
    a->pieces[a->n - 1].end = u64_min(a->pieces[a->n - 1].end, end);
}

/* What is ahead are the pieces of the group of @guest, from the cluster of @guest on; there is room for one before
 * them. */
static int look_ahead(struct qcbmi_guest_layer *l, uint64_t guest, struct qcbm_error *err)
{
    const struct q2_geometry *g = &l->layer->img->g;
    uint64_t cluster = guest >> g->cluster_bits, base;
    uint32_t index = (uint32_t)(cluster % g->l2_entries);
    unsigned first = index % Q2_L2_SCAN_MAX, end;
    int ret = load_group(l, index, err);

    if (ret < 0) {
        forget_run(l);
        return ret;
    }
    base = (cluster - first) << g->cluster_bits;
    end = (unsigned)u64_min(Q2_L2_SCAN_MAX, div_up(l->table_end - base, g->cluster_size));
    end = qcbmi_guest_pieces_of(&l->ahead, &l->group, g, base, first, end);
    cut_ahead(&l->ahead, l->table_end);
    l->entries +=
        (unsigned)__builtin_popcountll((l->group.masks.plain | l->group.masks.odd) >> first << (64 - (end - first)));
    return 0;
}

/* Up to where all is known to be zeros, from the entry of @guest on: it is not read. */
static uint64_t end_of_hole(const struct qcbmi_guest_layer *l, uint64_t guest)
{
    const struct q2_geometry *g = &l->layer->img->g;
    uint64_t in_table = (guest >> g->cluster_bits) % g->l2_entries * g->l2_entry_size, at = l->table + in_table;
    uint64_t zeros = u64_min(g->cluster_size - in_table, qcbmi_window_zero_end(&l->l2, at) - at);

    return guest + ((zeros / g->l2_entry_size) << g->cluster_bits);
}

/* The run is the last piece ahead: does the group behind it go on with it, and all of that group? What keeps an entry
 * behind it from being read is the matter of who asks for that entry. */
static bool extend_run(struct qcbmi_guest_layer *l)
{
    struct qcbmi_guest_ahead *a = &l->ahead;
    struct qcbmi_guest_piece run = *run_of(l);

    if (run.kind == Q2_INVALID)
        return false;
    if (run.kind == Q2_UNALLOCATED && !run.doubtful && run.end < l->table_end)
        run.end = u64_min(end_of_hole(l, run.end), l->table_end);
    if (run.end == l->table_end || look_ahead(l, run.end, NULL) < 0) {
        set_run(l, &run);
        return false;
    }
    if (!qcbmi_guest_piece_continues(&run, run_of(l))) {
        a->pieces[--a->at] = run;
        return false;
    }
    a->pieces[a->at].start = run.start;
    a->pieces[a->at].host = run.host;
    return a->at + 1 == a->n;
}

/* The run of alike entries that @guest lies in, up to the end of the table. */
static int read_run(struct qcbmi_guest_layer *l, uint64_t guest, struct qcbm_error *err)
{
    struct qcbmi_guest_ahead *a = &l->ahead;
    int ret = 0;

    if (guest < run_of(l)->start || guest >= a->pieces[a->n - 1].end)
        ret = look_ahead(l, guest, err);
    if (ret < 0)
        return ret;
    while (guest >= run_of(l)->end)
        a->at++;
    for (bool more = a->at + 1 == a->n; more;)
        more = extend_run(l);
    return 0;
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

/* The tables behind that of L1 entry @index, each once where one goes on from entry to entry. */
static void ask_ahead(struct qcbmi_guest_layer *l, uint64_t index, uint64_t end)
{
    uint64_t size = l->layer->img->g.cluster_size, n = u64_min(QCBMI_READS_AHEAD, BYTES_AHEAD / size);
    struct q2_l1_entry e;

    end = u64_min(end, index + 1 + n);
    if (l->asked <= index || l->asked > end)
        l->asked = index + 1;
    while (l->asked < end && find_table(l, &l->asked, end, &e, NULL) == 0 && l->asked < end) {
        qcbmi_io_will_read(&l->layer->img->io, e.l2_offset, size);
        l->asked++;
    }
}

/* The table of @guest becomes l->table, with 0 for none; l->table_end is up to where that holds. */
static int enter_table(struct qcbmi_guest_layer *l, uint64_t guest, struct qcbm_error *err)
{
    const struct qcbmi_image *img = l->layer->img;
    const struct q2_geometry *g = &img->g;
    uint64_t first = guest / g->l2_span, index = first;
    uint64_t end = u64_min(div_up(l->end, g->l2_span), g->l1_used); /* that of a snapshot may be too short: no tables */
    struct q2_l1_entry e = { 0 };
    bool has_table;
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
    if (l->table && (l->l2.n_slow >= QCBMI_SLOW_READS || qcbmi_io_is_remote(&img->io)))
        ask_ahead(l, index, end);
    has_table = index == first && first < end;
    index += has_table;
    l->table_from = guest;
    l->table_end = has_table || index < end ? u64_min(index * g->l2_span, l->end) : l->end;
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
    set_run(l, &(struct qcbmi_guest_piece){ .start = guest, .end = l->table_end, .host = QCBM_NO_OFFSET });
    return 0;
}

static int read_raw(struct qcbmi_guest_layer *l, uint64_t guest, struct qcbm_error *err)
{
    bool is_data = true;
    uint64_t end = 0;
    int ret = qcbmi_holes_at(&l->holes, guest, &is_data, &end, err);
    enum q2_kind kind = is_data ? Q2_NORMAL : Q2_ZERO_ALLOC;

    set_run(l, &(struct qcbmi_guest_piece){ guest, u64_min(end, l->end), .kind = kind, .host = guest });
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
    l->group.at = NO_GROUP;
    forget_run(l);
    if (img) {
        q2_l2_scan_init(&l->scan, &img->g, qcbmi_image_end(img));
        l->group.follow = q2_l2_follow_with(&l->scan, &img->g);
    }
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
    int ret;

    if (m->at >= run_of(l)->start && m->at < run_of(l)->end)
        return 0;
    ret = l->layer->img ? read_qcow2(l, m->at, err) : read_raw(l, m->at, err);
    if (ret == 0)
        return 0;
    forget_run(l);
    return layer_failed(m, i, ret, err);
}

/* Layer @i has nothing at m->at: it need not be asked again before its run ends. */
static void look_through(struct qcbmi_guest_map *m, size_t i)
{
    const struct qcbmi_guest_piece *run = run_of(&m->layers[i]);
    uint64_t bit = UINT64_C(1) << (i % 64);

    qcbmi_min_tree_set(&m->through, i, run->end);
    m->doubtful[i / 64] = run->doubtful ? m->doubtful[i / 64] | bit : m->doubtful[i / 64] & ~bit;
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
    uint64_t host = qcbmi_guest_piece_host(run, start); /* @out may be @run */

    *out = *run;
    out->start = start;
    out->end = end;
    out->hole = false;
    out->host = host;
}

/* A hole of the file under an allocated cluster reads as zeros as well. */
static int look_for_hole(struct qcbmi_guest_layer *l, struct qcbmi_guest_piece *p, struct qcbm_error *err)
{
    int ret = 0;

    if (p->host < l->hole_from || p->host >= l->hole_end) {
        ret = qcbmi_holes_at(&l->holes, p->host, &l->is_data, &l->hole_end, err);
        l->hole_from = ret == 0 ? p->host : UINT64_MAX;
    }
    if (ret < 0)
        return ret;
    p->hole = !l->is_data;
    p->end = u64_min(p->end, p->start + u64_min(l->hole_end - p->host, UINT64_MAX - p->start));
    return 0;
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
        if (!reads_through(run_of(&m->layers[i])->kind))
            break;
        look_through(m, i);
    }
    i = i < m->visible ? i : m->visible - 1; /* where all read through, the lowest one says so */
    l = &m->layers[i];
    give_piece(run_of(l), guest, u64_min(run_of(l)->end, qcbmi_min_tree_before(&m->through, i)), out);
    out->layer = i;
    out->doubtful = out->doubtful || doubts_before(m, i);
    return l->ask_holes && out->kind == Q2_NORMAL ? look_for_hole(l, out, err) : 0;
}

/* Pieces ahead from the run on, as far as is known whether they are holes of the file. */
static size_t known_ahead(struct qcbmi_guest_layer *l)
{
    struct qcbmi_guest_ahead *a = &l->ahead;
    size_t i = a->at;

    for (; l->ask_holes && i < a->n; i++) {
        struct qcbmi_guest_piece *p = &a->pieces[i];

        if (p->kind != Q2_NORMAL)
            continue;
        if (p->host < l->hole_from || p->host + (p->end - p->start) > l->hole_end)
            break;
        p->hole = !l->is_data;
    }
    return (l->ask_holes ? i : a->n) - a->at;
}

int qcbmi_guest_map_pieces(struct qcbmi_guest_map *m, uint64_t guest, const struct qcbmi_guest_piece **pieces,
                           size_t *n, struct qcbm_error *err)
{
    struct qcbmi_guest_layer *top = &m->layers[0];
    struct qcbmi_guest_piece *run;
    int ret;

    move_to(m, guest);
    if (m->visible == 1) { /* what it has is all there is, on the whole of its run */
        ret = look_at(m, 0, err);
        if (ret < 0)
            return ret;
        run = &top->ahead.pieces[top->ahead.at];
        give_piece(run, guest, run->end, run);
        *pieces = run;
        *n = known_ahead(top);
        if (*n > 0)
            return 0;
    }
    *pieces = &m->piece;
    *n = 1;
    return qcbmi_guest_map_at(m, guest, &m->piece, err);
}

/* ---- what a piece means ---- */

int qcbmi_guest_map_fail(const struct qcbmi_guest_map *m, const struct qcbmi_guest_piece *piece, struct qcbm_error *err)
{
    const struct qcbmi_guest_layer *l = &m->layers[piece->layer];
    const struct q2_geometry *g = &l->layer->img->g;
    const struct q2_l2_entry *e = &l->ahead.entry;
    uint64_t cluster = piece->start >> g->cluster_bits, at = l->table + cluster % g->l2_entries * g->l2_entry_size;
    int ret = qcbmi_fail(err, QCBM_E_CORRUPT, at, "L2 entry of guest 0x%" PRIx64 " (host offset 0x%" PRIx64 "): %s",
                         cluster << g->cluster_bits, e->host_offset, q2_l2_defect_text(qcbmi_unreadable_for(e)));

    return layer_failed(m, piece->layer, ret, err);
}

bool qcbmi_guest_piece_is_zero(const struct qcbmi_guest_piece *piece)
{
    return !piece->doubtful && piece->kind != Q2_NORMAL && piece->kind != Q2_COMPRESSED && piece->kind != Q2_INVALID;
}
