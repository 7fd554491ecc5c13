/* disk_chain.c - the layers of one disk with the bitmaps of each, and what they have of a checkpoint
 * SPDX-License-Identifier: MIT */
#include "checkpoint/disk_chain.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "bitmap/bitmap_load.h"

/* ---- open ---- */

static int add_layer(struct qcbmi_disk_chain *c, const struct qcbmi_layer *from, struct qcbm_image *top,
                     struct qcbm_error *err)
{
    struct qcbmi_disk_layer *l = &c->layers[c->n];
    struct qcbm_image *handle = &c->handles[c->n++];
    char text[160];
    int ret = 0;

    *l = (struct qcbmi_disk_layer){ .filename = from->filename, .size = align_down(from->size, Q2_SECTOR) };
    if (from->img == top->image) {
        l->img = top;
    } else if (from->img) {
        handle->image = from->img;
        l->img = handle;
        ret = qcbmi_bitmap_list_load(handle, err);
    }
    if (ret == 0 && l->img)
        ret = qcbmi_bitmap_find_shared_data(l->img, err);
    return ret < 0 ? qcbmi_prefix(err, ret,
                                  "layer '%s': ", qcbmi_printable(text, sizeof text, l->filename, strlen(l->filename)))
                   : 0;
}

int qcbmi_disk_chain_open(struct qcbmi_disk_chain *c, struct qcbm_image *top, struct qcbm_error *err)
{
    struct qcbmi_chain_options options = { .force_share = top->image->open_flags & QCBM_OPEN_FORCE_SHARE };
    int ret;

    *c = (struct qcbmi_disk_chain){ 0 };
    ret = qcbmi_chain_open(top->image, &options, &c->chain, err);
    if (ret < 0)
        return ret;
    c->layers = qcbmi_alloc_array(c->chain.n, sizeof(c->layers[0]), err);
    c->handles = c->layers ? qcbmi_alloc_array(c->chain.n, sizeof(c->handles[0]), err) : NULL;
    if (!c->handles)
        return QCBM_E_NOMEM;
    for (size_t i = 0; ret == 0 && i < c->chain.n; i++)
        ret = add_layer(c, &c->chain.layers[i], top, err);
    return ret;
}

void qcbmi_disk_chain_close(struct qcbmi_disk_chain *c)
{
    for (size_t i = 0; c->handles && i < c->n; i++)
        qcbmi_handle_clear(&c->handles[i]);
    free(c->handles);
    free(c->layers);
    qcbmi_chain_close(&c->chain);
    *c = (struct qcbmi_disk_chain){ 0 };
}

/* ---- what a layer has ---- */

static enum qcbmi_layer_state state_of(struct qcbm_image *handle, const struct qcbmi_bitmap *b)
{
    struct qcbm_error unused;
    int ret = qcbmi_bitmap_check_bits(handle, b, false, &unused);

    if (ret == 0) /* QEMU reads the tables when it opens an image, and refuses it */
        ret = qcbmi_bitmap_check_table(handle->image, b, &unused);
    return ret == QCBM_E_INUSE           ? QCBMI_LAYER_IN_USE
           : ret < 0                     ? QCBMI_LAYER_DAMAGED
           : b->d.flags & Q2_BITMAP_AUTO ? QCBMI_LAYER_VALID
                                         : QCBMI_LAYER_DISABLED;
}

enum qcbmi_layer_state qcbmi_layer_look(const struct qcbmi_disk_layer *layer, const char *name,
                                        const struct qcbmi_bitmap **out)
{
    const struct qcbmi_bitmap_list *list = layer->img ? layer->img->bitmaps : NULL;
    const struct qcbmi_bitmap *b = list ? qcbmi_bitmap_find(list, name) : NULL;

    if (out)
        *out = b;
    if (!list)
        return QCBMI_LAYER_RAW;
    if (b) /* QEMU opens no image whose directory is damaged, so nothing in it can be relied on */
        return list->broken ? QCBMI_LAYER_DAMAGED : state_of(layer->img, b);
    if (list->broken)
        return QCBMI_LAYER_BROKEN;
    return list->stale && (!list->was || qcbmi_bitmap_find(list->was, name)) ? QCBMI_LAYER_STALE : QCBMI_LAYER_MISSING;
}

