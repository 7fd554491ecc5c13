/* revive.c - bitmaps in use made ones that can be relied on again
 * SPDX-License-Identifier: MIT
 *
 * A session that was not closed leaves the bits of before it, and the mark. What a guest wrote in it lies in clusters
 * that the image has allocated; which of these were allocated before, nobody can tell. So the stored bits and all that
 * is allocated together miss nothing, unless the tables that say so are damaged: then all of the disk is dirty. A
 * repair may have given entries up by now, so what counts is the image as it was before. The other bits of such a
 * bitmap are not worse than those: a disabled one may have been enabled, or cleared, in the session that was lost, so
 * only its owner can say that it was not. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "bitmap/bitmap_edit.h"
#include "bitmap/bitmap_load.h"
#include "bitmap/bitmap_mend.h"
#include "manifest/manifest_compare.h"
#include "ops/against.h"
#include "ops/revive_doubt.h"

struct revive {
    struct qcbm_edit *edit;
    unsigned flags;
    qcbm_revive_fn *fn;
    void *opaque;
    const char *against;                  /* a manifest; NULL: none */
    const struct qcbm_progress *progress; /* then */
    bool looked;                          /* what follows is known: asked for by the first bitmap that needs it */
    struct qcbmi_dirtymap allocated;      /* at the finest granularity that is needed */
    char doubt[QCBMI_DOUBT_TEXT];         /* why allocation may say less than the truth; "" if it says all */
};

static bool is_in_use(const struct qcbmi_edit_bitmap *b)
{
    return b && (b->flags & Q2_BITMAP_IN_USE);
}

static const char *const reasons[] = {
    [QCBM_REVIVED_UNION] = "every write since the bits were stored went to a cluster that is allocated now",
    [QCBM_REVIVED_TRUSTED] = "nobody wrote since the bits were stored, as you say",
    [QCBM_REVIVED_EXACT] = "what the manifest does not have is dirty, and nothing else",
};

static int tell(const struct revive *r, const struct qcbmi_edit_bitmap *b, const struct qcbm_revived *figures,
                struct qcbm_error *err)
{
    struct qcbm_revived told = *figures;

    told.name = b->name;
    if (!told.why)
        told.why = reasons[told.claim];
    told.enabled = b->flags & Q2_BITMAP_AUTO;
    return r->fn && r->fn(r->opaque, &told) ? qcbmi_fail_stopped(err) : 0;
}

/* ---- the sources ---- */

static int refuse_raw(struct qcbm_error *err)
{
    return qcbmi_fail(
        err, QCBM_E_UNSUPPORTED, Q2_OFF_AUTOCLEAR,
        "the image has a raw external data file, whose allocation says nothing about changes: other sources "
        "are a copy of the bits that was exported (--import), an older bitmap of the same disk in another "
        "layer (--merge), a manifest of the disk as it was when the bitmap began (--against), or that nobody wrote "
        "since "
        "(--trust)");
}

static unsigned finest(const struct qcbmi_edit_list *list)
{
    unsigned bits = Q2_MAX_GRANULARITY_BITS;

    for (size_t i = 0; i < list->n; i++)
        if (is_in_use(list->at[i]) && list->at[i]->gran_bits < bits)
            bits = list->at[i]->gran_bits;
    return bits;
}

static int look_at_image(struct revive *r, struct qcbm_error *err)
{
    struct qcbmi_image *img = r->edit->img, *was = r->edit->mend ? r->edit->mend->was : img;
    struct qcbmi_l2_named named = { 0 };
    int ret;

    if (r->looked)
        return 0;
    ret = qcbmi_dirtymap_init(&r->allocated, img->g.sector_size_down, finest(&r->edit->list), err);
    if (ret == 0)
        ret = qcbmi_revive_look(was, r->edit->handle->bitmaps, &r->allocated, &named, r->doubt, err);
    r->looked = ret == 0;
    if (r->looked && was == img && named.known) { /* the plan asks for the same */
        qcbmi_l2_named_free(&r->edit->named);
        r->edit->named = named;
        named = (struct qcbmi_l2_named){ 0 };
    }
    qcbmi_l2_named_free(&named);
    return ret;
}

