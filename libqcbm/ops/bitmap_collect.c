/* bitmap_collect.c - what the bitmaps of one name say in all layers of a chain, put into one in the top
 * SPDX-License-Identifier: MIT
 *
 * libvirt's rule: what changed since a checkpoint is what the bitmaps of its name say, in the layers from the top down
 * to the one that was written to when it was made. One that is missing among them, or cannot be relied on, is a change
 * that nobody knows of, so the whole is refused. Below the last of them all must be without one, provably: a directory
 * that cannot be read may have it. */
#include "ops/bitmap_collect.h"

#include <string.h>

#include "base/checked.h"
#include "bitmap/bitmap_edit.h"
#include "bitmap/bitmap_load.h"
#include "image/chain.h"

struct collection {
    struct qcbm_edit *edit;
    const char *name;
    char shown[256]; /* @name, printable */
    qcbm_collect_fn *fn;
    void *opaque;
    struct qcbmi_dirtymap map; /* the result so far */
    uint64_t before;           /* dirty bytes of the top's bitmap alone */
    bool live;                 /* some of it was read with force-share */
    const char *lacking;       /* the first layer without the bitmap; NULL as long as all have it */
};

static int tell(struct collection *c, const struct qcbm_collected *layer, struct qcbm_error *err)
{
    return c->fn && c->fn(c->opaque, layer) != 0 ? qcbmi_fail_stopped(err) : 0;
}

/* The bytes of the top that lie behind the end of a layer: when that was written to they were no part of the disk, so
 * its bitmap tells nothing of them. */
static int add_tail(struct collection *c, uint64_t covered, struct qcbm_collected *layer, struct qcbm_error *err)
{
    if (layer->virtual_size >= c->edit->img->g.size)
        return 0;
    layer->tail_bytes = c->edit->img->g.size - layer->virtual_size;
    return qcbmi_dirtymap_set_tail(&c->map, covered, err);
}

static int add_bits(struct collection *c, struct qcbmi_image *img, const struct qcbmi_bitmap *b,
                    struct qcbm_collected *layer, struct qcbm_error *err)
{
    struct qcbmi_dirtymap map = { 0 };
    int ret = qcbmi_bitmap_load(img, b, &map, err);

    layer->has = true;
    layer->enabled = b->d.flags & Q2_BITMAP_AUTO;
    layer->granularity = UINT64_C(1) << b->d.granularity_bits;
    if (ret == 0) {
        layer->dirty_bytes = qcbmi_dirtymap_dirty_bytes(&map);
        c->live |= img->open_flags & QCBM_OPEN_FORCE_SHARE;
        ret = qcbmi_dirtymap_merge(&c->map, &map, err);
    }
    if (ret == 0)
        ret = add_tail(c, map.size, layer, err);
    qcbmi_dirtymap_free(&map);
    return ret;
}

/* Is the bitmap, which is not in the list, provably not there? That of a stale extension may have been. */
static int check_absent(const struct collection *c, const struct qcbm_image *handle, int ret, struct qcbm_error *err)
{
    const struct qcbmi_bitmap_list *list = handle->bitmaps;

    if (ret != QCBM_E_NOTFOUND || !list->stale || (list->was && !qcbmi_bitmap_find(list->was, c->name)))
        return ret;
    return qcbmi_fail(err, QCBM_E_UNSAFE, QCBM_NO_OFFSET,
                      "its bitmaps are stale, a program that does not know them wrote to the image: what bitmap '%s' "
                      "misses there nobody knows",
                      c->shown);
}

/* What to do about a bitmap that stands in the way. Returns @ret. */
static int advise(const char *filename, int ret, struct qcbm_error *err)
{
    char file[160], text[sizeof err->message];

    if (!err || (ret != QCBM_E_INUSE && ret != QCBM_E_CORRUPT))
        return ret;
    memcpy(text, err->message, sizeof text);
    qcbmi_printable(file, sizeof file, filename, strlen(filename));
    return qcbmi_fail(err, ret, err->offset,
                      ret == QCBM_E_INUSE
                          ? "%.250s; 'qcbm bitmap --revive' of '%s' makes one of it that can be relied on"
                          : "%.250s; 'qcbm check -r bitmaps' of '%s' keeps what can be proven",
                      text, file);
}

static int fail_gap(const struct collection *c, const char *filename, struct qcbm_error *err)
{
    char lacking[160], below[160];

    return qcbmi_fail(err, QCBM_E_CHAIN, QCBM_NO_OFFSET,
                      "'%s' has no bitmap '%s', and '%s' below it does: what changed in between is in none; "
                      "'qcbm synth' of that layer makes it",
                      qcbmi_printable(lacking, sizeof lacking, c->lacking, strlen(c->lacking)), c->shown,
                      qcbmi_printable(below, sizeof below, filename, strlen(filename)));
}

