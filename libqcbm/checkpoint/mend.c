/* mend.c - a checkpoint that libvirt refuses made one that it takes, on all disks or on none
 * SPDX-License-Identifier: MIT
 *
 * What changed since the checkpoint is what the layers from the top down to the one in which it begins say together. A
 * layer that does not say it gets a superset, from what is known of it: an older checkpoint of the same disk, which has
 * recorded all that this one would have; or what the layer has allocated, as every write to it since it was made lies
 * there. Never less, so never an empty bitmap. Where a checkpoint begins only its bitmaps tell: if the lowest of them
 * is lost, nothing in the chain says so, and an older checkpoint must stand in, by the word of its owner. */
#include <string.h>

#include "base/checked.h"
#include "base/progress.h"
#include "base/sized.h"
#include "bitmap/bitmap_load.h"
#include "checkpoint/machine.h"
#include "checkpoint/machine_commit.h"

const char *qcbm_mended_way_name(enum qcbm_mended_way way)
{
    static const char *const names[] = {
        [QCBM_MENDED_ALLOCATED] = "allocated", [QCBM_MENDED_UNION] = "union", [QCBM_MENDED_TRUSTED] = "trusted",
        [QCBM_MENDED_COPIED] = "copied",       [QCBM_MENDED_ALL] = "all",     [QCBM_MENDED_TAIL] = "tail",
    };

    return (size_t)way < sizeof names / sizeof names[0] ? names[way] : "?";
}

struct mend {
    struct qcbmi_machine machine;
    const char *name;
    char shown[160]; /* @name, printable */
    struct qcbm_checkpoint_mend_options opt;
    struct qcbmi_progress way; /* in layers */
};

/* One disk, and what is known of its chain. */
struct disk {
    struct mend *m;
    struct qcbmi_machine_disk *d;
    size_t bottom;      /* the lowest layer that is to have the checkpoint; SIZE_MAX: none */
    unsigned gran_bits; /* of bitmaps that are made; 0: QEMU's default */
    uint32_t mended;    /* layers */
};

/* ---- what is to be done ---- */

/* The layer in which the checkpoint begins: the lowest that has it, or may have had it. SIZE_MAX: there is none. */
static size_t begins_in(const struct qcbmi_disk_chain *c, const char *name)
{
    for (size_t i = c->n; i-- > 0;) {
        enum qcbmi_layer_state state = qcbmi_layer_look(&c->layers[i], name, NULL);

        if (state != QCBMI_LAYER_RAW && state != QCBMI_LAYER_MISSING)
            return i;
    }
    return SIZE_MAX;
}

static size_t bottom_of(const struct mend *m, const struct qcbmi_disk_chain *c)
{
    size_t own = begins_in(c, m->name), from = m->opt.from ? begins_in(c, m->opt.from) : SIZE_MAX;

    return own == SIZE_MAX ? from : from == SIZE_MAX || from < own ? own : from;
}

/* Where the first layer down to @bottom ends that is shorter than the top: of what lies behind, its bitmap tells
 * nothing. */
static uint64_t shortest_of(const struct qcbmi_disk_chain *c, size_t bottom)
{
    uint64_t shortest = c->layers[0].size;

    for (size_t i = 1; i <= bottom; i++)
        shortest = u64_min(shortest, c->layers[i].size);
    return shortest;
}

static bool will_change(void *opaque, const struct qcbmi_disk_chain *c, size_t at)
{
    const struct mend *m = opaque;
    size_t bottom = bottom_of(m, c);

    if (bottom == SIZE_MAX || at > bottom)
        return false;
    return qcbmi_layer_look(&c->layers[at], m->name, NULL) != QCBMI_LAYER_VALID ||
           (at == 0 && shortest_of(c, bottom) < c->layers[0].size);
}

/* ---- refusals ---- */

static int refuse_unknown(const struct disk *d, struct qcbm_error *err)
{
    return qcbmi_machine_blame(d->d, 0,
                               qcbmi_fail(err, QCBM_E_NOTFOUND, QCBM_NO_OFFSET,
                                          "no layer has a bitmap '%s', so nothing tells what changed since then; an "
                                          "older checkpoint that is valid can stand in (--from)",
                                          d->m->shown),
                               err);
}