/* False if the stored bits cannot be read: what they had is unknown. */
static int load_stored(const struct revive *r, const struct qcbmi_edit_bitmap *b, struct qcbmi_dirtymap *map,
                       bool *readable, struct qcbm_error *err)
{
    struct qcbmi_image *img = r->edit->img;
    struct qcbm_error why = { .code = 0 };
    int ret = 0;

    if (!b->bits_changed)
        ret = qcbmi_bitmap_check_bits(r->edit->handle, b->stored, true, &why);
    if (ret == 0)
        ret = qcbmi_edit_copy_bits(r->edit, b, map, &why);
    *readable = ret == 0;
    if (ret == QCBM_E_CORRUPT || ret == QCBM_E_UNSAFE || ret == QCBM_E_LIMIT) {
        qcbmi_dirtymap_free(map);
        *map = (struct qcbmi_dirtymap){ 0 };
        return qcbmi_dirtymap_init(map, img->g.sector_size_down, b->gran_bits, err);
    }
    if (ret < 0 && err)
        *err = why;
    return ret;
}

/* ---- one bitmap ---- */

/* @map has the stored bits, and gets those of the image. */
static int add_allocated(struct revive *r, struct qcbmi_dirtymap *map, struct qcbm_revived *figures,
                         struct qcbm_error *err)
{
    struct qcbmi_dirtymap own = { 0 };
    int ret = look_at_image(r, err);

    if (ret == 0)
        ret = qcbmi_dirtymap_init(&own, map->size, map->gran_bits, err);
    if (ret == 0)
        ret = qcbmi_dirtymap_merge(&own, &r->allocated, err);
    figures->allocated_bytes = ret == 0 ? qcbmi_dirtymap_dirty_bytes(&own) : 0;
    if (ret == 0)
        ret = qcbmi_dirtymap_merge(map, &own, err);
    qcbmi_dirtymap_free(&own);
    return ret;
}

static int make_superset(struct revive *r, struct qcbmi_edit_bitmap *b, struct qcbm_revived *figures,
                         struct qcbm_error *err)
{
    struct qcbmi_dirtymap map = { 0 };
    bool readable = false;
    int ret = load_stored(r, b, &map, &readable, err);

    figures->stored_bytes = ret == 0 ? qcbmi_dirtymap_dirty_bytes(&map) : 0;
    if (ret == 0)
        ret = add_allocated(r, &map, figures, err);
    figures->claim = readable && !r->doubt[0] ? QCBM_REVIVED_UNION : QCBM_REVIVED_ALL;
    if (figures->claim == QCBM_REVIVED_ALL)
        figures->why = r->doubt[0] ? r->doubt : "what was stored of it cannot be read";
    if (ret == 0 && figures->claim == QCBM_REVIVED_ALL)
        ret = qcbmi_bitset_set(&map.bits, 0, map.bits.n_bits, err);
    figures->dirty_bytes = ret == 0 ? qcbmi_dirtymap_dirty_bytes(&map) : 0;
    if (ret == 0) {
        qcbmi_edit_take_map(b, &map);
        b->flags = Q2_BITMAP_AUTO; /* too many dirty granules are better than too few */
    }
    qcbmi_dirtymap_free(&map);
    return ret;
}

static int trust(struct revive *r, struct qcbmi_edit_bitmap *b, struct qcbm_revived *figures, struct qcbm_error *err)
{
    struct qcbmi_dirtymap map = { 0 };
    int ret = b->bits_changed ? 0 : qcbmi_bitmap_check_bits(r->edit->handle, b->stored, true, err);

    if (ret == 0)
        ret = qcbmi_edit_copy_bits(r->edit, b, &map, err);
    figures->claim = QCBM_REVIVED_TRUSTED;
    figures->stored_bytes = figures->dirty_bytes = ret == 0 ? qcbmi_dirtymap_dirty_bytes(&map) : 0;
    if (ret == 0)
        b->flags &= ~Q2_BITMAP_IN_USE;
    qcbmi_dirtymap_free(&map);
    return ret;
}

/* The layers below have to be what they were; whoever wrote to them would have made the disk another one anyway. */
static int compare(struct revive *r, struct qcbmi_dirtymap *map, struct qcbmi_manifest_compare *c,
                   struct qcbm_error *err)
{
    struct qcbmi_image *img = r->edit->img;
    struct qcbmi_chain_options options = { .force_share = img->open_flags & QCBM_OPEN_FORCE_SHARE };
    struct qcbmi_progress progress = { .to = r->progress };
    struct qcbmi_chain chain = { 0 };
    int ret = qcbmi_chain_open(img, &options, &chain, err);

