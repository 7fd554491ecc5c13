/* map.c - where the guest's bytes are in the chain, as qemu-img map tells it
 * SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "image/layer_map.h"
#include "io/open.h"

struct map_walk {
    struct qcbmi_chain chain;
    struct qcbmi_layer_map *maps; /* one for each layer */
    char **data_files;            /* name of the external data file of a layer, or NULL */
    size_t n_maps;
    qcbm_map_fn *fn;
    void *opaque;
    struct qcbm_map_entry run; /* not yet given out; length 0 = none */
};

static uint64_t layer_size(const struct qcbmi_layer *l)
{
    return align_down(l->size, Q2_SECTOR);
}

static void walk_free(struct map_walk *w)
{
    for (size_t i = 0; i < w->n_maps; i++) {
        qcbmi_layer_map_free(&w->maps[i]);
        free(w->data_files[i]);
    }
    free(w->maps);
    free(w->data_files);
    qcbmi_chain_close(&w->chain);
}

static int walk_init(struct map_walk *w, struct qcbm_image *img, unsigned flags, struct qcbm_error *err)
{
    struct qcbmi_chain_options options = { .force_share = flags & QCBM_MAP_FORCE_SHARE };
    char text[256];
    int ret = qcbmi_chain_open(img, &options, &w->chain, err);

    if (ret < 0)
        return ret;
    w->maps = qcbmi_alloc_array(w->chain.n, sizeof(*w->maps), err);
    w->data_files = qcbmi_alloc_array(w->chain.n, sizeof(*w->data_files), err);
    if (!w->maps || !w->data_files)
        return QCBM_E_NOMEM;
    for (w->n_maps = 0; ret == 0 && w->n_maps < w->chain.n; w->n_maps++) {
        struct qcbmi_layer *l = &w->chain.layers[w->n_maps];

        ret = qcbmi_layer_map_init(&w->maps[w->n_maps], l, err);
        if (ret < 0 && w->n_maps > 0)
            qcbmi_prefix(err, ret,
                         "layer '%s': ", qcbmi_printable(text, sizeof(text), l->filename, strlen(l->filename)));
        if (ret == 0 && l->img && l->img->g.data_file) {
            /* literal, and relative to the image; the file is not opened */
            w->data_files[w->n_maps] = qcbmi_name_beside(l->filename, l->img->data_file ? l->img->data_file : "", err);
            ret = w->data_files[w->n_maps] ? 0 : QCBM_E_NOMEM;
        }
    }
    return ret;
}

static void fill_entry(struct map_walk *w, size_t depth, uint64_t guest, const struct qcbmi_layer_piece *p,
                       struct qcbm_map_entry *e)
{
    const char *filename = w->data_files[depth] ? w->data_files[depth] : w->chain.layers[depth].filename;

    *e = (struct qcbm_map_entry){ .start = guest, .length = p->end - guest, .depth = (uint32_t)depth };
    e->present = p->data || p->zero;
    e->data = p->data;
    e->zero = p->zero || !e->present; /* what no layer has reads as zeros */
    e->compressed = p->compressed;
    e->offset = p->has_offset ? p->offset : QCBM_NO_OFFSET;
    e->filename = p->has_offset ? filename : NULL;
}

/* The state at @guest. A layer that ends there, or before, hides all below it: the layer above answers then. */
static int walk_at(struct map_walk *w, uint64_t guest, uint64_t limit, struct qcbm_map_entry *e, struct qcbm_error *err)
{
    for (size_t i = 0;; i++) {
        struct qcbmi_layer_piece p;
        char text[256];
        int ret = qcbmi_layer_map_at(&w->maps[i], guest, limit, &p, err);

        if (ret < 0 && i > 0) {
            const char *name = w->chain.layers[i].filename;

            return qcbmi_prefix(err, ret, "layer '%s': ", qcbmi_printable(text, sizeof(text), name, strlen(name)));
        }
        if (ret < 0)
            return ret;
        if (p.data || p.zero || i + 1 == w->chain.n || guest >= layer_size(&w->chain.layers[i + 1])) {
            fill_entry(w, i, guest, &p, e);
            return 0;
        }
        limit = u64_min(p.end, layer_size(&w->chain.layers[i + 1]));
    }
}

static bool mergeable(const struct qcbm_map_entry *a, const struct qcbm_map_entry *b)
{
    return a->depth == b->depth && a->present == b->present && a->zero == b->zero && a->data == b->data &&
           a->compressed == b->compressed && !a->filename == !b->filename &&
           (!a->filename || a->offset + a->length == b->offset);
}

static int give_out(struct map_walk *w, struct qcbm_error *err)
{
    if (w->run.length && w->fn(w->opaque, &w->run))
        return qcbmi_fail(err, QCBM_E_ABORTED, QCBM_NO_OFFSET, "stopped by the caller");
    w->run.length = 0;
    return 0;
}

static int walk(struct map_walk *w, uint64_t start, uint64_t end, struct qcbm_error *err)
{
    int ret = 0;

    while (ret == 0 && start < end) {
        struct qcbm_map_entry e;

        ret = walk_at(w, start, end, &e, err);
        if (ret < 0)
            break;
        start += e.length;
        if (w->run.length && mergeable(&w->run, &e)) {
            w->run.length += e.length;
        } else {
            ret = give_out(w, err);
            w->run = e;
        }
    }
    /* What is known before an entry that cannot be read is given out, too. */
    if (ret != QCBM_E_ABORTED) {
        int given = give_out(w, ret == 0 ? err : NULL);

        ret = ret == 0 ? given : ret;
    }
    return ret;
}

static void report_lost(struct qcbm_image *img, const struct map_walk *w)
{
    char text[128];

    for (size_t i = 0; i < w->n_maps; i++) {
        const struct qcbmi_layer_map *m = &w->maps[i];
        const char *name = w->chain.layers[i].filename;

        if (m->lost_tables)
            qcbmi_finding_add(img, "l2-table-past-eof", QCBM_SEV_ERROR,
                              i == 0 ? m->layer->img->h.l1_offset + 8 * m->first_lost : QCBM_NO_OFFSET, UINT32_MAX,
                              "%s%s%" PRIu64
                              " L2 tables lie past the end of the file, the first is that of L1 entry %" PRIu64
                              "; they read as unallocated",
                              i ? qcbmi_printable(text, sizeof(text), name, strlen(name)) : "", i ? ": " : "",
                              m->lost_tables, m->first_lost);
    }
}

int qcbm_map(struct qcbm_image *img, uint64_t start, uint64_t length, unsigned flags, qcbm_map_fn *fn, void *opaque,
             struct qcbm_error *err)
{
    struct map_walk w = { .fn = fn, .opaque = opaque };
    uint64_t size = img->g.sector_size_down;
    int ret = walk_init(&w, img, flags, err);

    if (ret == 0 && start < size)
        ret = walk(&w, start, start + u64_min(length, size - start), err);
    report_lost(img, &w);
    walk_free(&w);
    return ret;
}
