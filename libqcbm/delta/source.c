/* source.c - what a delta is made of: the granules that count, and the disk that they are read from
 * SPDX-License-Identifier: MIT
 *
 * Which granules count is found as synth finds it, or is what a bitmap says; the bytes are read by the one reader of
 * guest bytes, through all layers. */
#include "delta/source.h"

#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "bitmap/bitmap_edit.h"
#include "bitmap/bitmap_load.h"
#include "ops/bitmap_below.h"
#include "ops/bitmap_collect.h"
#include "ops/synth.h"

/* ---- options ---- */

static int check_options(const struct qcbm_delta_options *o, struct qcbm_error *err)
{
    int kinds =
        (o->bitmap != NULL) + (o->since != NULL) + (o->since_snapshot != NULL) + ((o->flags & QCBM_DELTA_LAYER) != 0);

    if (kinds != 1)
        return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET,
                          "a delta is that of a bitmap, of the changes since an image or a snapshot, or of one layer: "
                          "%s of these is asked for",
                          kinds ? "more than one" : "none");
    if ((o->flags & QCBM_DELTA_CHAIN) && !o->bitmap)
        return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET, "the bitmaps of a chain are asked for without their name");
    if (o->bitmap && o->granularity)
        return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET, "a bitmap has its granularity");
    if (o->bitmap && o->refine && !o->refine_against)
        return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET,
                          "the backing file is not what the disk held when the bitmap began: what a bitmap says is "
                          "refined against a reference that is named");
    return 0;
}

static struct qcbm_synth_options synth_options(const struct qcbm_delta_options *o)
{
    struct qcbm_synth_options to = QCBM_SYNTH_OPTIONS_INIT;

    to.since = o->since;
    to.since_snapshot = o->since_snapshot;
    to.snapshot = o->snapshot;
    to.refine = o->refine;
    to.refine_against = o->refine_against;
    to.refine_format = o->refine_format;
    to.flags = (o->flags & QCBM_DELTA_FORCE_SHARE ? QCBM_SYNTH_FORCE_SHARE : 0) |
               (o->flags & QCBM_DELTA_FORCE ? QCBM_SYNTH_FORCE : 0);
    return to;
}

/* ---- what counts ---- */

static int find_granularity(const struct qcbmi_delta_source *s, unsigned *gran_bits, struct qcbm_error *err)
{
    uint64_t g = s->o.granularity ? s->o.granularity : q2_default_granularity(&s->handle->image->g);

    if ((g & (g - 1)) || g < UINT64_C(1) << Q2_MIN_GRANULARITY_BITS || g > UINT64_C(1) << Q2_MAX_GRANULARITY_BITS)
        return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET, "a granularity is a power of two, 512 at least: %" PRIu64,
                          g);
    *gran_bits = (unsigned)__builtin_ctzll(g);
    return 0;
}

/* One that is frozen is what a delta of a frozen disk is made of; of a disk that was used on it lacks the rest. */
static int note_disabled(const struct qcbmi_delta_source *s, struct synth *y, struct qcbm_error *err)
{
    const struct qcbmi_bitmap *b = qcbmi_bitmap_find(s->handle->bitmaps, s->o.bitmap);

    return b && !(b->d.flags & Q2_BITMAP_AUTO) ? qcbmi_synth_note_disabled(y->result, s->o.bitmap, err) : 0;
}

static int load_bitmap(struct qcbmi_delta_source *s, struct qcbmi_dirtymap *map, struct qcbm_error *err)
{
    const struct qcbmi_bitmap *b;
    int ret = qcbmi_bitmap_find_readable(s->handle, s->o.bitmap, &b, err);

    if (ret == 0)
        ret = qcbmi_bitmap_refuse_below(&s->chain, s->o.bitmap, "ask for those of the chain (--chain)", err);
    return ret < 0 ? ret : qcbmi_bitmap_load(s->handle->image, b, map, err);
}

static int tell_notes(const struct qcbmi_delta_source *s, const struct qcbm_synth_result *r, struct qcbm_error *err)
{
    const char *note;

    for (uint32_t i = 0; s->o.note_fn && (note = qcbm_synth_result_note(r, i)); i++)
        if (s->o.note_fn(s->o.opaque, note) != 0)
            return qcbmi_fail_stopped(err);
    return 0;
}

