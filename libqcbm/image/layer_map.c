/* layer_map.c - what one layer of a chain has at a guest offset: state, and place in its file
 * SPDX-License-Identifier: MIT */
#include "image/layer_map.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/checked.h"
#include "image/refscan.h"

/* ---- start ---- */

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

static int read_l1(struct qcbmi_layer_map *m, uint64_t index, struct q2_l1_entry *e, struct qcbm_error *err)
{
    struct qcbm_image *img = m->layer->img;
    const uint8_t *at;
    int ret =
        qcbmi_window_at(&m->l1, &img->io, img->h.l1_offset + 8 * index, 8, 8 * (img->g.l1_used - index), &at, err);

    if (ret == 0)
        q2_l1_entry_parse(be64_load(at), &img->g, e);
    return ret;
}

/* A damaged L1 may name a table twice, which costs nothing; 4 Mi entries that name one table are an attack. */
static int check_sharing(struct qcbmi_layer_map *m, struct qcbm_error *err)
{
    struct qcbm_image *img = m->layer->img;
    uint64_t *offsets = qcbmi_alloc_array(img->g.l1_used, sizeof(*offsets), err);
    size_t n = 0, distinct = 0;
    int ret = 0;

    if (!offsets)
        return QCBM_E_NOMEM;
    for (uint64_t i = 0; ret == 0 && i < img->g.l1_used; i++) {
        struct q2_l1_entry e;

        ret = read_l1(m, i, &e, err);
        if (ret == 0 && e.l2_offset)
            offsets[n++] = e.l2_offset;
    }
    qsort(offsets, n, sizeof(*offsets), by_value);
    for (size_t i = 0; i < n; i++)
        distinct += i == 0 || offsets[i] != offsets[i - 1];
    free(offsets);
    if (ret == 0 && n > 2 * distinct + 1024)
        ret = qcbmi_fail(err, QCBM_E_CORRUPT, img->h.l1_offset,
                         "%zu entries of the active L1 table share %zu L2 tables", n, distinct);
    return ret;
}

int qcbmi_layer_map_init(struct qcbmi_layer_map *m, struct qcbmi_layer *layer, struct qcbm_error *err)
{
    int ret = 0;

    memset(m, 0, sizeof(*m));
    m->layer = layer;
    if (layer->img) {
        ret = check_sharing(m, err);
        /* With an external data file the holes would be those of that file, which is not opened. */
        if (ret == 0 && !layer->img->g.data_file && !layer->img->h.crypt_method)
            ret = qcbmi_looks_preallocated(layer->img, &m->ask_holes, err);
    }
    return ret;
}

void qcbmi_layer_map_free(struct qcbmi_layer_map *m)
{
    qcbmi_window_free(&m->l1);
    qcbmi_window_free(&m->l2);
}

/* ---- L2 entries ---- */

static int fail_entry(const struct qcbm_image *img, uint64_t guest, uint64_t at, const struct q2_l2_entry *e,
                      struct qcbm_error *err)
{
    const char *rule = e->defects & Q2_DEFECT_SUBCLUSTER    ? "the subcluster bits are impossible"
                       : e->defects & Q2_DEFECT_UNALIGNED   ? "the host offset is not cluster-aligned"
                       : e->defects & Q2_DEFECT_DATA_OFFSET ? "it does not fit an external data file"
                                                            : "zero flag in a version 2 image";

    return qcbmi_fail(err, QCBM_E_CORRUPT, at, "L2 entry of guest 0x%" PRIx64 " (host offset 0x%" PRIx64 "): %s",
                      align_down(guest, img->g.cluster_size), e->host_offset, rule);
}

/* Can QEMU not read it? It does not look at reserved bits, nor at what a compressed entry must not have. */
static bool is_unreadable(const struct q2_l2_entry *e)
{
    if (e->kind == Q2_COMPRESSED)
        return e->defects & Q2_DEFECT_DATA_OFFSET;
    return e->defects & (Q2_DEFECT_SUBCLUSTER | Q2_DEFECT_UNALIGNED | Q2_DEFECT_DATA_OFFSET | Q2_DEFECT_V2_ZERO);
}

static void piece_of(const struct qcbm_image *img, const struct q2_l2_entry *e, uint64_t guest,
                     struct qcbmi_layer_piece *out)
{
    const struct q2_geometry *g = &img->g;
    uint64_t in_cluster = guest & (g->cluster_size - 1);
    enum q2_kind kind = q2_subcluster_kind(e, g, (unsigned)(in_cluster / g->subcluster_size));

    out->data = kind == Q2_NORMAL || kind == Q2_COMPRESSED;
    out->zero = kind == Q2_ZERO_PLAIN || kind == Q2_ZERO_ALLOC;
    out->compressed = kind == Q2_COMPRESSED;
    /* An encrypted cluster cannot be read where it lies, so QEMU gives no place. */
    out->has_offset =
        !img->h.crypt_method && (kind == Q2_NORMAL || kind == Q2_ZERO_ALLOC || kind == Q2_UNALLOCATED_ALLOC);
    out->offset = out->has_offset ? e->host_offset + in_cluster : 0;
    out->end = align_down(guest, g->subcluster_size) + g->subcluster_size;
}

static int read_entry(struct qcbmi_layer_map *m, uint64_t l2_offset, uint64_t guest, struct qcbmi_layer_piece *out,
                      struct q2_l2_entry *e, uint64_t *at, struct qcbm_error *err)
{
    struct qcbm_image *img = m->layer->img;
    const struct q2_geometry *g = &img->g;
    uint64_t cluster = guest >> g->cluster_bits, in_table = (cluster % g->l2_entries) * g->l2_entry_size;
    const uint8_t *raw;
    int ret;