/* ---- the verdict ---- */

static enum qcbm_checkpoint_reason reason_of(enum qcbmi_layer_state state)
{
    switch (state) {
    case QCBMI_LAYER_VALID:
        return QCBM_CHECKPOINT_VALID;
    case QCBMI_LAYER_DISABLED:
        return QCBM_CHECKPOINT_DISABLED;
    case QCBMI_LAYER_IN_USE:
        return QCBM_CHECKPOINT_IN_USE;
    case QCBMI_LAYER_STALE:
        return QCBM_CHECKPOINT_STALE;
    case QCBMI_LAYER_DAMAGED:
    case QCBMI_LAYER_BROKEN:
        return QCBM_CHECKPOINT_DAMAGED;
    case QCBMI_LAYER_RAW:
    case QCBMI_LAYER_MISSING:
        break;
    }
    return QCBM_CHECKPOINT_MISSING;
}

static void set_reason(struct qcbmi_verdict *v, enum qcbm_checkpoint_reason reason, size_t where)
{
    if (v->reason != QCBM_CHECKPOINT_VALID)
        return;
    v->reason = reason;
    v->where = where;
}

/* One layer more, from the top down. One that lacks the bitmap is a fault only if a layer below it has it. */
static void judge_layer(struct qcbmi_verdict *v, enum qcbmi_layer_state state, const struct qcbmi_bitmap *b, size_t at,
                        size_t *lacking)
{
    if (state == QCBMI_LAYER_RAW || state == QCBMI_LAYER_MISSING) {
        *lacking = *lacking == SIZE_MAX ? at : *lacking;
        return;
    }
    if (qcbmi_layer_has(state)) {
        if (v->n_layers++ == 0) {
            v->first = at;
            v->gran_bits = state == QCBMI_LAYER_DAMAGED ? 0 : b->d.granularity_bits;
        }
        v->last = at;
        if (*lacking != SIZE_MAX)
            set_reason(v, *lacking == 0 ? QCBM_CHECKPOINT_NOT_ON_TOP : QCBM_CHECKPOINT_GAP, *lacking);
    }
    set_reason(v, reason_of(state), at);
}

void qcbmi_disk_chain_judge(const struct qcbmi_disk_chain *c, const char *name, struct qcbmi_verdict *out)
{
    size_t lacking = SIZE_MAX; /* the first layer that lacks it */

    *out = (struct qcbmi_verdict){ .reason = QCBM_CHECKPOINT_VALID };
    for (size_t i = 0; i < c->n; i++) {
        const struct qcbmi_bitmap *b;
        enum qcbmi_layer_state state = qcbmi_layer_look(&c->layers[i], name, &b);

        judge_layer(out, state, b, i, &lacking);
    }
    if (out->n_layers == 0 && out->reason == QCBM_CHECKPOINT_VALID)
        set_reason(out, QCBM_CHECKPOINT_MISSING, 0);
}

/* ---- the bits ---- */

int qcbmi_disk_chain_bits(const struct qcbmi_disk_chain *c, const char *name, struct qcbmi_dirtymap *map,
                          size_t *unread, struct qcbm_error *err)
{
    int ret = 0;

    *unread = 0;
    for (size_t i = 0; ret == 0 && i < c->n; i++) {
        struct qcbmi_dirtymap own = { 0 };
        const struct qcbmi_bitmap *b;
        struct qcbm_error why;

        if (!qcbmi_layer_has(qcbmi_layer_look(&c->layers[i], name, &b)))
            continue;
        ret = qcbmi_bitmap_check_bits(c->layers[i].img, b, true, &why);
        if (ret == 0)
            ret = qcbmi_bitmap_load(c->layers[i].img->image, b, &own, &why);
        if (ret == QCBM_E_IO || ret == QCBM_E_NOMEM) {
            if (err)
                *err = why;
        } else if (ret < 0) {
            ++*unread;
            ret = 0;
        } else {
            ret = qcbmi_dirtymap_merge(map, &own, err);
        }
        qcbmi_dirtymap_free(&own);
    }
    return ret;
}
