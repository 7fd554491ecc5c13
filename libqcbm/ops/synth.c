/* synth.c - allocated clusters into a bitmap: the main job
 * SPDX-License-Identifier: MIT */
#include "ops/synth.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "base/sized.h"
#include "ops/allocation.h"
#include "ops/since.h"

/* ---- the chain ---- */

static int open_chain(struct synth *s, struct qcbm_error *err)
{
    struct qcbmi_chain_options options = { .force_share = s->opt.flags & QCBM_SYNTH_FORCE_SHARE, .max_layers = 1 };

    int ret;

    options.known = s->target == s->overlay ? NULL : s->target;
    s->n_scanned = 1;
    if (s->opt.since) {
        ret = qcbmi_since_open(s->overlay, s->opt.since, &options, false, &s->chain, &s->n_scanned, err);
        return ret < 0 ? ret : qcbmi_chain_check_finished(&s->chain, err);
    }
    if (s->opt.flags & QCBM_SYNTH_DIRTY_TAIL)
        options.max_layers = 2;
    ret = qcbmi_chain_open(s->overlay, &options, &s->chain, err);
    return ret < 0 ? ret : qcbmi_chain_check_finished(&s->chain, err);
}

/* ---- what is dirty ---- */

static int mark_layer(struct synth *s, const struct qcbmi_layer *l, struct qcbmi_progress *progress,
                      struct qcbm_error *err)
{
    struct qcbmi_allocation a = { .named = &s->named[l - s->chain.layers] };
    char text[256];
    int ret;

    if (l->img->g.raw_data_file) { /* QEMU maps every cluster of it: only content could tell */
        if (!(s->opt.flags & QCBM_SYNTH_FORCE) && s->opt.refine != QCBM_REFINE_CONTENT)
            return qcbmi_fail(err, QCBM_E_UNSUPPORTED, Q2_OFF_AUTOCLEAR,
                              "the image has a raw external data file: its allocation says "
                              "nothing about changes");
        s->result->sum.says_nothing = s->opt.refine != QCBM_REFINE_CONTENT;
        ret = qcbmi_dirtymap_set(&s->map, 0, l->size, err);
        return ret < 0 ? ret : qcbmi_synth_add_layer(s->result, l, l->size, err);
    }
    ret = qcbmi_allocation_mark(l->img, &s->map, &a, progress, err);
    if (ret < 0 && l->img != s->overlay)
        return qcbmi_prefix(err, ret,
                            "layer '%s': ", qcbmi_printable(text, sizeof(text), l->filename, strlen(l->filename)));
    if (a.damage.count && s->damage.count == 0) {
        s->damage.first = a.damage.first;
        (void)qcbmi_image_refuse(l->img, QCBM_E_CORRUPT, &s->damage.first);
        if (l->img != s->overlay)
            qcbmi_prefix(&s->damage.first, QCBM_E_CORRUPT,
                         "layer '%s': ", qcbmi_printable(text, sizeof(text), l->filename, strlen(l->filename)));
    }
    s->damage.count += a.damage.count;
    return ret < 0 ? ret : qcbmi_synth_add_layer(s->result, l, a.allocated_bytes, err);
}

/* A layer that is shorter than the top hides what longer layers below it have: the guest reads zeros there, though no
 * table says so. QEMU counts them as this layer's. Sizes are taken outward: floor of the short one, exact of the
 * long. */
static int mark_short_layers(struct synth *s, struct qcbm_error *err)
{
    uint64_t longest_below = 0, top = s->chain.layers[0].size;
    int ret = 0;

    for (size_t i = s->chain.n; ret == 0 && i-- > 1;) {
        uint64_t size = s->chain.layers[i].size;

        if (i < s->n_scanned)
            ret = qcbmi_dirtymap_set(&s->map, align_down(size, Q2_SECTOR), u64_min(top, longest_below), err);
        longest_below = u64_max(longest_below, size);
    }
    return ret;
}

