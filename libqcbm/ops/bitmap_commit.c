/* bitmap_commit.c - the bitmaps' half of a commit: those of the layers above a base, merged into the base's
 * SPDX-License-Identifier: MIT
 *
 * libvirt's rule: a bitmap of the top that can be relied on down to where it begins goes into the base's of that name,
 * which is made if the base has none. Whatever else is left out, and told, as the base's bitmap of that name then lacks
 * changes. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "bitmap/bitmap_edit.h"
#include "bitmap/bitmap_load.h"
#include "image/chain.h"

struct item {
    const char *name; /* of the top's list */
    unsigned gran_bits;
    size_t depth; /* layers that have it, from the top down without a gap */
    bool ended;   /* a layer lacks it */
    bool in_base;
    const char *fault; /* why it is left out, or NULL; @where it lies */
    size_t where;
};

struct bitmap_commit {
    struct qcbm_edit *edit; /* of the base */
    struct qcbm_image *top;
    struct qcbmi_chain chain; /* from the top to the base */
    struct item *items;
    size_t n;
    qcbm_commit_bitmap_fn *fn;
    void *opaque;
};

static size_t base_of(const struct bitmap_commit *c)
{
    return c->chain.n - 1;
}

/* ---- what there is ---- */

static int open_chain(struct bitmap_commit *c, struct qcbm_error *err)
{
    struct qcbmi_image *top = c->top->image, *base = c->edit->img;
    struct qcbmi_chain_options options = { .force_share = top->open_flags & QCBM_OPEN_FORCE_SHARE,
                                           .known = base,
                                           .stop = &base->io.id };
    int ret;

    if (!qcbmi_chain_can_be_found(top) || !base->path)
        return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET, "a base can be found below an image in a file only");
    ret = qcbmi_chain_open(top, &options, &c->chain, err);
    if (ret < 0)
        return ret;
    if (c->chain.n < 2 || c->chain.layers[base_of(c)].img != base)
        return qcbmi_fail(err, QCBM_E_CHAIN, QCBM_NO_OFFSET, "the base is not in the backing chain (%zu layers)",
                          c->chain.n);
    if (top->g.size > base->g.size) /* the bits of what it lacks would be cut off, and the commit makes it larger */
        return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET,
                          "the base is smaller (%" PRIu64 " bytes) than the top (%" PRIu64
                          "): make it larger first, with "
                          "'qemu-img resize' or the commit of the data",
                          base->g.size, top->g.size);
    return 0;
}

/* Why a layer's list does not say all that there was, or NULL. */
static const char *fault_of_list(const struct qcbmi_bitmap_list *list)
{
    return list->broken ? "its bitmap directory is damaged" : list->stale ? "its bitmaps are stale" : NULL;
}

static const char *fault_of(struct qcbm_image *handle, const struct qcbmi_bitmap *b)
{
    struct qcbm_error unused;
    int ret = qcbmi_bitmap_check_bits(handle, b, false, &unused);

    return ret == QCBM_E_INUSE              ? "it is in use there"
           : ret < 0                        ? "it is damaged there"
           : !(b->d.flags & Q2_BITMAP_AUTO) ? "it is disabled there"
                                            : NULL;
}

static void set_fault(struct item *item, const char *fault, size_t where)
{
    if (item->fault || !fault)
        return;
    item->fault = fault;
    item->where = where;
}

/* One layer more, from the top down. */
static void judge(struct item *item, struct qcbm_image *handle, size_t at)
{
    const struct qcbmi_bitmap *b = qcbmi_bitmap_find(handle->bitmaps, item->name);

    if (!b) {
        set_fault(item, fault_of_list(handle->bitmaps), at);
        item->ended = true;
        return;
    }
    set_fault(item, fault_of(handle, b), at);
    if (item->ended)
        set_fault(item, "it is there again, and a layer above lacks it", at);
    else
        item->depth = at + 1;
}

typedef int layer_fn(struct bitmap_commit *c, struct qcbm_image *handle, size_t at, struct qcbm_error *err);

/* Call @fn for each qcow2 layer above the base; the list of one of them at a time is in memory. */
static int each_layer(struct bitmap_commit *c, layer_fn *fn, struct qcbm_error *err)
{
    int ret = fn(c, c->top, 0, err);

    for (size_t i = 1; ret == 0 && i < base_of(c); i++) {
        struct qcbm_image handle = { .image = c->chain.layers[i].img };

        ret = qcbmi_bitmap_list_load(&handle, err);
        if (ret == 0)
            ret = qcbmi_bitmap_find_shared_data(&handle, err);
        if (ret == 0)
            ret = fn(c, &handle, i, err);
        qcbmi_handle_clear(&handle);
    }
    return ret;
}

static int judge_layer(struct bitmap_commit *c, struct qcbm_image *handle, size_t at, struct qcbm_error *err)
{
    (void)err;
    for (size_t i = 0; i < c->n; i++)
        judge(&c->items[i], handle, at);
    return 0;
}

