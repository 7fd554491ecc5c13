/* l2_notes.c - what L2 tables name: noted on any thread, table by table, and given out in their order
 * SPDX-License-Identifier: MIT */
#include "image/l2_notes.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

#define NO_COPY SIZE_MAX

struct qcbmi_noted_l2 {
    const struct qcbmi_l2_ref *ref;
    size_t end;  /* of its notes */
    size_t copy; /* of its bytes, or NO_COPY */
};

static int add_runs(struct qcbmi_l2_notes *to, const struct q2_l2_run *runs, uint32_t n, bool *odd,
                    struct qcbm_error *err)
{
    for (uint32_t i = 0; i < n; i++) {
        if (qcbmi_grow_array(&to->list, &to->room, to->n, sizeof(to->list[0]), err) < 0)
            return QCBM_E_NOMEM;
        to->list[to->n++] = (struct qcbmi_l2_note){ runs[i].raw, runs[i].index, runs[i].odd ? 0 : runs[i].n };
        *odd |= runs[i].odd;
    }
    return 0;
}

static int add_copy(struct qcbmi_l2_notes *to, const uint8_t *bytes, size_t len, struct qcbm_error *err)
{
    if (qcbmi_grow_array(&to->copies, &to->room_copies, to->n_copies, len, err) < 0)
        return QCBM_E_NOMEM;
    memcpy(to->copies + to->n_copies++ * len, bytes, len);
    return 0;
}

int qcbmi_l2_notes_add(struct qcbmi_l2_notes *to, const struct q2_l2_scan *scan, const struct q2_geometry *g,
                       const struct qcbmi_l2_ref *ref, const uint8_t *bytes, struct qcbm_error *err)
{
    struct q2_l2_run runs[Q2_L2_SCAN_MAX];
    size_t copy = to->n_copies;
    struct q2_l2_runs walk;
    uint32_t n = bytes != NULL;
    bool odd = false;
    int ret = 0;

    q2_l2_runs_begin(&walk, scan, g, bytes);
    while (ret == 0 && n) {
        n = q2_l2_runs_next(&walk, runs);
        ret = add_runs(to, runs, n, &odd, err);
    }
    if (ret == 0 && odd)
        ret = add_copy(to, bytes, g->cluster_size, err);
    if (ret == 0)
        ret = qcbmi_grow_array(&to->tables, &to->room_tables, to->n_tables, sizeof(to->tables[0]), err);
    if (ret == 0)
        to->tables[to->n_tables++] = (struct qcbmi_noted_l2){ ref, to->n, odd ? copy : NO_COPY };
    return ret;
}

int qcbmi_l2_notes_give(struct qcbmi_l2_notes *from, const struct q2_geometry *g, qcbmi_l2_content_fn *fn, void *opaque)
{
    size_t first = 0;
    int ret = 0;

    for (size_t i = 0; ret == 0 && i < from->n_tables; i++) {
        const struct qcbmi_noted_l2 *t = &from->tables[i];
        struct qcbmi_l2_content content = { from->list ? from->list + first : NULL, t->end - first, from->n - t->end,
                                            NULL };

        if (t->copy != NO_COPY)
            content.bytes = from->copies + t->copy * g->cluster_size;
        ret = fn(opaque, t->ref, &content);
        first = t->end;
    }
    from->n_tables = from->n = from->n_copies = 0;
    return ret;
}

void qcbmi_l2_notes_free(struct qcbmi_l2_notes *from)
{
    free(from->tables);
    free(from->list);
    free(from->copies);
}
