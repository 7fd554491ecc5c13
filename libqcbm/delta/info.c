/* info.c - what a delta is
 * SPDX-License-Identifier: MIT */
#include <string.h>

#include "base/error.h"
#include "base/sized.h"
#include "delta/delta.h"

static void fill(const struct qcbmi_delta *d, struct qcbm_delta_info *out)
{
    const struct qcbmi_delta_meta *m = &d->meta;

    *out = (struct qcbm_delta_info){
        .form = d->form->name,
        .has_identity = d->has_meta,
        .created = m->created,
        .size_before = m->size_before,
        .size_after = m->size_after,
        .granularity = m->granularity,
        .probes = m->n_probes,
    };
    if (d->has_meta)
        qcbmi_identity_text(m->id, out->id);
    if (m->has_parent)
        qcbmi_identity_text(m->parent, out->parent_id);
    if (m->has_digest)
        qcbmi_identity_text(m->digest, out->digest);
    memcpy(out->bitmap, m->bitmap, sizeof(m->bitmap));
    memcpy(out->note, m->note, sizeof(m->note));
}

static int count(struct qcbmi_delta *d, struct qcbm_delta_info *out, struct qcbm_error *err)
{
    struct qcbmi_delta_record r;
    int ret;

    while ((ret = qcbmi_delta_next(d, &r, err)) == 1) {
        out->records++;
        *(r.type == QCBMI_DELTA_DATA ? &out->data_bytes : &out->zero_bytes) += r.length;
    }
    return ret;
}

static int look(struct qcbmi_delta *d, unsigned flags, const struct qcbm_progress *progress,
                struct qcbm_delta_info *out, struct qcbm_error *err)
{
    struct qcbmi_progress way = { .to = progress };
    int ret;

    fill(d, out);
    ret = count(d, out, err);
    way.total = out->data_bytes + out->zero_bytes;
    if (ret == 0 && (flags & QCBM_DELTA_VERIFY))
        ret = qcbmi_delta_verify(d, NULL, &way, err);
    out->verified = ret == 0 && (flags & QCBM_DELTA_VERIFY) && d->meta.has_digest;
    return ret;
}

int qcbm_delta_get_info(const char *path, unsigned flags, const struct qcbm_progress *progress,
                        struct qcbm_delta_info *out, size_t size, struct qcbm_error *err)
{
    struct qcbm_delta_info info;
    struct qcbmi_delta *d;
    int ret = qcbmi_check_size(size, err);

    if (ret == 0)
        ret = qcbmi_delta_open(path, &d, err);
    if (ret < 0)
        return ret;
    ret = look(d, flags, progress, &info, err);
    qcbmi_delta_close(d);
    if (ret == 0)
        qcbmi_give(out, size, &info, sizeof(info));
    return ret;
}
