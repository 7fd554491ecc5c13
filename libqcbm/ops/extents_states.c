/* extents_states.c - where two states of an image differ, kept to be given out in any order
 * SPDX-License-Identifier: MIT */
#include "ops/extents_states.h"

#include "base/checked.h"
#include "ops/snapshot_diff.h"

static int open_view(struct qcbmi_image *img, const char *words, struct qcbmi_snapshot_view *view,
                     struct qcbm_error *err)
{
    uint32_t index = 0;
    int ret = qcbmi_snapshot_find(img, words, &index, err);

    return ret < 0 ? ret : qcbmi_snapshot_view_init(view, img, index, err);
}

static int compare(struct qcbmi_states *s, bool to_is_active, struct qcbm_error *err)
{
    struct qcbmi_snapshot_diff d = { .from = &s->from.img, .to = s->end, .to_is_active = to_is_active, .map = &s->map };
    int ret = qcbmi_snapshot_diff_mark(&d, err);

    return ret < 0 ? ret : qcbmi_damage_refuse(&d.damage, err);
}

int qcbmi_states_begin(struct qcbmi_states *s, struct qcbmi_image *img, const char *from, const char *to,
                       struct qcbm_error *err)
{
    unsigned unit_bits = img->g.cluster_bits - (img->g.extended_l2 ? 5 : 0); /* 32 subclusters */
    int ret = open_view(img, from, &s->from, err);

    if (ret == 0 && to)
        ret = open_view(img, to, &s->to, err);
    if (ret < 0)
        return ret;
    s->end = to ? &s->to.img : img;
    ret = qcbmi_dirtymap_init(&s->map, u64_max(s->from.img.g.size, s->end->g.size), unit_bits, err);
    if (ret == 0 && !(to && s->to.index == s->from.index))
        ret = compare(s, !to, err);
    return ret;
}

void qcbmi_states_free(struct qcbmi_states *s)
{
    qcbmi_dirtymap_free(&s->map);
    qcbmi_snapshot_view_free(&s->from);
    qcbmi_snapshot_view_free(&s->to);
}