/* The bitmap of a qcow2 layer that has one. */
static int look_into(struct collection *c, const struct qcbmi_layer *l, struct qcbm_image *handle,
                     struct qcbm_collected *layer, struct qcbm_error *err)
{
    const struct qcbmi_bitmap *b;
    int ret = qcbmi_bitmap_list_load(handle, err);

    if (ret < 0)
        return ret;
    ret = check_absent(c, handle, qcbmi_bitmap_find_readable(handle, c->name, &b, err), err);
    if (ret == QCBM_E_NOTFOUND)
        return 0;
    if (ret == 0 && c->lacking)
        return fail_gap(c, l->filename, err);
    return ret == 0 ? add_bits(c, l->img, b, layer, err) : advise(l->filename, ret, err);
}

static int look_below(struct collection *c, const struct qcbmi_layer *l, struct qcbm_error *err)
{
    struct qcbm_collected layer = { .filename = l->filename, .virtual_size = l->size };
    struct qcbm_image handle = { .image = l->img };
    char text[160];
    int ret = l->img ? look_into(c, l, &handle, &layer, err) : 0; /* a raw file has no bitmaps */

    qcbmi_handle_clear(&handle);
    if (ret < 0 && ret != QCBM_E_CHAIN)
        return qcbmi_prefix(err, ret,
                            "layer '%s': ", qcbmi_printable(text, sizeof text, l->filename, strlen(l->filename)));
    if (ret < 0)
        return ret;
    if (!layer.has && !c->lacking)
        c->lacking = l->filename;
    return tell(c, &layer, err);
}

/* The top's bitmap, as the edit has it so far. */
static int begin(struct collection *c, struct qcbmi_edit_bitmap **b, struct qcbm_error *err)
{
    const struct qcbmi_image *img = c->edit->img;
    const char *path = img->path ? img->path : "";
    struct qcbm_collected layer = { .filename = path, .virtual_size = img->g.size, .has = true };
    int ret = qcbmi_edit_check_open(c->edit, err);

    if (ret == 0)
        ret = qcbmi_edit_find_consistent(c->edit, c->name, b, err);
    if (ret == 0)
        ret = qcbmi_edit_copy_bits(c->edit, *b, &c->map, err);
    if (ret < 0)
        return advise(path, ret, err);
    layer.enabled = (*b)->flags & Q2_BITMAP_AUTO;
    layer.granularity = UINT64_C(1) << (*b)->gran_bits;
    layer.dirty_bytes = c->before = qcbmi_dirtymap_dirty_bytes(&c->map);
    return tell(c, &layer, err);
}

static int walk(struct collection *c, struct qcbmi_chain *chain, struct qcbm_error *err)
{
    struct qcbmi_image *top = c->edit->img;
    struct qcbmi_chain_options options = { .force_share = top->open_flags & QCBM_OPEN_FORCE_SHARE };
    bool found = qcbmi_chain_can_be_found(top);
    int ret = found ? qcbmi_chain_open(top, &options, chain, err) : 0;

    if (!found && top->backing_file)
        ret = qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET, "the layers below an image in a file only can be found");
    for (size_t i = 1; ret == 0 && i < chain->n; i++)
        ret = look_below(c, &chain->layers[i], err);
    return ret;
}

int qcbm_edit_collect(struct qcbm_edit *edit, const char *name, const char *as, qcbm_collect_fn *fn, void *opaque,
                      struct qcbm_error *err)
{
    struct collection c = { .edit = edit, .name = name, .fn = fn, .opaque = opaque };
    struct qcbmi_chain chain = { 0 };
    struct qcbmi_edit_bitmap *b = NULL;
    int ret;

    qcbmi_printable(c.shown, sizeof c.shown, name, strlen(name));
    ret = begin(&c, &b, err);
    if (ret == 0)
        ret = walk(&c, &chain, err);
    if (ret == 0 && as)
        ret = qcbmi_edit_insert(edit, as, b->gran_bits, b->flags & Q2_BITMAP_AUTO, false, &c.map, err);
    else if (ret == 0 && qcbmi_dirtymap_dirty_bytes(&c.map) > c.before) /* else there is nothing to write */
        qcbmi_edit_take_map(b, &c.map);
    edit->of_live_data |= ret == 0 && c.live;
    qcbmi_chain_close(&chain);
    qcbmi_dirtymap_free(&c.map);
    return ret;
}

/* In an edit that nobody commits. */
int qcbmi_bitmap_collect(struct qcbm_image *top, const char *name, struct qcbmi_dirtymap *map, struct qcbm_error *err)
{
    struct qcbmi_edit_bitmap *b;
    struct qcbm_edit *edit;
    int ret = qcbm_edit_begin(top, &edit, err);

    if (ret < 0)
        return ret;
    ret = qcbm_edit_collect(edit, name, NULL, NULL, NULL, err);
    if (ret == 0)
        ret = qcbmi_edit_find_consistent(edit, name, &b, err);
    if (ret == 0)
        ret = qcbmi_edit_copy_bits(edit, b, map, err);
    qcbm_edit_free(edit);
    return ret;
}
