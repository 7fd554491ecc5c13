/* apply_each.c - deltas one after the other: each is compared with the disk that it meets, applied, and told
 * SPDX-License-Identifier: MIT */
#include <string.h>

#include "base/error.h"
#include "delta/apply_run.h"

int qcbmi_apply_record_id(struct qcbmi_apply_run *r, const char *prefix, const uint8_t id[QCBMI_IDENTITY_BYTES],
                          uint64_t size, struct qcbm_error *err)
{
    int ret = qcbmi_disk_state_set(&r->t, prefix, id, size, &r->disk, err);

    r->result.id_recorded = ret == 0 && r->disk.known == QCBMI_STATE_KNOWN;
    r->result.id_in_header = r->disk.in_header;
    return ret;
}

static int tell(struct qcbmi_apply_run *r, size_t i, enum qcbm_apply_what what, uint32_t probes, bool known,
                struct qcbm_error *err)
{
    const struct qcbmi_apply_item *item = &r->items[i];
    struct qcbm_apply_delta d = { .path = item->path,
                                  .form = item->form,
                                  .what = what,
                                  .size_before = item->meta.size_before,
                                  .size_after = item->meta.size_after,
                                  .data_bytes = item->data_bytes,
                                  .zero_bytes = item->zero_bytes,
                                  .probes = probes,
                                  .state_was_known = known,
                                  .has_digest = item->has_meta && item->meta.has_digest };

    qcbmi_identity_text(item->meta.id, d.id);
    if (item->meta.has_parent)
        qcbmi_identity_text(item->meta.parent, d.parent);
    return r->o->delta && r->o->delta(r->o->opaque, &d) != 0 ? qcbmi_fail_stopped(err) : 0;
}

static int apply_one(struct qcbmi_apply_run *r, size_t i, qcbmi_apply_steps_fn *steps, struct qcbm_error *err)
{
    bool resumes = r->state.there, known = r->disk.known == QCBMI_STATE_KNOWN;
    uint32_t probes = 0;
    int ret = resumes ? qcbmi_apply_check_probes(r, i, &probes, err) : qcbmi_apply_check_base(r, i, &probes, err);

    if (ret == 0)
        ret = steps(r, i, err);
    if (ret < 0)
        return ret;
    r->result.applied++;
    r->result.resumed |= resumes;
    r->result.data_bytes += r->items[i].data_bytes;
    r->result.zero_bytes += r->items[i].zero_bytes;
    if (r->o->flags & QCBM_APPLY_DRY_RUN)
        r->result.size = r->items[i].meta.size_after;
    ret = tell(r, i, resumes ? QCBM_APPLY_RESUMED : QCBM_APPLY_APPLIED, probes, known, err);
    r->disk.known = QCBMI_STATE_KNOWN; /* for the next one; whether there was room to record it is another matter */
    r->disk.has_size = true;
    r->disk.size = r->items[i].meta.size_after;
    memcpy(r->disk.id, r->items[i].meta.id, sizeof(r->disk.id));
    return ret;
}

/* What the delta says by itself: the disk that it would meet is not there. */
static int foretell_one(struct qcbmi_apply_run *r, size_t i, struct qcbm_error *err)
{
    r->result.applied++;
    r->result.data_bytes += r->items[i].data_bytes;
    r->result.zero_bytes += r->items[i].zero_bytes;
    r->result.size = r->items[i].meta.size_after;
    memcpy(r->disk.id, r->items[i].meta.id, sizeof(r->disk.id));
    return tell(r, i, QCBM_APPLY_APPLIED, 0, true, err);
}

int qcbmi_apply_each(struct qcbmi_apply_run *r, size_t first, qcbmi_apply_steps_fn *steps, struct qcbm_error *err)
{
    int ret = 0;

    for (size_t i = 0; ret == 0 && i < first; i++) {
        ret = tell(r, i, QCBM_APPLY_ALREADY, 0, true, err);
        r->result.already++;
    }
    for (size_t i = first; ret == 0 && i < r->n; i++) {
        bool comes_later = r->o->flags & QCBM_APPLY_DRY_RUN && i > first;

        ret = comes_later ? foretell_one(r, i, err) : apply_one(r, i, steps, err);
    }
    return ret;
}