/* One that stands in is valid itself, and older: so it does not begin in a layer above. */
static int check_from(const struct disk *d, struct qcbm_error *err)
{
    const char *from = d->m->opt.from;
    size_t begins = begins_in(&d->d->c, d->m->name);
    struct qcbmi_verdict v;
    char text[160];
    int ret = 0;

    if (!from)
        return 0;
    qcbmi_disk_chain_judge(&d->d->c, from, &v);
    qcbmi_printable(text, sizeof text, from, strlen(from));
    if (v.reason != QCBM_CHECKPOINT_VALID)
        ret = qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET, "checkpoint '%s' cannot stand in, it is not valid itself: %s",
                         text, qcbm_checkpoint_reason_name(v.reason));
    else if (begins != SIZE_MAX && v.last < begins)
        ret =
            qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET,
                       "checkpoint '%s' cannot stand in, it is younger: it begins in this layer, and '%s' further down",
                       text, d->m->shown);
    return qcbmi_machine_blame(d->d, v.reason == QCBM_CHECKPOINT_VALID ? v.last : v.where, ret, err);
}

static int refuse_raw(const struct disk *d, struct qcbm_error *err)
{
    return qcbmi_fail(
        err, QCBM_E_UNSUPPORTED, QCBM_NO_OFFSET,
        "the layer has a raw external data file, whose allocation says nothing about changes, so what '%s' "
        "lacks there is not known: an older checkpoint that is valid can stand in (--from); with --force "
        "all of it is dirty",
        d->m->shown);
}

/* ---- sources ---- */

static int put_all(const struct disk *d, size_t at, struct qcbm_edit *edit, struct qcbm_error *err)
{
    int ret = qcbm_edit_add(edit, d->m->name, d->gran_bits ? UINT64_C(1) << d->gran_bits : 0, 0, err);

    return ret < 0 ? ret : qcbm_edit_set_range(edit, d->m->name, 0, d->d->c.layers[at].size, err);
}

/* The program that made bitmaps stale may have given up clusters as well: emptied the layer by a commit, taken it back
 * to a snapshot. Further up than the checkpoint begins what is then read comes from the layers below, whose bitmaps
 * tell of it. Where it begins these clusters were part of its state, and leave no trace. */
static bool hides_what_was_written(const struct disk *d, size_t at, enum qcbmi_layer_state state)
{
    return state == QCBMI_LAYER_STALE && at == d->bottom;
}

/* A layer that has no bitmap of use. */
static int make_bitmap(const struct disk *d, size_t at, enum qcbmi_layer_state state, struct qcbm_edit *edit,
                       enum qcbm_mended_way *way, struct qcbm_error *err)
{
    struct qcbm_synth_options opt = QCBM_SYNTH_OPTIONS_INIT;

    if (edit->img->g.raw_data_file) {
        *way = QCBM_MENDED_ALL;
        return d->m->opt.how & QCBM_MEND_FORCE ? put_all(d, at, edit, err) : refuse_raw(d, err);
    }
    if (hides_what_was_written(d, at, state)) {
        *way = QCBM_MENDED_ALL;
        return put_all(d, at, edit, err);
    }
    *way = QCBM_MENDED_ALLOCATED;
    opt.granularity = d->gran_bits ? UINT64_C(1) << d->gran_bits : 0;
    return qcbm_edit_synth(edit, edit->handle, d->m->name, &opt, NULL, err);
}

static int mend_disabled(const struct disk *d, struct qcbm_edit *edit, enum qcbm_mended_way *way,
                         struct qcbm_error *err)
{
    struct qcbm_synth_options opt = QCBM_SYNTH_OPTIONS_INIT;
    int ret = 0;

    *way = d->m->opt.how & QCBM_MEND_TRUST ? QCBM_MENDED_TRUSTED : QCBM_MENDED_UNION;
    opt.flags = QCBM_SYNTH_MERGE;
    if (*way == QCBM_MENDED_UNION && edit->img->g.raw_data_file) {
        *way = QCBM_MENDED_ALL;
        ret = d->m->opt.how & QCBM_MEND_FORCE
                  ? qcbm_edit_set_range(edit, d->m->name, 0, edit->img->g.sector_size_down, err)
                  : refuse_raw(d, err);
    } else if (*way == QCBM_MENDED_UNION) {
        ret = qcbm_edit_synth(edit, edit->handle, d->m->name, &opt, NULL, err);
    }
    return ret < 0 ? ret : qcbm_edit_enable(edit, d->m->name, err);
}

