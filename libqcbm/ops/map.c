/* map.c - where the guest's bytes are in the chain, as qemu-img map tells it
 * SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <string.h>

#include "base/checked.h"
#include "image/guest_map.h"
#include "ops/map.h"

struct map_walk {
    const struct qcbmi_chain *chain;
    struct qcbmi_guest_map *map;
    qcbm_map_fn *fn;
    void *opaque;
    struct qcbm_map_entry run; /* not yet given out; length 0 = none */
    uint64_t state;            /* of it */
};

/* Where the bytes of a layer lie. A data file is not opened. */
static const char *file_of(const struct qcbmi_layer *l)
{
    return l->img && l->img->g.data_file ? l->img->full_data_file : l->filename;
}

/* What must be alike in pieces that are one entry, as bits; the layer above them. */
enum { PRESENT = 1u << 0, ZERO = 1u << 1, DATA = 1u << 2, COMPRESSED = 1u << 3, PLACED = 1u << 4, LAYER = 1u << 5 };

static uint64_t state_of(const struct qcbmi_layer *l, const struct qcbmi_guest_piece *p)
{
    bool compressed = p->kind == Q2_COMPRESSED, data = p->kind == Q2_NORMAL || compressed;
    /* An encrypted cluster cannot be read where it lies, so QEMU gives no place. */
    bool placed = p->host != QCBM_NO_OFFSET && !compressed && !(l->img && l->img->h.crypt_method);

    return p->layer * LAYER + (q2_kind_is_allocated(p->kind) ? PRESENT : 0) + (compressed ? COMPRESSED : 0) +
           (data ? DATA : 0) + (placed ? PLACED : 0) + (p->hole || !data ? ZERO : 0); /* what no layer has is zeros */
}

static void fill_entry(const struct qcbmi_layer *l, const struct qcbmi_guest_piece *p, uint64_t end, uint64_t state,
                       struct qcbm_map_entry *e)
{
    e->start = p->start;
    e->length = end - p->start;
    e->depth = (uint32_t)p->layer;
    e->present = state & PRESENT;
    e->zero = state & ZERO;
    e->data = state & DATA;
    e->compressed = state & COMPRESSED;
    e->offset = state & PLACED ? p->host : QCBM_NO_OFFSET;
    e->filename = state & PLACED ? file_of(l) : NULL;
}

static int give_out(struct map_walk *w, struct qcbm_error *err)
{
    if (w->run.length && w->fn(w->opaque, &w->run))
        return qcbmi_fail_stopped(err);
    w->run.length = 0;
    return 0;
}

/* Up to @end; joined with the run before it if that is alike. */
static int add_piece(struct map_walk *w, const struct qcbmi_guest_piece *p, uint64_t end, struct qcbm_error *err)
{
    const struct qcbmi_layer *l = &w->chain->layers[p->layer];
    struct qcbm_map_entry *run = &w->run;
    uint64_t state = state_of(l, p);
    int ret;

    if (run->length && state == w->state && (!(state & PLACED) || run->offset + run->length == p->host)) {
        run->length += end - p->start;
        return 0;
    }
    ret = give_out(w, err);
    fill_entry(l, p, end, state, run);
    w->state = state;
    return ret;
}

static int walk(struct map_walk *w, uint64_t start, uint64_t end, struct qcbm_error *err)
{
    int ret = 0;

    while (ret == 0 && start < end) {
        const struct qcbmi_guest_piece *p;
        size_t n;

        ret = qcbmi_guest_map_pieces(w->map, start, &p, &n, err);
        for (; ret == 0 && n > 0 && start < end; p++, n--) {
            if (p->kind == Q2_INVALID)
                ret = qcbmi_guest_map_fail(w->map, p, err);
            else
                ret = add_piece(w, p, u64_min(p->end, end), err);
            start = p->end;
        }
    }
    /* What is known before an entry that cannot be read is given out, too. */
    if (ret != QCBM_E_ABORTED) {
        int given = give_out(w, ret == 0 ? err : NULL);

        ret = ret == 0 ? given : ret;
    }
    return ret;
}

