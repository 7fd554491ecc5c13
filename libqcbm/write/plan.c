/* plan.c - staged writes: collect them, count them, tell them
 * SPDX-License-Identifier: MIT */
#include "write/plan.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"

void qcbmi_plan_free(struct qcbmi_plan *plan)
{
    for (size_t i = 0; i < plan->n; i++) {
        for (size_t j = 0; j < plan->stages[i].n; j++)
            qcbmi_source_free(&plan->stages[i].writes[j].source);
        free(plan->stages[i].writes);
    }
    free(plan->stages);
    free(plan->header);
    free(plan->relied);
    memset(plan, 0, sizeof(*plan));
}

int qcbmi_plan_stage(struct qcbmi_plan *plan, const char *name, bool switches, struct qcbm_error *err)
{
    if (qcbmi_grow_array(&plan->stages, &plan->capacity, plan->n, sizeof(*plan->stages), err) < 0)
        return QCBM_E_NOMEM;
    plan->current = plan->n;
    plan->stages[plan->n++] = (struct qcbmi_plan_stage){ .name = name, .switches = switches };
    return 0;
}

static int add_write(struct qcbmi_plan *plan, const struct qcbmi_plan_write *write, struct qcbm_error *err)
{
    struct qcbmi_plan_stage *stage = &plan->stages[plan->current];

    if (qcbmi_grow_array(&stage->writes, &stage->capacity, stage->n, sizeof(*stage->writes), err) < 0)
        return QCBM_E_NOMEM;
    stage->writes[stage->n++] = *write;
    plan->held += sizeof(*write) + (write->source.bytes ? write->len : 0);
    return 0;
}

int qcbmi_plan_write_owned(struct qcbmi_plan *plan, const char *what, uint64_t off, uint8_t *bytes, uint64_t len,
                           struct qcbm_error *err)
{
    int ret = add_write(plan, &(struct qcbmi_plan_write){ off, len, what, { .bytes = bytes } }, err);

    if (ret < 0)
        free(bytes);
    return ret;
}

int qcbmi_plan_write(struct qcbmi_plan *plan, const char *what, uint64_t off, const void *bytes, uint64_t len,
                     struct qcbm_error *err)
{
    uint8_t *copy = qcbmi_alloc_array(len, 1, err);

    if (!copy)
        return QCBM_E_NOMEM;
    memcpy(copy, bytes, (size_t)len);
    return qcbmi_plan_write_owned(plan, what, off, copy, len, err);
}

int qcbmi_plan_write_from(struct qcbmi_plan *plan, const char *what, uint64_t off, uint64_t len,
                          const struct qcbmi_source *source, struct qcbm_error *err)
{
    struct qcbmi_plan_stage *stage = &plan->stages[plan->current];
    struct qcbmi_plan_write *last = stage->n ? &stage->writes[stage->n - 1] : NULL;

    if (source->fn && stage->switches)
        return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET, "%s: what is switched must be in memory", what);
    if (last && last->off + last->len == off && qcbmi_source_continues(&last->source, last->len, source)) {
        last->len += len; /* neighbours in the file and in the payload: one write */
        return 0;
    }
    return add_write(plan, &(struct qcbmi_plan_write){ off, len, what, *source }, err);
}

int qcbmi_plan_relies(struct qcbmi_plan *plan, uint64_t off, uint64_t len, struct qcbm_error *err)
{
    struct qcbmi_range *last = plan->n_relied ? &plan->relied[plan->n_relied - 1] : NULL;

    if (last && last->off + last->len == off) {
        last->len += len;
        return 0;
    }
    if (qcbmi_grow_array(&plan->relied, &plan->relied_capacity, plan->n_relied, sizeof(*plan->relied), err) < 0)
        return QCBM_E_NOMEM;
    plan->relied[plan->n_relied++] = (struct qcbmi_range){ off, len };
    return 0;
}

int qcbmi_plan_header_init(struct qcbmi_plan *plan, const uint8_t *cluster0, uint64_t len, struct qcbm_error *err)
{
    plan->header = qcbmi_alloc_array(len, 1, err);
    if (!plan->header)
        return QCBM_E_NOMEM;
    memcpy(plan->header, cluster0, (size_t)len);
    plan->header_len = len;
    return 0;
}

void qcbmi_plan_header_patch(struct qcbmi_plan *plan, uint64_t off, const void *bytes, uint64_t len)
{
    memcpy(plan->header + off, bytes, (size_t)len);
}

int qcbmi_plan_header_write(struct qcbmi_plan *plan, const char *what, uint64_t off, uint64_t len,
                            struct qcbm_error *err)
{
    return qcbmi_plan_write(plan, what, off, plan->header + off, len, err);
}

void qcbmi_plan_summary(const struct qcbmi_plan *plan, const struct qcbmi_image *img, struct qcbm_plan_summary *out)
{
    memset(out, 0, sizeof(*out));
    for (size_t i = 0; i < plan->n; i++) {
        out->flushes += plan->stages[i].n > 0;
        out->writes += (uint32_t)plan->stages[i].n;
        for (size_t j = 0; j < plan->stages[i].n; j++)
            out->bytes_written += plan->stages[i].writes[j].len;
    }
    out->clusters_allocated = plan->clusters_allocated;
    out->clusters_freed = plan->clusters_freed;
    out->stale_bitmaps = plan->stale_bitmaps;
    out->stale_clusters_kept = plan->stale_clusters_kept;
    out->file_growth = plan->end > img->io.size ? plan->end - img->io.size : 0;
}

int qcbmi_plan_each(const struct qcbmi_plan *plan, qcbm_plan_fn *fn, void *opaque, struct qcbm_error *err)
{
    uint32_t number = 0;

    for (size_t i = 0; i < plan->n; i++) {
        const struct qcbmi_plan_stage *stage = &plan->stages[i];

        for (size_t j = 0; j < stage->n; j++) {
            const struct qcbmi_plan_write *w = &stage->writes[j];
            struct qcbm_plan_step step = { number, stage->name, w->what, w->off, w->len };

            if (fn(opaque, &step))
                return qcbmi_fail_stopped(err);
        }
        number += stage->n > 0;
    }
    return 0;
}