/* The part of the overlay behind the end of its base: unallocated clusters read zeros there. */
static int treat_tail(struct synth *s, struct qcbm_error *err)
{
    uint64_t base, top = s->chain.layers[0].size;

    if (s->chain.n <= s->n_scanned)
        return 0;
    base = s->chain.layers[s->chain.n - 1].size;
    if (base >= top)
        return 0;
    if (s->opt.flags & QCBM_SYNTH_DIRTY_TAIL) {
        /* whole granules, so from QEMU's rounded end on */
        int ret = qcbmi_dirtymap_set(&s->map, base, top, err);

        return ret < 0 ? ret
                       : qcbmi_synth_note(s->result, err,
                                          "the disk has grown by %" PRIu64 " bytes past the end of the base (%" PRIu64
                                          "): all of them are dirty, written or not",
                                          top - base, base);
    }
    return qcbmi_synth_note(s->result, err,
                            "the disk has grown by %" PRIu64 " bytes past the end of the base (%" PRIu64
                            "): what is unallocated there is clean, extend the target with zeros",
                            top - base, base);
}

static int begin_named(struct synth *s, struct qcbm_error *err)
{
    uint64_t room = QCBMI_L2_NAMED_MAX;
    int ret = 0;

    s->named = qcbmi_alloc_array(s->n_scanned, sizeof(s->named[0]), err);
    if (!s->named)
        return QCBM_E_NOMEM;
    for (size_t i = 0; ret == 0 && i < s->n_scanned; i++)
        ret = qcbmi_l2_named_begin(&s->named[i], s->chain.layers[i].img, &room, err);
    return ret;
}

static void free_named(struct synth *s)
{
    for (size_t i = 0; s->named && i < s->n_scanned; i++)
        qcbmi_l2_named_free(&s->named[i]);
    free(s->named);
}

static int mark_all(struct synth *s, struct qcbm_error *err)
{
    int ret = 0;

    for (size_t i = 0; ret == 0 && s->opt.progress && i < s->n_scanned; i++) {
        uint64_t bytes;

        ret = qcbmi_allocation_cost(s->chain.layers[i].img, &bytes, err);
        s->progress.total += bytes;
    }
    for (size_t i = 0; ret == 0 && i < s->n_scanned; i++)
        ret = mark_layer(s, &s->chain.layers[i], &s->progress, err);
    if (ret == 0)
        ret = mark_short_layers(s, err);
    if (ret == 0)
        ret = treat_tail(s, err);
    if (ret == 0 && s->result->sum.says_nothing)
        ret = qcbmi_synth_note(s->result, err, "a raw data file tells nothing of changes: all of the disk is dirty");
    else if (ret == 0 && !s->overlay->backing_file)
        ret = qcbmi_synth_note(s->result, err,
                               "the image has no backing file: dirty is everything that it has allocated");
    return ret;
}

static int mark_dirty(struct synth *s, struct qcbm_error *err)
{
    int ret = begin_named(s, err);

    if (ret < 0)
        return ret;
    s->progress = (struct qcbmi_progress){ .to = s->opt.progress, .total = s->opt.refine ? s->map.size : 0 };
    return s->opt.since_snapshot ? qcbmi_synth_since_mark(s, err) : mark_all(s, err);
}

static int judge_damage(struct synth *s, struct qcbm_error *err)
{
    s->result->sum.damaged_entries = s->damage.count;
    if (s->damage.count == 0)
        return 0;
    if (s->opt.flags & QCBM_SYNTH_ALLOW_DAMAGE)
        return qcbmi_synth_note(s->result, err, "%" PRIu64 " damaged entr%s as dirty, the first: %s", s->damage.count,
                                s->damage.count == 1 ? "y counts" : "ies count", s->damage.first.message);
    return qcbmi_damage_refuse(&s->damage, err);
}

/* ---- into the edit ---- */

/* Dirty ranges that the image has no bit for. In the overlay itself that can only be what QEMU's rounding of the size
 * cuts off; the last granule of another image, too, must not stand for bytes that this image does not have. */
static int check_fits(struct synth *s, struct qcbm_error *err)
{
    uint64_t start, end, target = s->edit->img->g.sector_size_down;
    bool own = s->edit->img == s->overlay && !s->opt.snapshot;

    if (!qcbmi_dirtymap_next(&s->map, own ? align_up(target, UINT64_C(1) << s->map.gran_bits) : target, &start, &end))
        return 0;
    return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET,
                      "guest range 0x%" PRIx64 " + %" PRIu64
                      " is dirty, but lies past the end of the image that is to get the bitmap (%" PRIu64 " bytes)",
                      start, end - start, target);
}

static void count_bits(struct synth *s, const struct qcbmi_dirtymap *map)
{
    s->result->sum.virtual_size = map->size;
    s->result->sum.granularity = UINT64_C(1) << map->gran_bits;
    s->result->sum.granules = map->bits.n_bits;
    s->result->sum.dirty_granules = qcbmi_bitset_count(&map->bits);
    s->result->sum.dirty_bytes = qcbmi_dirtymap_dirty_bytes(map);
}