static void report_lost_of(struct qcbm_image *top, const struct qcbmi_guest_layer *l, const char *layer)
{
    bool own = l->layer->img == top->image;

    if (l->lost_entries)
        qcbmi_finding_add(&top->findings, QCBM_PROBLEM_TABLE_CUT, own ? Q2_OFF_L1_OFFSET : QCBM_NO_OFFSET, UINT32_MAX,
                          "%s%" PRIu64 " entr%s of the L1 table, from %" PRIu64 " on, %s as unallocated", layer,
                          l->lost_entries, l->lost_entries == 1 ? "y" : "ies",
                          l->layer->img->g.l1_used - l->lost_entries,
                          l->lost_entries == 1 ? "lies past the end of the file; it reads"
                                               : "lie past the end of the file; they read");
    if (l->lost_tables)
        qcbmi_finding_add(&top->findings, QCBM_PROBLEM_REFERENCE_PAST_END,
                          own ? top->image->h.l1_offset + 8 * l->first_lost : QCBM_NO_OFFSET, UINT32_MAX,
                          "%s%" PRIu64 " L2 table%s past the end of the file, the first is that of L1 entry %" PRIu64
                          "; %s as unallocated",
                          layer, l->lost_tables, l->lost_tables == 1 ? " lies" : "s lie", l->first_lost,
                          l->lost_tables == 1 ? "it reads" : "they read");
}

static void report_lost(const struct map_walk *w, struct qcbm_image *top)
{
    for (size_t i = 0; top && w->map->layers && i < w->chain->n; i++) {
        const char *name = w->chain->layers[i].filename;
        char text[128], layer[144] = "";

        if (i)
            snprintf(layer, sizeof(layer), "%s: ", qcbmi_printable(text, sizeof(text), name, strlen(name)));
        report_lost_of(top, &w->map->layers[i], layer);
    }
}

static uint64_t size_of(const struct qcbmi_chain *chain)
{
    return align_down(chain->layers[0].size, Q2_SECTOR);
}

int qcbmi_map_begin(struct qcbmi_guest_map *map, const struct qcbmi_chain *chain, struct qcbm_error *err)
{
    return qcbmi_guest_map_init(map, chain, QCBMI_GUEST_ALL | QCBMI_GUEST_HOLES, err);
}

int qcbmi_map_chain(struct qcbm_image *top, const struct qcbmi_chain *chain, uint64_t start, uint64_t length,
                    qcbm_map_fn *fn, void *opaque, struct qcbm_error *err)
{
    struct qcbmi_guest_map map;
    struct map_walk w = { .chain = chain, .map = &map, .fn = fn, .opaque = opaque };
    uint64_t size = size_of(chain);
    int ret = qcbmi_map_begin(&map, chain, err);

    if (ret == 0) { /* else some layers are not even begun */
        if (start < size)
            ret = walk(&w, start, start + u64_min(length, size - start), err);
        report_lost(&w, top);
    }
    qcbmi_guest_map_free(&map);
    return ret;
}

static int put_entry(void *opaque, const struct qcbm_map_entry *entry)
{
    return qcbmi_page_put(opaque, entry, sizeof(*entry), entry->start + entry->length);
}

int qcbmi_map_fill(struct qcbmi_guest_map *map, uint64_t from, struct qcbmi_page *page, struct qcbm_error *err)
{
    struct map_walk w = { .chain = map->chain, .map = map, .fn = put_entry, .opaque = page };
    struct qcbm_error why;
    int ret = page->n ? walk(&w, from, size_of(map->chain), &why) : 0;

    return qcbmi_page_end(page, ret, &why, err);
}

int qcbm_map(struct qcbm_image *img, uint64_t start, uint64_t length, unsigned flags, qcbm_map_fn *fn, void *opaque,
             struct qcbm_error *err)
{
    struct qcbmi_chain_options options = { .force_share = flags & QCBM_MAP_FORCE_SHARE };
    struct qcbmi_chain chain = { 0 };
    int ret = qcbmi_chain_open(img->image, &options, &chain, err);

    if (ret == 0)
        ret = qcbmi_map_chain(img, &chain, start, length, fn, opaque, err);
    qcbmi_chain_close(&chain);
    return ret;
}