/* How large the disk was at the beginning, and in which state. */
static void look_at_begin(struct qcbmi_delta_source *s, const struct synth *y)
{
    const struct qcbmi_layer *base = y->n_scanned < s->chain.n ? &s->chain.layers[y->n_scanned] : NULL;
    const struct q2_extension *ext;
    struct qcbmi_delta_meta m;

    if (s->o.since_snapshot)
        s->size_before = y->from.img.g.sector_size_down;
    if (s->o.since_snapshot || s->o.bitmap || !base)
        return;
    s->size_before = align_down(base->size, Q2_SECTOR);
    ext = base->img ? q2_extension_find(&base->img->exts, Q2_EXT_IDENTITY) : NULL;
    if (ext && qcbmi_delta_meta_parse(ext->data, ext->len, &m, NULL) == 0) {
        s->has_parent = true;
        memcpy(s->parent, m.id, sizeof(s->parent));
    }
}

static int find_dirty(struct qcbmi_delta_source *s, struct synth *y, struct qcbm_error *err)
{
    unsigned gran_bits = 0;
    int ret;

    if (s->o.bitmap) {
        ret = s->o.flags & QCBM_DELTA_CHAIN ? qcbmi_bitmap_collect(s->handle, s->o.bitmap, &y->map, err)
                                            : load_bitmap(s, &y->map, err);
        if (ret == 0)
            ret = note_disabled(s, y, err);
        return ret == 0 ? qcbmi_synth_refine(y, err) : ret;
    }
    ret = find_granularity(s, &gran_bits, err);
    return ret == 0 ? qcbmi_synth_find(y, gran_bits, err) : ret;
}

static int take_dirty(struct qcbmi_delta_source *s, struct synth *y, struct qcbm_error *err)
{
    struct qcbm_synth_options options = synth_options(&s->o);
    int ret = qcbmi_synth_take_options(&options, &y->opt, err);

    if (ret == 0)
        ret = find_dirty(s, y, err);
    if (ret == 0)
        ret = tell_notes(s, y->result, err);
    if (ret < 0)
        return ret;
    look_at_begin(s, y);
    s->map = y->map;
    y->map = (struct qcbmi_dirtymap){ .size = 0 };
    s->refined_bytes = y->result->sum.refined_zero_bytes + y->result->sum.refined_equal_bytes;
    s->unreadable_bytes = y->result->sum.unreadable_bytes;
    return s->size_before == UINT64_MAX ? qcbmi_delta_find_zeros_from(s, err) : 0;
}

/* ---- the disk ---- */

static int open_view(struct qcbmi_delta_source *s, struct qcbm_error *err)
{
    uint32_t index = 0;
    int ret = qcbmi_snapshot_find(s->handle->image, s->o.snapshot, &index, err);

    return ret == 0 ? qcbmi_snapshot_view_init(&s->view, s->handle->image, index, err) : ret;
}

static int open_disk(struct qcbmi_delta_source *s, struct qcbm_error *err)
{
    bool share = s->o.flags & QCBM_DELTA_FORCE_SHARE;
    struct qcbmi_chain_options options = { .force_share = share };
    struct qcbmi_image *top = s->handle->image;
    int ret = s->o.snapshot ? open_view(s, err) : 0;

    if (ret < 0)
        return ret;
    if (s->o.snapshot)
        top = &s->view.img;
    s->size = top->g.sector_size_down;
    ret = qcbmi_chain_open(top, &options, &s->chain, err);
    if (ret == 0)
        ret = qcbmi_chain_check_finished(&s->chain, err);
    return ret == 0 ? qcbmi_data_of_chain(&s->chain, 0, QCBMI_DATA_FILES | (share ? QCBMI_DATA_FORCE_SHARE : 0),
                                          &s->data, err)
                    : ret;
}

int qcbmi_delta_source_open(struct qcbmi_delta_source *s, struct qcbm_image *handle, const struct qcbm_delta_options *o,
                            struct qcbm_error *err)
{
    struct synth y = { .handle = handle, .overlay = handle->image, .target = handle->image };
    int ret;

    *s = (struct qcbmi_delta_source){ .handle = handle, .o = *o, .size_before = UINT64_MAX };
    ret = check_options(o, err);
    if (ret < 0)
        return ret;
    y.result = qcbmi_alloc_array(1, sizeof(*y.result), err);
    if (!y.result)
        return QCBM_E_NOMEM;
    ret = open_disk(s, err);
    if (ret == 0)
        ret = take_dirty(s, &y, err);
    qcbmi_synth_give_up(&y);
    qcbm_synth_result_free(y.result);
    return ret;
}

void qcbmi_delta_source_close(struct qcbmi_delta_source *s)
{
    qcbmi_dirtymap_free(&s->map);
    qcbmi_data_close(s->data);
    qcbmi_chain_close(&s->chain);
    qcbmi_snapshot_view_free(&s->view);
}
