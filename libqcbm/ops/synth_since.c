/* synth_since.c - a bitmap of what changed since an internal snapshot: up to now, or up to another one
 * SPDX-License-Identifier: MIT */
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "ops/snapshot_diff.h"
#include "ops/synth.h"

int qcbmi_synth_since_check(const struct qcbm_synth_options *opt, struct qcbm_error *err)
{
    if (opt->snapshot && !opt->since_snapshot)
        return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET, "a snapshot to end at goes with one to begin at");
    if (opt->since_snapshot && (opt->since || (opt->flags & QCBM_SYNTH_DIRTY_TAIL)))
        return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET,
                          "what changed since a snapshot has no base, and no tail of a backing file");
    return 0;
}

/* What the image got after the snapshot that is the end would be missing in a bitmap that goes on recording. */
int qcbmi_synth_since_check_state(const struct synth *s, bool enabled, struct qcbm_error *err)
{
    if (!s->opt.snapshot || s->target != s->overlay || !enabled)
        return 0;
    return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET,
                      "what was written after %s would be missing in a bitmap of this image that records: it must be "
                      "disabled, or go into another image",
                      s->to.label);
}

static int open_view(struct synth *s, const char *words, struct qcbmi_snapshot_view *view, struct qcbm_error *err)
{
    uint32_t index = 0;
    int ret = qcbmi_snapshot_find(s->overlay, words, &index, err);

    return ret < 0 ? ret : qcbmi_snapshot_view_init(view, s->overlay, index, err);
}

static int tell(struct qcbm_synth_result *r, const struct qcbmi_snapshot_view *view, const char **id, const char **name,
                struct qcbm_error *err)
{
    char **strings = r->snapshot_strings;

    while (*strings)
        strings++;
    strings[0] = qcbmi_memdup_nul(view->id, strlen(view->id), err);
    strings[1] = strings[0] ? qcbmi_memdup_nul(view->name, strlen(view->name), err) : NULL;
    *id = strings[0];
    *name = strings[1];
    return strings[0] && strings[1] ? 0 : QCBM_E_NOMEM;
}

int qcbmi_synth_since_open(struct synth *s, struct qcbm_error *err)
{
    struct qcbm_synth_summary *sum = &s->result->sum;
    int ret;

    if (!s->opt.since_snapshot)
        return 0;
    ret = open_view(s, s->opt.since_snapshot, &s->from, err);
    if (ret == 0)
        ret = tell(s->result, &s->from, &sum->since_snapshot_id, &sum->since_snapshot_name, err);
    if (ret == 0 && s->opt.snapshot)
        ret = open_view(s, s->opt.snapshot, &s->to, err);
    if (ret == 0 && s->opt.snapshot)
        ret = tell(s->result, &s->to, &sum->snapshot_id, &sum->snapshot_name, err);
    return ret;
}

void qcbmi_synth_since_close(struct synth *s)
{
    qcbmi_snapshot_view_free(&s->from);
    qcbmi_snapshot_view_free(&s->to);
}

static struct qcbmi_image *end_state(struct synth *s)
{
    return s->opt.snapshot ? &s->to.img : s->overlay;
}

/* All of the state at the end; and where that is shorter than the one at the beginning, as much of the difference as
 * the bitmap has bits for: these bytes are gone. */
uint64_t qcbmi_synth_map_size(struct synth *s)
{
    uint64_t end;

    if (!s->opt.since_snapshot)
        return s->overlay->g.size;
    end = end_state(s)->g.size;
    return u64_max(end, u64_min(s->from.img.g.size, s->target->g.sector_size_down));
}

static int note_sizes(struct synth *s, struct qcbm_error *err)
{
    uint64_t from = s->from.img.g.size, to = end_state(s)->g.size;

    if (from == to)
        return 0;
    return qcbmi_synth_note(s->result, err,
                            "the disk was %" PRIu64 " bytes long at the beginning and is %" PRIu64
                            " at the end: all of what was %s is dirty, written or not",
                            from, to, from < to ? "added" : "cut off");
}

int qcbmi_synth_since_mark(struct synth *s, struct qcbm_error *err)
{
    struct qcbmi_snapshot_diff d = {
        .from = &s->from.img, .to = end_state(s), .to_is_active = !s->opt.snapshot, .map = &s->map
    };
    int ret;

    if (s->opt.snapshot && s->to.index == s->from.index)
        return 0;
    d.progress = &s->progress;
    ret = qcbmi_snapshot_diff_mark(&d, err);
    s->damage = d.damage;
    if (d.damage.count)
        (void)qcbmi_image_refuse(s->overlay, QCBM_E_CORRUPT, &s->damage.first);
    return ret < 0 ? ret : note_sizes(s, err);
}
