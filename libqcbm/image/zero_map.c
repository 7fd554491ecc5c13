/* zero_map.c - where the guest reads zeros, from the tables of the chain, in guest order
 * SPDX-License-Identifier: MIT */
#include "image/zero_map.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/checked.h"
#include "image/tables.h"

enum reading { READ_DATA, READ_ZERO, READ_THROUGH };

int qcbmi_zero_map_init(struct qcbmi_zero_map *z, const struct qcbmi_chain *chain, struct qcbm_error *err)
{
    z->chain = chain;
    z->layers = qcbmi_alloc_array(chain->n, sizeof(*z->layers), err);
    return z->layers ? 0 : QCBM_E_NOMEM;
}

void qcbmi_zero_map_free(struct qcbmi_zero_map *z)
{
    for (size_t i = 0; z->layers && i < z->chain->n; i++)
        free(z->layers[i].l2);
    free(z->layers);
    z->layers = NULL;
}

/* The L2 table of @guest in z's cache of that layer; *@none if the L1 entry names none. */
static int load_l2(struct qcbm_image *img, struct qcbmi_zero_layer *cache, uint64_t guest, bool *none,
                   struct qcbm_error *err)
{
    uint64_t index = guest / img->g.l2_span;
    struct q2_l1_entry e;
    int ret = qcbmi_l1_load(img, err);

    if (ret == 0 && !cache->l1_checked)
        ret = qcbmi_l1_check_shared(img, err);
    if (ret < 0)
        return ret;
    cache->l1_checked = true;
    q2_l1_entry_parse(be64_load(img->l1 + 8 * index), &img->g, &e);
    *none = e.l2_offset == 0;
    if (*none || e.l2_offset == cache->l2_offset)
        return 0;
    if (e.unaligned)
        return qcbmi_fail(err, QCBM_E_CORRUPT, img->h.l1_offset + 8 * index,
                          "L1 entry %" PRIu64 ": L2 table offset 0x%" PRIx64 " is not cluster-aligned", index,
                          e.l2_offset);
    if (!cache->l2)
        cache->l2 = qcbmi_alloc_array(img->g.cluster_size, 1, err);
    if (!cache->l2)
        return QCBM_E_NOMEM;
    cache->l2_offset = 0;
    ret = qcbmi_io_read_slack(&img->io, e.l2_offset, cache->l2, img->g.cluster_size, img->g.cluster_size, "L2 table",
                              err);
    if (ret == 0)
        cache->l2_offset = e.l2_offset;
    return ret;
}

static enum reading reading_of(enum q2_kind kind)
{
    switch (kind) {
    case Q2_UNALLOCATED:
    case Q2_UNALLOCATED_ALLOC:
        return READ_THROUGH;
    case Q2_ZERO_PLAIN:
    case Q2_ZERO_ALLOC:
        return READ_ZERO;
    default: /* data, or an entry that cannot be read: never called zeros */
        return READ_DATA;
    }
}

/* What (sub)cluster @guest reads as in this layer alone; *@end is where it ends. */
static enum reading read_entry(const struct q2_geometry *g, const uint8_t *l2, uint64_t guest, uint64_t *end)
{
    uint64_t cluster = guest >> g->cluster_bits;
    const uint8_t *at = l2 + (cluster % g->l2_entries) * g->l2_entry_size;
    unsigned sub = (unsigned)((guest & (g->cluster_size - 1)) / g->subcluster_size);
    struct q2_l2_entry e;

    q2_l2_entry_parse(be64_load(at), g->extended_l2 ? be64_load(at + 8) : 0, cluster << g->cluster_bits, g, &e);
    *end = align_down(guest, g->subcluster_size) + g->subcluster_size;
    return e.defects ? READ_DATA : reading_of(q2_subcluster_kind(&e, g, sub));
}

static int read_qcow2(struct qcbm_image *img, struct qcbmi_zero_layer *cache, uint64_t guest, uint64_t limit,
                      enum reading *what, uint64_t *end, struct qcbm_error *err)
{
    uint64_t table_end = u64_min(limit, align_down(guest, img->g.l2_span) + img->g.l2_span);
    bool none;
    int ret = load_l2(img, cache, guest, &none, err);

    if (ret < 0)
        return ret;
    if (none) {
        *what = READ_THROUGH;
        *end = table_end;
        return 0;
    }
    *what = read_entry(&img->g, cache->l2, guest, end);
    while (*end < table_end) {
        uint64_t next;

        if (read_entry(&img->g, cache->l2, *end, &next) != *what)
            break;
        *end = next;
    }
    *end = u64_min(*end, table_end);
    return 0;
}

static int read_raw(struct qcbmi_layer *l, uint64_t guest, uint64_t limit, enum reading *what, uint64_t *end,
                    struct qcbm_error *err)
{
    bool is_data = true;
    int ret = 0;

    *end = limit;
    if (guest >= l->raw.size) /* the rounding to 512 */
        is_data = false;
    else if (l->raw.ops->extent)
        ret = l->raw.ops->extent(l->raw.self, guest, &is_data, end, err);
    *what = is_data ? READ_DATA : READ_ZERO;
    *end = u64_min(*end, limit);
    return ret;
}

int qcbmi_zero_map_at(struct qcbmi_zero_map *z, uint64_t guest, uint64_t limit, bool *zero, uint64_t *end,
                      struct qcbm_error *err)
{
    *zero = true; /* what no layer has reads as zeros */
    *end = limit;
    for (size_t i = 0; i < z->chain->n; i++) {
        struct qcbmi_layer *l = &z->chain->layers[i];
        enum reading what;
        int ret;

        if (guest >= l->size) /* a short layer hides all below it */
            return 0;
        limit = u64_min(*end, l->size);
        ret = l->img ? read_qcow2(l->img, &z->layers[i], guest, limit, &what, end, err)
                     : read_raw(l, guest, limit, &what, end, err);
        if (ret < 0)
            return ret;
        *zero = what != READ_DATA;
        if (what != READ_THROUGH)
            return 0;
    }
    return 0;
}