static int note_claim(void *opaque, const struct qcbm_revived *revived)
{
    enum qcbm_mended_way *way = opaque;

    *way = revived->claim == QCBM_REVIVED_UNION     ? QCBM_MENDED_UNION
           : revived->claim == QCBM_REVIVED_TRUSTED ? QCBM_MENDED_TRUSTED
                                                    : QCBM_MENDED_ALL;
    return 0;
}

/* The bits that are stored, as those of a bitmap that records: what is staged with it later finds no mark. */
static int take_trusted(const struct disk *d, struct qcbm_edit *edit, enum qcbm_mended_way *way, struct qcbm_error *err)
{
    int ret = qcbm_edit_revive(edit, d->m->name, QCBM_REVIVE_TRUST, note_claim, way, err);
    struct qcbmi_edit_bitmap *b = qcbmi_edit_list_find(&edit->list, d->m->name);
    struct qcbmi_dirtymap map = { 0 };

    if (ret == 0)
        ret = qcbmi_edit_copy_bits(edit, b, &map, err);
    if (ret == 0) {
        qcbmi_edit_take_map(b, &map);
        b->flags = Q2_BITMAP_AUTO;
    }
    qcbmi_dirtymap_free(&map);
    return ret;
}

static int mend_in_use(const struct disk *d, size_t at, struct qcbm_edit *edit, enum qcbm_mended_way *way,
                       struct qcbm_error *err)
{
    bool trust = d->m->opt.how & QCBM_MEND_TRUST;
    int ret;

    if (edit->img->g.raw_data_file && !trust) {
        *way = QCBM_MENDED_ALL;
        ret = d->m->opt.how & QCBM_MEND_FORCE ? qcbm_edit_remove(edit, d->m->name, err) : refuse_raw(d, err);
        return ret < 0 ? ret : put_all(d, at, edit, err);
    }
    return trust ? take_trusted(d, edit, way, err)
                 : qcbm_edit_revive(edit, d->m->name, 0, note_claim, way, err); /* which makes it record */
}

/* What an older checkpoint says of this layer, which is at least what this one would. Bits that can be read stay. */
static int copy_older(const struct disk *d, enum qcbmi_layer_state state, struct qcbm_edit *edit,
                      struct qcbm_error *err)
{
    const char *name = d->m->name, *from = d->m->opt.from;
    int ret = 0;

    if (state == QCBMI_LAYER_DISABLED) {
        ret = qcbm_edit_merge(edit, name, NULL, from, err);
        return ret < 0 ? ret : qcbm_edit_enable(edit, name, err);
    }
    if (state != QCBMI_LAYER_MISSING)
        ret = qcbm_edit_remove(edit, name, err);
    return ret < 0 ? ret : qcbm_edit_copy(edit, name, NULL, from, err);
}

/* ---- a layer ---- */

static int choose(const struct disk *d, size_t at, enum qcbmi_layer_state state, struct qcbm_edit *edit,
                  enum qcbm_mended_way *way, struct qcbm_error *err)
{
    const char *from = d->m->opt.from;
    int ret = 0;

    if (from && state != QCBMI_LAYER_STALE && qcbmi_layer_look(&d->d->c.layers[at], from, NULL) == QCBMI_LAYER_VALID) {
        *way = QCBM_MENDED_COPIED;
        return copy_older(d, state, edit, err);
    }
    if (state == QCBMI_LAYER_DISABLED)
        return mend_disabled(d, edit, way, err);
    if (state == QCBMI_LAYER_IN_USE)
        return mend_in_use(d, at, edit, way, err);
    /* Of stale ones the edit has the checkpoint's as well, with all of it dirty: more than is known. */
    if (state == QCBMI_LAYER_DAMAGED || qcbmi_edit_list_find(&edit->list, d->m->name))
        ret = qcbm_edit_remove(edit, d->m->name, err);
    return ret < 0 ? ret : make_bitmap(d, at, state, edit, way, err);
}