static int find_items(struct bitmap_commit *c, struct qcbm_error *err)
{
    const struct qcbmi_bitmap_list *list = c->top->bitmaps;
    int ret = qcbmi_bitmap_find_shared_data(c->top, err);

    if (ret == 0 && fault_of_list(list))
        ret = qcbmi_fail(err, QCBM_E_UNSAFE, QCBM_NO_OFFSET, "the top: %s", fault_of_list(list));
    if (ret < 0)
        return ret;
    c->items = qcbmi_alloc_array((uint64_t)list->n + 1, sizeof(*c->items), err);
    if (!c->items)
        return QCBM_E_NOMEM;
    for (; c->n < list->n; c->n++) {
        const struct qcbmi_bitmap *b = &list->list[c->n];
        struct item *item = &c->items[c->n];

        *item = (struct item){ .name = b->name, .gran_bits = b->d.granularity_bits };
        if (strlen(b->name) != b->d.name_len)
            set_fault(item, "its name has a NUL", 0);
    }
    ret = each_layer(c, judge_layer, err);
    for (size_t i = 0; ret == 0 && i < c->n; i++) {
        c->items[i].in_base = qcbmi_bitmap_find(c->edit->handle->bitmaps, c->items[i].name);
        judge(&c->items[i], c->edit->handle, base_of(c));
    }
    return ret;
}

/* ---- merging ---- */

static int merge_item(struct bitmap_commit *c, const struct item *item, const struct qcbm_image *handle,
                      struct qcbm_error *err)
{
    const struct qcbmi_bitmap *b = qcbmi_bitmap_find(handle->bitmaps, item->name);
    struct qcbmi_dirtymap from = { 0 }, map = { 0 };
    struct qcbmi_edit_bitmap *to;
    int ret = qcbmi_edit_find_consistent(c->edit, item->name, &to, err);
    uint64_t before = 0;

    if (ret == 0)
        ret = qcbmi_bitmap_load(handle->image, b, &from, err);
    if (ret == 0)
        ret = qcbmi_edit_copy_bits(c->edit, to, &map, err);
    if (ret == 0) {
        before = qcbmi_dirtymap_dirty_bytes(&map);
        ret = qcbmi_dirtymap_merge(&map, &from, err);
    }
    if (ret == 0 && handle->image->g.size < c->edit->img->g.size)
        ret = qcbmi_dirtymap_set_tail(&map, from.size, err);
    if (ret == 0 && qcbmi_dirtymap_dirty_bytes(&map) > before) /* else there is nothing to write */
        qcbmi_edit_take_map(to, &map);
    qcbmi_dirtymap_free(&from);
    qcbmi_dirtymap_free(&map);
    return ret;
}

static int merge_layer(struct bitmap_commit *c, struct qcbm_image *handle, size_t at, struct qcbm_error *err)
{
    int ret = 0;

    for (size_t i = 0; ret == 0 && i < c->n; i++) {
        const struct item *item = &c->items[i];

        if (item->fault || item->depth <= at)
            continue;
        if (at == 0 && !item->in_base)
            ret = qcbmi_edit_insert(c->edit, item->name, item->gran_bits, Q2_BITMAP_AUTO, false, NULL, err);
        if (ret == 0)
            ret = merge_item(c, item, handle, err);
    }
    return ret;
}

/* ---- what is told ---- */

static int tell_item(const struct bitmap_commit *c, const struct item *item, struct qcbm_error *err)
{
    struct qcbm_committed_bitmap told = { .name = item->name, .in_base = item->in_base };

    told.outcome = item->fault ? QCBM_BITMAP_LEFT_OUT : item->in_base ? QCBM_BITMAP_MERGED : QCBM_BITMAP_CREATED;
    told.layers = (uint32_t)(item->depth < base_of(c) ? item->depth : base_of(c));
    if (item->fault) {
        told.why = item->fault;
        told.where = c->chain.layers[item->where].filename;
    }
    return c->fn && c->fn(c->opaque, &told) != 0 ? qcbmi_fail_stopped(err) : 0;
}

/* Those of the base that the top has not. */
static int tell_others(const struct bitmap_commit *c, struct qcbm_error *err)
{
    const struct qcbmi_bitmap_list *list = c->edit->handle->bitmaps;
    int ret = 0;

    for (uint32_t i = 0; ret == 0 && c->fn && i < list->n; i++) {
        struct qcbm_committed_bitmap told = { .name = list->list[i].name,
                                              .outcome = QCBM_BITMAP_LEFT_OUT,
                                              .in_base = true,
                                              .why = "it is not there",
                                              .where = c->chain.layers[0].filename };

        if (!qcbmi_bitmap_find(c->top->bitmaps, told.name) && c->fn(c->opaque, &told) != 0)
            ret = qcbmi_fail_stopped(err);
    }
    return ret;
}

int qcbm_edit_commit_bitmaps(struct qcbm_edit *edit, struct qcbm_image *top, qcbm_commit_bitmap_fn *fn, void *opaque,
                             struct qcbm_error *err)
{
    struct bitmap_commit c = { .edit = edit, .top = top, .fn = fn, .opaque = opaque };
    int ret = qcbmi_edit_check_open(edit, err);

    if (ret == 0)
        ret = open_chain(&c, err);
    if (ret == 0)
        ret = find_items(&c, err);
    if (ret == 0)
        ret = each_layer(&c, merge_layer, err);
    for (size_t i = 0; ret == 0 && i < c.n; i++)
        ret = tell_item(&c, &c.items[i], err);
    if (ret == 0)
        ret = tell_others(&c, err);
    edit->of_live_data |= ret == 0 && (top->image->open_flags & QCBM_OPEN_FORCE_SHARE);
    free(c.items);
    qcbmi_chain_close(&c.chain);
    return ret;
}
