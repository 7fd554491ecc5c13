/* repair_step.c - what a step does: its plan into the shadow and the whole
 * SPDX-License-Identifier: MIT */
#include <stdlib.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "bitmap/session.h"
#include "repair/repair_parts.h"

int qcbmi_repair_check_held(uint64_t held, struct qcbm_error *err)
{
    return held <= QCBMI_REPAIR_MAX_HELD ? 0
                                         : qcbmi_fail(err, QCBM_E_LIMIT, QCBM_NO_OFFSET,
                                                      "more would change than is held in memory: nothing was written");
}

/* What comes from elsewhere into memory: that may be gone, or changed, when the whole is carried out. */
static int load(struct qcbmi_plan *plan, struct qcbmi_plan_write *w, struct qcbm_error *err)
{
    uint8_t *bytes;
    int ret;

    if (w->source.bytes)
        return 0;
    plan->held += w->len;
    ret = qcbmi_repair_check_held(plan->held, err);
    if (ret < 0)
        return ret;
    bytes = qcbmi_alloc_array(w->len, 1, err);
    ret = bytes ? qcbmi_source_load(&w->source, 0, bytes, w->len, err) : QCBM_E_NOMEM;
    if (ret < 0) {
        free(bytes);
        return ret;
    }
    w->source = (struct qcbmi_source){ .bytes = bytes };
    return 0;
}

static int load_all(struct qcbmi_plan *plan, struct qcbm_error *err)
{
    int ret = 0;

    for (size_t i = 0; ret == 0 && i < plan->n; i++)
        for (size_t j = 0; ret == 0 && j < plan->stages[i].n; j++)
            ret = load(plan, &plan->stages[i].writes[j], err);
    return ret;
}

static int move_stages(struct qcbmi_plan *to, struct qcbmi_plan *from, struct qcbm_error *err)
{
    int ret = 0;

    for (size_t i = 0; ret == 0 && i < from->n; i++) {
        struct qcbmi_plan_stage *stage = &from->stages[i];

        if (stage->n == 0)
            continue;
        ret = qcbmi_plan_stage(to, stage->name, stage->switches, err);
        if (ret < 0)
            break;
        to->stages[to->current] = *stage;
        *stage = (struct qcbmi_plan_stage){ .name = stage->name, .switches = stage->switches };
    }
    to->held += from->held;
    for (size_t i = 0; ret == 0 && i < from->n_relied; i++)
        ret = qcbmi_plan_relies(to, from->relied[i].off, from->relied[i].len, err);
    return ret;
}

int qcbmi_repair_commit(struct qcbmi_repair *r, struct qcbmi_plan *plan, struct qcbm_error *err)
{
    struct qcbmi_plan *to = &r->whole;
    int ret = load_all(plan, err);

    if (ret == 0)
        ret = qcbmi_repair_check_held(to->held + plan->held, err);
    if (ret == 0)
        ret = qcbmi_commit_and_reload(plan, r->work, err);
    if (ret == 0)
        ret = move_stages(to, plan, err);
    to->end = r->work->image->io.size;
    if (r->room)
        r->room = u64_max(r->room, plan->end);
    to->clusters_allocated += plan->clusters_allocated;
    to->clusters_freed += plan->clusters_freed;
    to->stale_clusters_kept += plan->stale_clusters_kept;
    to->stale_bitmaps += plan->stale_bitmaps;
    to->gives_up_recording |= plan->gives_up_recording;
    return ret;
}