/* What the metadata of the layers tell. */
static int mark_by_metadata(struct synth *s, struct qcbm_error *err)
{
    int ret = mark_dirty(s, err);

    if (ret == 0)
        ret = judge_damage(s, err);
    if (ret == 0)
        ret = qcbmi_synth_treat_lost(s, err);
    return ret < 0 ? ret : qcbmi_synth_refine(s, err);
}

/* The bitmap appears in the edit with all its bits, as the last thing that happens, or not at all. */
static int take_over(struct synth *s, const char *name, unsigned gran_bits, struct qcbm_error *err)
{
    uint32_t flags = s->opt.flags & QCBM_SYNTH_DISABLED ? 0 : Q2_BITMAP_AUTO;
    bool merge = s->opt.flags & QCBM_SYNTH_MERGE, replace = s->opt.flags & QCBM_SYNTH_REPLACE;
    struct qcbmi_edit_bitmap *b = NULL;
    struct qcbmi_dirtymap map = { 0 };
    int ret;

    if (merge && qcbmi_edit_list_find(&s->edit->list, name))
        ret = qcbmi_edit_find_consistent(s->edit, name, &b, err);
    else
        ret = qcbmi_edit_check_size(s->edit, gran_bits, err);
    if (ret == 0)
        ret = b ? qcbmi_edit_copy_bits(s->edit, b, &map, err)
                : qcbmi_dirtymap_init(&map, s->edit->img->g.sector_size_down, gran_bits, err);
    if (ret == 0)
        ret = qcbmi_synth_since_check_state(s, (b ? b->flags : flags) & Q2_BITMAP_AUTO, err);
    if (ret == 0)
        ret = qcbmi_dirtymap_merge(&map, &s->map, err);
    if (ret == 0 && !b && !s->opt.against) /* the content tells all of it */
        ret = qcbmi_synth_keep_saved(s, name, &map, err);
    if (ret == 0)
        count_bits(s, &map);
    s->result->sum.enabled = (b ? b->flags : flags) & Q2_BITMAP_AUTO;
    if (ret == 0 && b)
        qcbmi_edit_take_map(b, &map);
    else if (ret == 0)
        ret = qcbmi_edit_insert(s->edit, name, gran_bits, flags, replace, &map, err);
    qcbmi_dirtymap_free(&map);
    return ret;
}

/* The granularity of the map: that of the bitmap that is there, so that merging into it loses nothing and costs one
 * pass, and that whoever reads one that was replaced finds the granularity that he knows. */
static int choose_granularity(struct synth *s, const char *name, unsigned *gran_bits, struct qcbm_error *err)
{
    const struct qcbmi_edit_bitmap *b;
    char text[256];
    int ret = qcbmi_edit_granularity(s->edit, s->opt.granularity, gran_bits, err);

    b = qcbmi_edit_list_find(&s->edit->list, name);
    if (ret == 0)
        ret = qcbmi_synth_refine_check_merge(s, b != NULL, err);
    if (ret < 0 || !b)
        return ret;
    if (!(s->opt.flags & (QCBM_SYNTH_MERGE | QCBM_SYNTH_REPLACE)))
        return qcbmi_fail(err, QCBM_E_EXISTS, QCBM_NO_OFFSET, "Bitmap already exists: %s",
                          qcbmi_printable(text, sizeof(text), name, strlen(name)));
    if (!(s->opt.flags & QCBM_SYNTH_MERGE)) {
        if (s->opt.granularity == 0 && qcbmi_edit_check_size(s->edit, b->gran_bits, NULL) == 0)
            *gran_bits = b->gran_bits;
        return 0;
    }
    if ((s->opt.flags & QCBM_SYNTH_DISABLED) && (b->flags & Q2_BITMAP_AUTO))
        return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET,
                          "merging keeps the state of the bitmap, 'disabled' cannot be asked for");
    if (s->opt.granularity && *gran_bits != b->gran_bits)
        return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET,
                          "merging keeps the granularity of the bitmap, another one cannot "
                          "be asked for");
    *gran_bits = b->gran_bits;
    return 0;
}