    c->disk = &chain;
    c->force_share = options.force_share;
    c->progress = &progress;
    if (ret == 0)
        ret = qcbmi_against(c, r->against, false, map, err);
    c->disk = NULL;
    c->progress = NULL;
    qcbmi_chain_close(&chain);
    return ret;
}

static int make_exact(struct revive *r, struct qcbmi_edit_bitmap *b, struct qcbm_revived *figures, char *why,
                      size_t room, struct qcbm_error *err)
{
    struct qcbmi_manifest_compare c = { .manifest = NULL };
    struct qcbmi_dirtymap map = { 0 };
    int ret = qcbmi_dirtymap_init(&map, r->edit->img->g.sector_size_down, b->gran_bits, err);

    if (ret == 0)
        ret = compare(r, &map, &c, err);
    figures->claim = QCBM_REVIVED_EXACT;
    figures->dirty_bytes = ret == 0 ? qcbmi_dirtymap_dirty_bytes(&map) : 0;
    if (c.out.unreadable_bytes) {
        snprintf(why, room, "what the manifest does not have is dirty, and %" PRIu64 " bytes that cannot be read",
                 c.out.unreadable_bytes);
        figures->why = why;
    }
    if (ret == 0) {
        qcbmi_edit_take_map(b, &map);
        b->flags = Q2_BITMAP_AUTO;
    }
    qcbmi_dirtymap_free(&map);
    return ret;
}

static int revive_one(struct revive *r, struct qcbmi_edit_bitmap *b, struct qcbm_error *err)
{
    struct qcbm_revived figures = { 0 };
    char text[256], why[128];
    int ret;

    if (r->against)
        ret = make_exact(r, b, &figures, why, sizeof(why), err);
    else if (r->flags & QCBM_REVIVE_TRUST)
        ret = trust(r, b, &figures, err);
    else if (r->edit->img->g.raw_data_file)
        ret = refuse_raw(err);
    else
        ret = make_superset(r, b, &figures, err);
    if (ret < 0)
        return qcbmi_prefix(err, ret, "bitmap '%s': ", qcbmi_printable(text, sizeof(text), b->name, b->name_len));
    r->edit->of_live_data |= (r->edit->img->open_flags & QCBM_OPEN_FORCE_SHARE) != 0;
    return tell(r, b, &figures, err);
}

static int revive_all(struct revive *r, struct qcbm_error *err)
{
    struct qcbmi_edit_list *list = &r->edit->list;
    int ret = 0;

    for (size_t i = 0; ret == 0 && i < list->n; i++)
        if (is_in_use(list->at[i]))
            ret = revive_one(r, list->at[i], err);
    return ret;
}

static int revive_named(struct revive *r, const char *name, struct qcbm_error *err)
{
    struct qcbmi_edit_bitmap *b = qcbmi_edit_list_find(&r->edit->list, name);
    char text[256];

    if (!b)
        return qcbmi_bitmap_fail_not_found(r->edit->handle, name, err);
    if (!is_in_use(b))
        return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET, "Bitmap '%s' is not in use: it can be relied on as it is",
                          qcbmi_printable(text, sizeof(text), name, strlen(name)));
    return revive_one(r, b, err);
}

int qcbm_edit_revive(struct qcbm_edit *edit, const char *name, unsigned flags, qcbm_revive_fn *fn, void *opaque,
                     struct qcbm_error *err)
{
    struct revive r = { .edit = edit, .flags = flags, .fn = fn, .opaque = opaque };
    int ret = qcbmi_edit_check_open(edit, err);

    if (ret == 0)
        ret = name ? revive_named(&r, name, err) : revive_all(&r, err);
    qcbmi_dirtymap_free(&r.allocated);
    return ret;
}

int qcbm_edit_revive_against(struct qcbm_edit *edit, const char *name, const char *against,
                             const struct qcbm_progress *progress, qcbm_revive_fn *fn, void *opaque,
                             struct qcbm_error *err)
{
    struct revive r = { .edit = edit, .fn = fn, .opaque = opaque, .against = against, .progress = progress };
    int ret = qcbmi_edit_check_open(edit, err);

    return ret < 0 ? ret : revive_named(&r, name, err);
}