static enum qcbm_checkpoint_reason was(enum qcbmi_layer_state state)
{
    return state == QCBMI_LAYER_DISABLED  ? QCBM_CHECKPOINT_DISABLED
           : state == QCBMI_LAYER_IN_USE  ? QCBM_CHECKPOINT_IN_USE
           : state == QCBMI_LAYER_DAMAGED ? QCBM_CHECKPOINT_DAMAGED
           : state == QCBMI_LAYER_STALE   ? QCBM_CHECKPOINT_STALE
           : state == QCBMI_LAYER_VALID   ? QCBM_CHECKPOINT_VALID
                                          : QCBM_CHECKPOINT_MISSING;
}

static int tell(const struct disk *d, size_t at, const char *bitmap, enum qcbmi_layer_state state,
                struct qcbm_edit *edit, enum qcbm_mended_way way, struct qcbm_error *err)
{
    struct qcbm_mended_layer told = { .disk = d->d->target,
                                      .layer = d->d->c.layers[at].filename,
                                      .depth = (uint32_t)at,
                                      .was = was(state),
                                      .way = way,
                                      .bitmap = bitmap };
    struct qcbmi_dirtymap map = { 0 };
    struct qcbmi_edit_bitmap *b;
    int ret = qcbmi_edit_find_consistent(edit, bitmap, &b, err);

    if (ret == 0)
        ret = qcbmi_edit_copy_bits(edit, b, &map, err);
    if (ret == 0) {
        told.granularity = UINT64_C(1) << b->gran_bits;
        told.dirty_bytes = qcbmi_dirtymap_dirty_bytes(&map);
    }
    qcbmi_dirtymap_free(&map);
    if (ret < 0)
        return ret;
    return d->m->opt.layer && d->m->opt.layer(d->m->opt.opaque, &told) ? qcbmi_fail_stopped(err) : 0;
}

/* Others of a layer whose bitmaps were stale: they are in the edit because they would be lost. */
static int tell_kept(const struct disk *d, size_t at, struct qcbm_edit *edit, struct qcbm_error *err)
{
    int ret = 0;

    for (size_t i = 0; ret == 0 && i < edit->list.n; i++) {
        const struct qcbmi_edit_bitmap *b = edit->list.at[i]; /* NULL: removed */

        if (b && strcmp(b->name, d->m->name) != 0)
            ret = tell(d, at, b->name, QCBMI_LAYER_STALE, edit, QCBM_MENDED_ALL, err);
    }
    return ret;
}

static int mend_layer(struct disk *d, size_t at, struct qcbm_error *err)
{
    enum qcbmi_layer_state state = qcbmi_layer_look(&d->d->c.layers[at], d->m->name, NULL);
    enum qcbm_mended_way way = QCBM_MENDED_ALLOCATED;
    struct qcbm_edit *edit;
    int ret;

    if (state == QCBMI_LAYER_VALID || qcbmi_machine_edit_of(&d->m->machine, d->d, at))
        return 0; /* the second: mended for another disk, which has this layer, too */
    ret = qcbmi_machine_edit(&d->m->machine, d->d, at, &edit, err);
    if (ret < 0)
        return ret;
    ret = choose(d, at, state, edit, &way, err);
    d->mended++;
    if (ret == 0)
        ret = tell(d, at, d->m->name, state, edit, way, err);
    if (ret == 0 && d->d->c.layers[at].img->bitmaps->stale)
        ret = tell_kept(d, at, edit, err);
    return qcbmi_machine_blame(d->d, at, ret, err);
}

