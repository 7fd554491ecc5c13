/* repair_step.c - what a step does: its plan into the shadow and the whole
 * SPDX-License-Identifier: MIT */
#include <stdlib.h>

#include "base/alloc.h"
#include "bitmap/session.h"
#include "repair/repair.h"

static int copy_write(struct qcbmi_plan *to, const struct qcbmi_plan_write *w, struct qcbm_error *err)
{
    uint8_t *bytes;
    int ret;

    if (w->source.bytes)
        return qcbmi_plan_write(to, w->what, w->off, w->source.bytes, w->len, err);
    bytes = qcbmi_alloc_array(w->len, 1, err);
    ret = bytes ? qcbmi_source_load(&w->source, 0, bytes, w->len, err) : QCBM_E_NOMEM;
    if (ret < 0) {
        free(bytes);
        return ret;
    }
    return qcbmi_plan_write_owned(to, w->what, w->off, bytes, w->len, err);
}

static int copy_stages(struct qcbmi_plan *to, const struct qcbmi_plan *from, struct qcbm_error *err)
{
    int ret = 0;

    for (size_t i = 0; ret == 0 && i < from->n; i++) {
        const struct qcbmi_plan_stage *stage = &from->stages[i];

        if (stage->n)
            ret = qcbmi_plan_stage(to, stage->name, stage->switches, err);
        for (size_t j = 0; ret == 0 && j < stage->n; j++)
            ret = copy_write(to, &stage->writes[j], err);
    }
    for (size_t i = 0; ret == 0 && i < from->n_relied; i++)
        ret = qcbmi_plan_relies(to, from->relied[i].off, from->relied[i].len, err);
    return ret;
}

int qcbmi_repair_commit(struct qcbmi_repair *r, const struct qcbmi_plan *plan, struct qcbm_error *err)
{
    struct qcbmi_plan *to = &r->whole;
    int ret = copy_stages(to, plan, err);

    if (ret == 0)
        ret = qcbmi_commit_and_reload(plan, r->work, err);
    to->end = r->work->image->io.size;
    to->clusters_allocated += plan->clusters_allocated;
    to->clusters_freed += plan->clusters_freed;
    to->stale_clusters_kept += plan->stale_clusters_kept;
    to->stale_bitmaps += plan->stale_bitmaps;
    to->gives_up_recording |= plan->gives_up_recording;
    return ret;
}