/* The plan asks for the same of the image that gets the bitmap. */
static void give_named(struct synth *s)
{
    for (size_t i = 0; s->named && i < s->n_scanned; i++)
        if (s->chain.layers[i].img == s->edit->img && s->named[i].known) {
            qcbmi_l2_named_free(&s->edit->named);
            s->edit->named = s->named[i];
            s->named[i] = (struct qcbmi_l2_named){ 0 };
        }
}

int qcbmi_synth_find(struct synth *s, unsigned gran_bits, struct qcbm_error *err)
{
    struct q2_bitmap_size size;
    int ret = open_chain(s, err);

    if (ret == 0)
        ret = qcbmi_synth_since_open(s, err);
    if (ret == 0)
        ret = q2_bitmap_size(qcbmi_synth_map_size(s), gran_bits, s->overlay->g.cluster_size, &size, err);
    if (ret == 0)
        ret = qcbmi_dirtymap_init(&s->map, qcbmi_synth_map_size(s), gran_bits, err);
    if (ret == 0)
        ret = s->opt.against ? qcbmi_synth_against(s, err) : mark_by_metadata(s, err);
    return ret == 0 ? qcbmi_synth_note_sharing(s, err) : ret;
}

void qcbmi_synth_give_up(struct synth *s)
{
    free_named(s);
    qcbmi_synth_since_close(s);
    qcbmi_dirtymap_free(&s->map);
    qcbmi_chain_close(&s->chain);
}

static int run(struct synth *s, const char *name, struct qcbm_error *err)
{
    unsigned gran_bits;
    int ret = qcbmi_edit_check_open(s->edit, err);

    if (ret == 0)
        ret = choose_granularity(s, name, &gran_bits, err);
    if (ret == 0)
        ret = qcbmi_synth_find(s, gran_bits, err);
    if (ret == 0)
        ret = qcbmi_synth_note_replaced(s, name, err);
    if (ret == 0)
        ret = check_fits(s, err);
    if (ret == 0)
        ret = take_over(s, name, gran_bits, err);
    if (ret == 0)
        give_named(s);
    s->edit->of_live_data |= ret == 0 && qcbmi_synth_is_live(s);
    return ret;
}

int qcbmi_synth_take_options(const struct qcbm_synth_options *from, struct qcbm_synth_options *to,
                             struct qcbm_error *err)
{
    int ret;

    *to = (struct qcbm_synth_options)QCBM_SYNTH_OPTIONS_INIT;
    ret = qcbmi_take_options(to, sizeof(*to), from, err);
    if (ret < 0)
        return ret;
    if ((to->flags & QCBM_SYNTH_REPLACE) && (to->flags & QCBM_SYNTH_MERGE))
        return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET, "replace and merge exclude each other");
    ret = qcbmi_synth_since_check(to, err);
    if (ret == 0)
        ret = qcbmi_synth_against_check(to, err);
    return ret < 0 ? ret : qcbmi_synth_refine_check(to, err);
}

int qcbm_edit_synth(struct qcbm_edit *edit, struct qcbm_image *overlay, const char *name,
                    const struct qcbm_synth_options *options, struct qcbm_synth_result **out, struct qcbm_error *err)
{
    struct synth s = { .edit = edit, .target = edit->img, .handle = overlay, .overlay = overlay->image };
    int ret = qcbmi_synth_take_options(options, &s.opt, err);

    if (out)
        *out = NULL;
    if (ret < 0)
        return ret;
    s.result = qcbmi_alloc_array(1, sizeof(*s.result), err);
    if (!s.result)
        return QCBM_E_NOMEM;
    ret = run(&s, name, err);
    qcbmi_synth_give_up(&s);
    if (ret == 0 && out)
        *out = s.result;
    else
        qcbm_synth_result_free(s.result);
    return ret;
}

int qcbm_synth(struct qcbm_image *img, const char *name, const struct qcbm_synth_options *options,
               struct qcbm_synth_result **out, struct qcbm_error *err)
{
    struct qcbm_synth_result *result = NULL;
    struct qcbm_edit *edit = NULL;
    int ret = qcbm_edit_begin(img, &edit, err);

    if (out)
        *out = NULL;
    if (ret == 0)
        ret = qcbm_edit_synth(edit, img, name, options, &result, err);
    if (ret == 0)
        ret = qcbm_edit_commit(edit, NULL, 0, err);
    if (ret == 0 && out) {
        *out = result;
        result = NULL;
    }
    qcbm_synth_result_free(result);
    qcbm_edit_free(edit);
    return ret;
}