/* The end of the disk, of which a layer that is shorter knows nothing, belongs to the top's bitmap. */
static int mend_tail(struct disk *d, struct qcbm_error *err)
{
    const struct qcbmi_disk_layer *top = &d->d->c.layers[0];
    uint64_t shortest = shortest_of(&d->d->c, d->bottom), start, end;
    struct qcbmi_dirtymap map = { 0 };
    struct qcbmi_edit_bitmap *b;
    struct qcbm_edit *edit;
    bool dirty;
    int ret;

    if (shortest == top->size)
        return 0;
    ret = qcbmi_machine_edit(&d->m->machine, d->d, 0, &edit, err);
    if (ret == 0)
        ret = qcbmi_edit_find_consistent(edit, d->m->name, &b, err);
    if (ret == 0)
        ret = qcbmi_edit_copy_bits(edit, b, &map, err);
    dirty = ret == 0 && qcbmi_dirtymap_next(&map, shortest, &start, &end) && start <= shortest && end >= top->size;
    qcbmi_dirtymap_free(&map);
    if (ret < 0 || dirty)
        return qcbmi_machine_blame(d->d, 0, ret, err);
    ret = qcbm_edit_set_range(edit, d->m->name, shortest, top->size - shortest, err);
    d->mended++;
    if (ret == 0)
        ret = tell(d, 0, d->m->name, QCBMI_LAYER_VALID, edit, QCBM_MENDED_TAIL, err);
    return qcbmi_machine_blame(d->d, 0, ret, err);
}

/* ---- what it costs ---- */

static const struct qcbmi_edit_bitmap *made(const struct disk *d, size_t at)
{
    const struct qcbm_edit *edit = qcbmi_machine_edit_of(&d->m->machine, d->d, at);

    return edit ? qcbmi_edit_list_find(&edit->list, d->m->name) : NULL;
}

/* The finest granularity of all bitmaps of the checkpoint, before and after. */
static unsigned finest(const struct disk *d)
{
    unsigned bits = Q2_MAX_GRANULARITY_BITS;

    for (size_t i = 0; i <= d->bottom; i++) {
        const struct qcbmi_edit_bitmap *now = made(d, i);
        const struct qcbmi_bitmap *b;
        enum qcbmi_layer_state state = qcbmi_layer_look(&d->d->c.layers[i], d->m->name, &b);

        if (now && now->gran_bits < bits)
            bits = now->gran_bits;
        if (qcbmi_layer_has(state) && state != QCBMI_LAYER_DAMAGED && b->d.granularity_bits < bits)
            bits = b->d.granularity_bits;
    }
    return bits;
}

static int add_layer(const struct disk *d, size_t at, struct qcbmi_dirtymap *map, struct qcbm_error *err)
{
    const struct qcbm_edit *edit = qcbmi_machine_edit_of(&d->m->machine, d->d, at);
    const struct qcbmi_edit_bitmap *now = made(d, at);
    struct qcbmi_dirtymap own = { 0 };
    const struct qcbmi_bitmap *b;
    int ret = 0;

    if (now)
        ret = qcbmi_edit_copy_bits(edit, now, &own, err);
    else if (qcbmi_layer_look(&d->d->c.layers[at], d->m->name, &b) == QCBMI_LAYER_VALID)
        ret = qcbmi_bitmap_load(d->d->c.layers[at].img->image, b, &own, err);
    else
        return 0;
    if (ret == 0)
        ret = qcbmi_dirtymap_merge(map, &own, err);
    qcbmi_dirtymap_free(&own);
    return ret;
}

static int count(const struct disk *d, struct qcbm_mended_disk *told, struct qcbm_error *err)
{
    struct qcbmi_dirtymap before = { 0 }, after = { 0 };
    unsigned bits = finest(d);
    size_t unread;
    int ret = qcbmi_dirtymap_init(&before, d->d->c.layers[0].size, bits, err);

    if (ret == 0)
        ret = qcbmi_disk_chain_bits(&d->d->c, d->m->name, &before, &unread, err);
    if (ret == 0)
        ret = qcbmi_dirtymap_init(&after, before.size, bits, err);
    for (size_t i = 0; ret == 0 && i <= d->bottom; i++)
        ret = add_layer(d, i, &after, err);
    if (ret == 0) {
        told->dirty_bytes = qcbmi_dirtymap_dirty_bytes(&after);
        told->stored_bytes = qcbmi_dirtymap_dirty_bytes(&before);
        told->over_copy_bytes = told->dirty_bytes - u64_min(told->dirty_bytes, told->stored_bytes);
    }
    qcbmi_dirtymap_free(&before);
    qcbmi_dirtymap_free(&after);
    return ret;
}

/* ---- a disk, and all of them ---- */

