/* merge_files.c - deltas by their names, made one
 * SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/sized.h"
#include "delta/merge.h"

static void close_all(struct qcbmi_delta **deltas, size_t n)
{
    for (size_t i = 0; deltas && i < n; i++)
        qcbmi_delta_close(deltas[i]);
    free(deltas);
}

static int open_all(const char *const *names, size_t n, struct qcbmi_delta ***out, struct qcbm_error *err)
{
    struct qcbmi_delta **deltas = qcbmi_alloc_array(n, sizeof(*deltas), err);
    int ret = deltas ? 0 : QCBM_E_NOMEM;

    *out = deltas;
    for (size_t i = 0; ret == 0 && i < n; i++) {
        char name[128];

        ret = qcbmi_delta_open(names[i], &deltas[i], err);
        if (ret == 0)
            qcbmi_io_close(&deltas[i]->files.json); /* it has been read, and many deltas are many open files */
        if (ret < 0 && ret != QCBM_E_NOMEM)
            ret = qcbmi_prefix(err, ret, "'%s': ", qcbmi_printable(name, sizeof name, names[i], strlen(names[i])));
    }
    return ret;
}

static void fill(struct qcbm_delta_merge_result *out, const struct qcbmi_merge *m, const struct qcbmi_merge_result *r)
{
    *out = (struct qcbm_delta_merge_result){ .form = m->deltas[0]->form->name,
                                             .size_before = r->meta.size_before,
                                             .size_after = r->meta.size_after,
                                             .records_in = r->records_before,
                                             .bytes_in = r->bytes_before,
                                             .data_bytes = r->data_bytes,
                                             .zero_bytes = r->zero_bytes,
                                             .probes = r->meta.n_probes };
    qcbmi_identity_text(r->meta.id, out->id);
    qcbmi_identity_text(r->meta.digest, out->digest);
    if (r->meta.has_parent)
        qcbmi_identity_text(r->meta.parent, out->parent_id);
}

int qcbm_delta_merge(const char *const *deltas, size_t n, const char *path, int fd,
                     const struct qcbm_delta_merge_options *options, struct qcbm_delta_merge_result *out, size_t size,
                     struct qcbm_error *err)
{
    struct qcbm_delta_merge_options o = QCBM_DELTA_MERGE_OPTIONS_INIT;
    struct qcbmi_merge m = { .names = deltas, .n = n, .path = path, .fd = fd };
    struct qcbmi_progress way = { 0 };
    struct qcbmi_merge_result result;
    struct qcbm_delta_merge_result told;
    struct qcbmi_delta **opened = NULL;
    int ret = qcbmi_take_options(&o, sizeof o, options, err);

    if (ret == 0 && out)
        ret = qcbmi_check_size(size, err);
    if (ret == 0 && (n == 0 || (o.flags & ~(unsigned)QCBM_DELTA_MERGE_FORCE_PARENT)))
        ret = qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET, n ? "unknown flags" : "no deltas to be merged");
    if (ret == 0)
        ret = open_all(deltas, n, &opened, err);
    if (ret == 0) {
        way.to = o.progress;
        m.deltas = opened;
        m.force_parent = o.flags & QCBM_DELTA_MERGE_FORCE_PARENT;
        m.note = o.note;
        m.progress = &way;
        ret = qcbmi_delta_merge(&m, &result, err);
    }
    if (ret == 0 && out) {
        fill(&told, &m, &result);
        qcbmi_give(out, size, &told, sizeof told);
    }
    close_all(opened, n);
    return ret;
}
