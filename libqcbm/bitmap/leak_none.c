/* leak_none.c - does nothing leak at all? From what was read for something else, and one reading of the refcounts
 * SPDX-License-Identifier: MIT
 *
 * Without snapshots a cluster leaks that has a refcount and no reference; how many of either is no matter. So two sets
 * of clusters tell, and nothing is counted. Whatever is not plain is left to who counts (leak_count.c). */
#include "bitmap/leak_none.h"

#include <stdlib.h>

#include "base/checked.h"
#include "bitmap/bitmap_refs.h"
#include "image/refs.h"
#include "image/used_clusters.h"
#include "write/refcounts.h"

struct look {
    const struct qcbmi_lost_clues *clues;
    const struct qcbmi_image *img;
    const struct qcbmi_l2_named *named;
    struct qcbmi_bitset referred; /* clusters of the file that something refers to */
    bool unsure;
    struct qcbm_error *err;
};

/* Where it leads behind the file it is no reference. */
static int note_ref(void *opaque, const struct qcbmi_ref *ref)
{
    struct look *l = opaque;
    const struct q2_geometry *g = &l->img->g;
    uint64_t first = ref->offset >> g->cluster_bits, end;

    if (ref->len == 0 ||
        qcbmi_leads_nowhere(ref->offset, ref->len, align_up(l->img->io.size, Q2_SECTOR), g->cluster_size))
        return 0;
    if (ref->owner.kind == QCBMI_REF_LUKS && l->img->h.crypt_method != 2)
        return 0;
    end = u64_min(((ref->offset + ref->len - 1) >> g->cluster_bits) + 1, l->referred.n_bits);
    return first < end ? qcbmi_bitset_set(&l->referred, first, end, l->err) : 0;
}

static int note_state(void *opaque, const struct qcbmi_ref *l1)
{
    struct look *l = opaque;
    int ret = note_ref(opaque, l1);

    if (ret == 0)
        ret = qcbmi_bitset_or(&l->referred, &l->named->tables, l->err);
    return ret < 0 ? ret : qcbmi_bitset_or(&l->referred, &l->named->data, l->err);
}

static int note_bitmap_table(void *opaque, const struct qcbmi_ref *table)
{
    struct look *l = opaque;
    const struct qcbmi_bitmap *b = &l->clues->bitmaps->list[table->owner.index];
    int ret;

    l->unsure |= b->bad || b->shared || !qcbmi_bitmap_table_is_plausible(&l->img->g, b);
    ret = l->unsure ? 0 : note_ref(opaque, table);
    return ret < 0 ? ret : !l->unsure;
}

static int note_bitmaps(void *opaque)
{
    struct look *l = opaque;
    const struct qcbmi_bitmap_list *list = l->clues->bitmaps;
    struct qcbmi_ref_sink sink = { l, note_ref, NULL, NULL };
    struct qcbmi_bitmap_refs refs = {
        l->clues->img, list, l->clues->holes, "metadata", &sink, note_bitmap_table, NULL
    };

    return list->has_ext && !list->stale ? qcbmi_bitmap_refs_walk(&refs, l->err) : 0;
}

static int note_all(struct look *l, const uint64_t *table, uint64_t n_table)
{
    struct qcbmi_refs refs = { .img = l->clues->img };
    struct qcbmi_ref_sink sink = { l, note_ref, note_state, note_bitmaps };
    int ret = qcbmi_bitset_init(&l->referred, l->named->data.n_bits, l->err);

    if (ret == 0)
        ret = qcbmi_refs_walk(&refs, &sink);
    for (uint64_t i = 0; ret == 0 && i < n_table; i++) {
        struct qcbmi_ref block;

        if (table[i] == 0)
            continue;
        block = qcbmi_ref_to_block(l->img, i, table[i]);
        ret = note_ref(l, &block);
    }
    return ret;
}

static int look(struct look *l, struct qcbmi_l2_named *named, bool *none)
{
    struct qcbmi_used_job read = { .img = l->clues->img, .what = "metadata", .set = &named->used };
    uint64_t *table = NULL;
    int ret = qcbmi_reftable_read(l->clues->img, &table, &read.n_table, l->err);

    read.table = table;
    if (ret == 0)
        ret = note_all(l, table, read.n_table);
    if (ret == 0)
        ret = qcbmi_bitset_init(&named->used, named->data.n_bits, l->err);
    if (ret == 0)
        ret = qcbmi_used_read(&read, l->err);
    named->counted = ret == 0 && !read.beyond;
    *none =
        named->counted && !l->unsure && qcbmi_bitset_first_outside(&named->used, &l->referred) == named->used.n_bits;
    if (!named->counted)
        qcbmi_bitset_free(&named->used);
    qcbmi_bitset_free(&l->referred);
    free(table);
    return ret;
}

int qcbmi_leaks_none(const struct qcbmi_lost_clues *clues, struct qcbmi_l2_named *named, bool *none,
                     struct qcbm_error *err)
{
    struct look l = { .clues = clues, .img = clues->img, .named = named, .err = err };

    *none = false;
    /* anything else is told by who counts */
    return named->known && look(&l, named, none) == QCBM_E_NOMEM ? QCBM_E_NOMEM : 0;
}