static unsigned granularity_of(const struct disk *d)
{
    struct qcbmi_verdict v;

    qcbmi_disk_chain_judge(&d->d->c, d->m->name, &v);
    if (!v.gran_bits && d->m->opt.from)
        qcbmi_disk_chain_judge(&d->d->c, d->m->opt.from, &v);
    return v.gran_bits;
}

static int mend_disk(struct mend *m, struct qcbmi_machine_disk *disk, struct qcbm_error *err)
{
    struct disk d = { .m = m, .d = disk, .bottom = bottom_of(m, &disk->c) };
    struct qcbm_mended_disk told = { .disk = disk->target };
    int ret = d.bottom == SIZE_MAX ? refuse_unknown(&d, err) : check_from(&d, err);

    d.gran_bits = granularity_of(&d);
    for (size_t i = 0; ret == 0 && i <= d.bottom; i++) {
        ret = mend_layer(&d, i, err);
        if (ret == 0)
            ret = qcbmi_progress_add(&m->way, 1, err);
    }
    if (ret == 0)
        ret = mend_tail(&d, err);
    if (ret == 0)
        ret = count(&d, &told, err);
    if (ret < 0)
        return ret;
    told.layers = (uint32_t)d.bottom + 1;
    told.mended = d.mended;
    told.begins = disk->c.layers[d.bottom].filename;
    return m->opt.disk && m->opt.disk(m->opt.opaque, &told) ? qcbmi_fail_stopped(err) : 0;
}

/* Should a guest run between a cut and the recovery: the checkpoint is there, with all that it may have missed. */
static int note_goals(void *opaque, const struct qcbmi_machine_image *image, struct qcbmi_journal_disk *part,
                      struct qcbm_error *err)
{
    const struct mend *m = opaque;
    const struct qcbmi_edit_bitmap *now = qcbmi_edit_list_find(&image->edit->list, m->name);
    const struct qcbmi_bitmap *from = m->opt.from ? qcbmi_bitmap_find(image->img->bitmaps, m->opt.from) : NULL;
    struct qcbmi_dirtymap map = { 0 };
    bool records = false;
    int ret = qcbmi_journal_add_goal(part, QCBMI_GOAL_THERE, m->name, now->gran_bits, 0, err);

    if (ret == 0 && from)
        ret = qcbmi_bitmap_records(image->img, from, &records, err);
    if (ret < 0 || !records)
        return ret;
    ret = qcbmi_bitmap_load(image->img->image, from, &map, err);
    if (ret == 0)
        ret = qcbmi_journal_add_goal(part, QCBMI_GOAL_OLDER, from->name, from->d.granularity_bits,
                                     qcbmi_bitset_count(&map.bits), err);
    qcbmi_dirtymap_free(&map);
    return ret;
}

int qcbm_checkpoint_mend(const struct qcbm_checkpoint_disk *disks, size_t elem_size, size_t n, const char *name,
                         const struct qcbm_checkpoint_mend_options *options, struct qcbm_error *err)
{
    struct mend m = { .name = name, .opt = QCBM_CHECKPOINT_MEND_OPTIONS_INIT };
    struct qcbmi_machine_commit how;
    int ret = qcbmi_take_options(&m.opt, sizeof m.opt, options, err);

    if (ret == 0 && m.opt.from && strcmp(m.opt.from, name) == 0)
        ret = qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET, "a checkpoint cannot stand in for itself");
    if (ret < 0)
        return ret;
    how = (struct qcbmi_machine_commit){ QCBMI_JOURNAL_MENDS, name, m.opt.journal, m.opt.undo, note_goals, &m };
    qcbmi_printable(m.shown, sizeof m.shown, name, strlen(name));
    ret = qcbmi_machine_open(&m.machine, disks, elem_size, n, m.opt.flags, will_change, &m, err);
    m.way.to = m.opt.progress;
    m.way.total = ret == 0 ? qcbmi_machine_layers(&m.machine) : 0;
    for (size_t i = 0; ret == 0 && i < m.machine.n_disks; i++)
        ret = mend_disk(&m, &m.machine.disks[i], err);
    if (ret == 0)
        ret = qcbmi_machine_commit(&m.machine, &how, m.opt.flags, err);
    if (ret == 0)
        (void)qcbmi_progress_at(&m.way, m.way.total, NULL);
    qcbmi_machine_close(&m.machine);
    return ret;
}
