/* synth_against.c - a bitmap of what differs from a manifest, whatever the image has allocated
 * SPDX-License-Identifier: MIT
 *
 * Content decides, so neither lost mapping tables nor bitmaps in use matter: the guest reads what it reads. */
#include "bitmap/bitmap_load.h"
#include "ops/against.h"
#include "ops/bitmap_below.h"
#include "ops/synth.h"

int qcbmi_synth_against_check(const struct qcbm_synth_options *opt, struct qcbm_error *err)
{
    if (opt->within && !opt->against)
        return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET,
                          "a bitmap to look within goes with a manifest to compare with");
    if (opt->against && (opt->since || opt->since_snapshot || opt->snapshot || opt->refine || opt->refine_against))
        return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET,
                          "what differs from a manifest has no base, no snapshots, and nothing to refine");
    if (opt->against && (opt->flags & QCBM_SYNTH_DIRTY_TAIL))
        return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET,
                          "what lies behind the end of a manifest's disk is dirty without being asked for");
    return 0;
}

/* A bitmap that the image has, at its own granularity. */
static int load_within(struct synth *s, struct qcbmi_dirtymap *map, struct qcbm_error *err)
{
    const struct qcbmi_bitmap *b;
    int ret = qcbmi_bitmap_find_readable(s->handle, s->opt.within, &b, err);

    if (ret == 0)
        ret = qcbmi_bitmap_load(s->overlay, b, map, err);
    return ret == 0 && !(b->d.flags & Q2_BITMAP_AUTO) ? qcbmi_synth_note_disabled(s->result, s->opt.within, err) : ret;
}

static int tell(struct synth *s, const struct qcbmi_manifest_compare *c, struct qcbm_error *err)
{
    struct qcbm_synth_summary *sum = &s->result->sum;
    int ret = 0;

    sum->compared_bytes = c->out.compared_bytes;
    sum->equal_bytes = c->out.equal_bytes;
    sum->unreadable_bytes = c->out.unreadable_bytes;
    if (c->out.grown_bytes)
        ret = qcbmi_synth_note(s->result, err,
                               "the disk has grown by %" PRIu64
                               " bytes behind the end of the manifest's: all of them are "
                               "dirty, written or not",
                               c->out.grown_bytes);
    if (ret == 0 && c->out.unreadable_bytes)
        ret = qcbmi_synth_note(s->result, err, "%" PRIu64 " bytes could not be read, and are dirty; the first: %.300s",
                               c->out.unreadable_bytes, c->out.why.message);
    return ret;
}

static int compare(struct synth *s, struct qcbmi_manifest_compare *c, struct qcbm_error *err)
{
    struct qcbmi_chain_options options = { .force_share = s->opt.flags & QCBM_SYNTH_FORCE_SHARE };
    struct qcbmi_chain disk = { 0 };
    int ret;

    options.known = s->target == s->overlay ? NULL : s->target;
    ret = qcbmi_chain_open(s->overlay, &options, &disk, err);
    if (ret == 0)
        ret = qcbmi_chain_check_finished(&disk, err);
    c->disk = &disk;
    c->force_share = options.force_share;
    if (ret == 0 && s->opt.within)
        ret = qcbmi_bitmap_refuse_below(&disk, s->opt.within, QCBMI_COLLECT_FIRST, err);
    if (ret == 0)
        ret = qcbmi_against(c, s->opt.against, s->opt.flags & QCBM_SYNTH_FORCE, &s->map, err);
    c->disk = NULL;
    qcbmi_chain_close(&disk);
    return ret;
}

int qcbmi_synth_against(struct synth *s, struct qcbm_error *err)
{
    struct qcbmi_manifest_compare c = { .progress = &s->progress };
    struct qcbmi_dirtymap within = { 0 };
    int ret = s->opt.within ? load_within(s, &within, err) : 0;

    s->progress = (struct qcbmi_progress){ .to = s->opt.progress };
    c.only = s->opt.within ? &within : NULL;
    if (ret == 0)
        ret = compare(s, &c, err);
    /* granules of the manifest may be larger than those of the bitmap: what that has clean stays clean */
    if (ret == 0 && c.only && c.out.grown_bytes)
        ret = qcbmi_dirtymap_set(&within, s->map.size - u64_min(c.out.grown_bytes, s->map.size), s->map.size, err);
    if (ret == 0 && c.only)
        ret = qcbmi_dirtymap_intersect(&s->map, &within, err);
    if (ret == 0)
        ret = tell(s, &c, err);
    qcbmi_dirtymap_free(&within);
    return ret;
}
