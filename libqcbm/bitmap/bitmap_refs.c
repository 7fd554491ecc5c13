/* bitmap_refs.c - what bitmaps refer to: their directory, their tables, the clusters of their data
 * SPDX-License-Identifier: MIT */
#include "bitmap/bitmap_refs.h"

#include "base/checked.h"

static struct qcbmi_ref one(enum qcbmi_ref_kind kind, uint64_t index, uint64_t off, uint64_t len, struct qcbmi_place at)
{
    return (struct qcbmi_ref){ .owner = { kind, 0, index },
                               .offset = off,
                               .len = len,
                               .weight = 1,
                               .exclusive = 1,
                               .pointer = at.offset,
                               .at = at };
}

bool qcbmi_bitmap_table_is_plausible(const struct q2_geometry *g, const struct qcbmi_bitmap *b)
{
    uint64_t n = b->d.table_entries;

    return b->d.table_offset && is_aligned(b->d.table_offset, g->cluster_size) && n && n <= Q2_MAX_BITMAP_TABLE &&
           n * g->cluster_size <= Q2_MAX_BITMAP_BYTES && b->d.table_offset <= Q2_MAX_OFFSET - 8 * n;
}

struct table {
    const struct qcbmi_bitmap_refs *refs;
    uint32_t bitmap;
    struct qcbmi_bad_entries bad;
};

static int take_entry(void *opaque, uint64_t raw, uint64_t index)
{
    struct table *t = opaque;
    const struct qcbmi_bitmap_refs *refs = t->refs;
    uint64_t pointer = refs->list->list[t->bitmap].d.table_offset + 8 * index, off;
    struct qcbmi_place at = { pointer, "bitmap table", index, t->bitmap };
    uint32_t cs = refs->img->g.cluster_size;
    enum q2_bitmap_entry_kind kind = q2_bitmap_table_entry(raw, cs, &off);
    struct qcbmi_ref ref;

    if (kind == Q2_BME_BAD && t->bad.n++ == 0) {
        t->bad.index = index;
        t->bad.raw = raw;
    }
    if (kind != Q2_BME_DATA)
        return 0;
    ref = one(QCBMI_REF_BITMAP_DATA, t->bitmap, off, cs, at);
    return refs->sink->ref(refs->sink->opaque, &ref);
}

static int give_data(const struct qcbmi_bitmap_refs *refs, uint32_t i, struct qcbm_error *err)
{
    const struct q2_bitmap_dirent *d = &refs->list->list[i].d;
    struct table t = { .refs = refs, .bitmap = i };
    struct qcbmi_table_walk walk = { refs->img, refs->holes, refs->what, &t, NULL, take_entry };
    int ret = qcbmi_table_walk(&walk, d->table_offset, d->table_entries, err);

    return ret == 0 && t.bad.n && refs->bad ? refs->bad(refs->sink->opaque, i, &t.bad) : ret;
}

static int give_bitmap(const struct qcbmi_bitmap_refs *refs, uint32_t i, struct qcbm_error *err)
{
    const struct qcbmi_bitmap *b = &refs->list->list[i];
    struct qcbmi_place at = { b->entry_offset, "bitmap directory", i, i };
    struct qcbmi_ref ref = one(QCBMI_REF_BITMAP_TABLE, i, b->d.table_offset, 8 * (uint64_t)b->d.table_entries, at);
    int ret = refs->table(refs->sink->opaque, &ref);

    return ret > 0 ? give_data(refs, i, err) : ret;
}

int qcbmi_bitmap_refs_walk(const struct qcbmi_bitmap_refs *refs, struct qcbm_error *err)
{
    const struct qcbmi_bitmap_list *list = refs->list;
    struct qcbmi_place at = { list->ext_offset, "header", UINT64_MAX, UINT32_MAX };
    struct qcbmi_ref directory =
        one(QCBMI_REF_BITMAP_DIRECTORY, UINT64_MAX, list->ext.directory_offset, list->ext.directory_size, at);
    int ret = list->directory ? refs->sink->ref(refs->sink->opaque, &directory) : 0;

    for (uint32_t i = 0; ret == 0 && i < list->n; i++)
        ret = give_bitmap(refs, i, err);
    return ret;
}