    *at = l2_offset + in_table;
    ret = qcbmi_window_at(&m->l2, &img->io, *at, g->l2_entry_size, g->cluster_size - in_table, &raw, err);
    if (ret < 0)
        return ret;
    q2_l2_entry_parse(be64_load(raw), g->extended_l2 ? be64_load(raw + 8) : 0, cluster << g->cluster_bits, g, e);
    piece_of(img, e, guest, out);
    return 0;
}

static bool continues(const struct qcbmi_layer_piece *a, const struct qcbmi_layer_piece *b, uint64_t distance)
{
    return a->data == b->data && a->zero == b->zero && a->compressed == b->compressed &&
           a->has_offset == b->has_offset && (!a->has_offset || a->offset + distance == b->offset);
}

/* The run of alike entries from @guest on, within one table. */
static int read_run(struct qcbmi_layer_map *m, uint64_t l2_offset, uint64_t guest, uint64_t limit,
                    struct qcbmi_layer_piece *out, struct qcbm_error *err)
{
    struct q2_l2_entry e;
    uint64_t at;
    int ret = read_entry(m, l2_offset, guest, out, &e, &at, err);

    if (ret == 0 && is_unreadable(&e))
        return fail_entry(m->layer->img, guest, at, &e, err);
    while (ret == 0 && out->end < limit) {
        struct qcbmi_layer_piece next;

        ret = read_entry(m, l2_offset, out->end, &next, &e, &at, err);
        if (ret < 0 || is_unreadable(&e) || !continues(out, &next, out->end - guest))
            break;
        out->end = next.end;
    }
    out->end = u64_min(out->end, limit);
    return ret;
}

/* QEMU reads zeros behind the end of the file: such a table says "unallocated" to it. The caller reports it. */
static void note_lost(struct qcbmi_layer_map *m, uint64_t index, uint64_t l2_offset)
{
    if (l2_offset < m->layer->img->io.size || l2_offset == m->last_lost)
        return;
    if (m->lost_tables++ == 0)
        m->first_lost = index;
    m->last_lost = l2_offset;
}

static int read_qcow2(struct qcbmi_layer_map *m, uint64_t guest, uint64_t limit, struct qcbmi_layer_piece *out,
                      struct qcbm_error *err)
{
    const struct q2_geometry *g = &m->layer->img->g;

    *out = (struct qcbmi_layer_piece){ .end = guest };
    while (out->end < limit) { /* tables that say nothing at all, one after the other */
        uint64_t index = out->end / g->l2_span, table_end = u64_min(limit, (index + 1) * g->l2_span);
        struct q2_l1_entry e;
        int ret = read_l1(m, index, &e, err);

        if (ret < 0)
            return ret;
        if (e.l2_offset && e.unaligned && out->end > guest)
            return 0;
        if (e.l2_offset && e.unaligned)
            return qcbmi_fail(err, QCBM_E_CORRUPT, m->layer->img->h.l1_offset + 8 * index,
                              "L1 entry %" PRIu64 ": L2 table offset 0x%" PRIx64 " is not cluster-aligned", index,
                              e.l2_offset);
        note_lost(m, index, e.l2_offset);
        if (e.l2_offset && e.l2_offset < m->layer->img->io.size &&
            !qcbmi_window_is_zero(&m->l2, e.l2_offset, g->cluster_size))
            return out->end > guest ? 0 : read_run(m, e.l2_offset, guest, table_end, out, err);
        out->end = table_end;
    }
    return 0;
}

/* ---- holes ---- */

/* Is [@off, ...) of the file a hole, and up to where? Behind the end of the file it is, without end. */
static int ask_file(struct qcbmi_layer_map *m, struct qcbmi_io *io, uint64_t off, struct qcbm_error *err)
{
    int ret = 0;

    if (off >= m->hole_from && off < m->hole_end)
        return 0;
    m->hole_from = off;
    m->hole_end = UINT64_MAX;
    m->is_data = off < io->size;
    if (m->is_data && io->ops->extent)
        ret = io->ops->extent(io->self, off, &m->is_data, &m->hole_end, err);
    if (ret == 0 && !m->is_data && m->hole_end >= io->size)
        m->hole_end = UINT64_MAX;
    return ret;
}

static int look_for_hole(struct qcbmi_layer_map *m, uint64_t guest, struct qcbmi_layer_piece *out,
                         struct qcbm_error *err)
{
    int ret = ask_file(m, &m->layer->img->io, out->offset, err);

    out->zero = !m->is_data;
    out->end = u64_min(out->end, guest + u64_min(m->hole_end - out->offset, UINT64_MAX - guest));
    return ret;
}

static int read_raw(struct qcbmi_layer_map *m, uint64_t guest, uint64_t limit, struct qcbmi_layer_piece *out,
                    struct qcbm_error *err)
{
    int ret = ask_file(m, &m->layer->raw, guest, err);

    *out = (struct qcbmi_layer_piece){ .data = m->is_data, .zero = !m->is_data, .has_offset = true };
    out->offset = guest;
    out->end = u64_min(limit, m->hole_end);
    return ret;
}

int qcbmi_layer_map_at(struct qcbmi_layer_map *m, uint64_t guest, uint64_t limit, struct qcbmi_layer_piece *out,
                       struct qcbm_error *err)
{
    int ret;

    if (!m->layer->img)
        return read_raw(m, guest, limit, out, err);
    ret = read_qcow2(m, guest, limit, out, err);
    if (ret == 0 && m->ask_holes && out->data && out->has_offset)
        ret = look_for_hole(m, guest, out, err);
    return ret;
}
