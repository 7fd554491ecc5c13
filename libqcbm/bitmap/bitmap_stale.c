/* bitmap_stale.c - stale bitmaps: which of their clusters are provably theirs, and are freed when they are given up
 * SPDX-License-Identifier: MIT */
#include "bitmap/bitmap_stale.h"

#include "base/checked.h"
#include "bitmap/bitmap_load.h"
#include "bitmap/bitmap_refs.h"
#include "io/holes.h"

struct search {
    struct qcbmi_stale *s;
    struct qcbmi_alloc *alloc;
    const struct qcbmi_owners *owners;
    const struct qcbmi_bitmap_list *was;
    struct qcbmi_holes holes;
    struct qcbm_error *err;
    bool directory; /* is theirs */
    uint64_t kept;  /* clusters that they name, and that are not theirs */
};

static int is_theirs(struct search *x, uint64_t cluster, bool *out)
{
    const struct qcbmi_owners *o = x->owners;
    struct qcbmi_refcounts *refs = &x->alloc->refs;
    uint64_t value = 0;
    int ret = 0;

    *out = false;
    if (cluster >= o->n_clusters || qcbmi_bitset_get(&o->meta, cluster) || qcbmi_bitset_get(&o->l2, cluster) ||
        qcbmi_bitset_get(&o->data, cluster) ||
        !qcbmi_refcounts_has_block(refs, cluster / x->alloc->img->g.refblock_entries))
        return 0;
    ret = qcbmi_refcounts_get(refs, cluster, &value, x->err);
    *out = value == 1;
    return ret;
}

/* All clusters of the structure at [@off, @off + @len), or none. */
static int claim(struct search *x, uint64_t off, uint64_t len, bool *all)
{
    uint64_t first = off >> x->alloc->img->g.cluster_bits, end = div_up(off + len, x->alloc->img->g.cluster_size);
    int ret = 0;

    *all = true;
    for (uint64_t c = first; ret == 0 && *all && c < end; c++)
        ret = is_theirs(x, c, all);
    if (ret == 0 && *all)
        return qcbmi_bitset_set(&x->s->theirs, first, end, x->err);
    x->kept += end - first;
    return ret;
}

static int look_on(void *opaque, uint64_t offset, struct qcbm_error *err)
{
    (void)opaque, (void)offset, (void)err;
    return 0;
}

static int claim_ref(void *opaque, const struct qcbmi_ref *ref)
{
    struct search *x = opaque;
    bool all;
    int ret = claim(x, ref->offset, ref->len, &all);

    if (ref->owner.kind == QCBMI_REF_BITMAP_DIRECTORY)
        x->directory = all;
    return ret;
}

/* A table that no program can have written is none by now, and what it names is anything. */
static int claim_table(void *opaque, const struct qcbmi_ref *table)
{
    struct search *x = opaque;
    struct qcbmi_image *img = x->alloc->img;
    const struct qcbmi_bitmap *b = &x->was->list[table->owner.index];
    uint64_t n_bad = 0;
    bool all = false;
    int ret;

    if (!x->directory || b->bad || b->shared || !qcbmi_bitmap_table_in_file(img, b))
        return 0;
    ret = qcbmi_bitmap_clusters(img, &x->holes, b, look_on, NULL, &n_bad, x->err);
    if (ret == 0 && n_bad == 0)
        ret = claim(x, table->offset, table->len, &all);
    return ret < 0 ? ret : all;
}

static int claim_all(struct search *x)
{
    struct qcbmi_image *img = x->alloc->img;
    struct qcbmi_ref_sink sink = { x, claim_ref, NULL, NULL };
    struct qcbmi_bitmap_refs refs = { img, x->was, &x->holes, "bitmap table", &sink, claim_table, NULL };
    int ret;

    qcbmi_holes_init(&x->holes, &img->io);
    ret = qcbmi_bitmap_refs_walk(&refs, x->err);
    qcbmi_holes_free(&x->holes);
    return ret;
}

int qcbmi_stale_find(struct qcbmi_stale *s, const struct qcbmi_bitmap_list *was, struct qcbmi_alloc *alloc,
                     const struct qcbmi_owners *owners, struct qcbmi_plan *plan, struct qcbm_error *err)
{
    struct search x = { .s = s, .alloc = alloc, .owners = owners, .was = was, .err = err };
    int ret;

    if (!was)
        return 0;
    ret = qcbmi_bitset_init(&s->theirs, owners->n_clusters, err);
    if (ret == 0)
        ret = claim_all(&x);
    plan->stale_bitmaps = was->n;
    plan->stale_clusters_kept = x.kept;
    return ret;
}

int qcbmi_stale_release(const struct qcbmi_stale *s, struct qcbmi_alloc *alloc, struct qcbmi_plan *plan,
                        struct qcbm_error *err)
{
    unsigned cb = alloc->img->g.cluster_bits;
    uint64_t end;
    int ret = 0;

    for (uint64_t c = 0; ret == 0 && (c = qcbmi_bitset_next_set(&s->theirs, c)) < s->theirs.n_bits; c = end) {
        end = qcbmi_bitset_next_clear(&s->theirs, c);
        ret = qcbmi_alloc_release(alloc, plan, c << cb, (end - c) << cb, err);
    }
    return ret;
}

void qcbmi_stale_free(struct qcbmi_stale *s)
{
    qcbmi_bitset_free(&s->theirs);
}
