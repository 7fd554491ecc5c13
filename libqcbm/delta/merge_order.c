/* merge_order.c - do deltas follow one another, and who is the one that is made of them?
 * SPDX-License-Identifier: MIT
 *
 * Ids decide where both deltas have them. Of streams of other programs the names of the states do, which are those of
 * snapshots or checkpoints. Where neither is there nothing speaks for the order, so it has to be forced. */
#include <string.h>

#include "base/checked.h"
#include "base/error.h"
#include "base/random.h"
#include "delta/merge.h"

static int fail_form(const struct qcbmi_merge *m, size_t i, struct qcbm_error *err)
{
    return qcbmi_fail(err, QCBM_E_UNSUPPORTED, QCBM_NO_OFFSET,
                      "'%s' has the form %s and '%s' has %s: deltas of one form are merged; "
                      "apply these one after the other, or make them anew with one -O",
                      m->names[0], m->deltas[0]->form->name, m->names[i], m->deltas[i]->form->name);
}

static int fail_order(const struct qcbmi_merge *m, size_t i, const char *begins, const char *leads,
                      struct qcbm_error *err)
{
    char before[64], after[64];

    return qcbmi_fail(err, QCBM_E_CHAIN, QCBM_NO_OFFSET,
                      "'%s' begins at state %s, and '%s' leads to %s: they do not follow one another", m->names[i],
                      qcbmi_printable(before, sizeof before, begins, strlen(begins)), m->names[i - 1],
                      qcbmi_printable(after, sizeof after, leads, strlen(leads)));
}

static int check_ids(const struct qcbmi_merge *m, size_t i, struct qcbm_error *err)
{
    const struct qcbmi_delta_meta *a = &m->deltas[i - 1]->meta, *b = &m->deltas[i]->meta;
    char leads[2 * QCBMI_IDENTITY_BYTES + 1], begins[2 * QCBMI_IDENTITY_BYTES + 1];

    if (memcmp(a->id, b->parent, sizeof a->id) == 0)
        return 0;
    qcbmi_identity_text(a->id, leads);
    qcbmi_identity_text(b->parent, begins);
    return fail_order(m, i, begins, leads, err);
}

static int check_pair(const struct qcbmi_merge *m, size_t i, struct qcbm_error *err)
{
    const struct qcbmi_delta *a = m->deltas[i - 1], *b = m->deltas[i];

    if (b->meta.size_before != UINT64_MAX && b->meta.size_before != a->meta.size_after)
        return qcbmi_fail(err, QCBM_E_CHAIN, QCBM_NO_OFFSET,
                          "'%s' begins with a disk of %" PRIu64 " bytes, and '%s' leads to one of %" PRIu64
                          ": they do not follow one another",
                          m->names[i], b->meta.size_before, m->names[i - 1], a->meta.size_after);
    if (a->has_meta && b->has_meta && b->meta.has_parent)
        return check_ids(m, i, err);
    if (a->to && b->from)
        return strcmp(a->to, b->from) == 0 ? 0 : fail_order(m, i, b->from, a->to, err);
    return qcbmi_fail(err, QCBM_E_CHAIN, QCBM_NO_OFFSET,
                      "it is not known at which state '%s' begins, so not whether it follows '%s'; "
                      "--force-parent takes your word for it",
                      m->names[i], m->names[i - 1]);
}

int qcbmi_merge_check_order(const struct qcbmi_merge *m, struct qcbm_error *err)
{
    int ret = 0;

    for (size_t i = 1; i < m->n; i++)
        if (m->deltas[i]->form != m->deltas[0]->form)
            return fail_form(m, i, err);
    for (size_t i = 1; ret == 0 && !m->force_parent && i < m->n; i++)
        ret = check_pair(m, i, err);
    return ret;
}

/* The least that any of them has, as far as it is known. */
static uint32_t least_granularity(const struct qcbmi_merge *m)
{
    uint32_t least = 0;

    for (size_t i = 0; i < m->n; i++) {
        uint32_t g = m->deltas[i]->meta.granularity;

        if (g && (!least || g < least))
            least = g;
    }
    return least;
}

int qcbmi_merge_identity(const struct qcbmi_merge *m, struct qcbmi_delta_meta *out, struct qcbm_error *err)
{
    const struct qcbmi_delta *first = m->deltas[0], *last = m->deltas[m->n - 1];

    *out = last->meta;
    out->kind = QCBMI_IDENTITY_DELTA;
    if (!last->has_meta && qcbmi_random(out->id, sizeof out->id, err) < 0)
        return QCBM_E_IO;
    out->has_parent = first->has_meta && first->meta.has_parent;
    memcpy(out->parent, first->meta.parent, sizeof out->parent);
    out->size_before = first->meta.size_before;
    out->has_zeros_from = first->meta.has_zeros_from; /* what later ones made zeros of are records: overlay.c */
    out->zeros_from = u64_min(first->meta.zeros_from, out->size_after);
    out->granularity = least_granularity(m);
    memcpy(out->bitmap, first->meta.bitmap, sizeof out->bitmap);
    out->n_probes = 0;
    out->has_digest = false;
    if (m->note && strlen(m->note) > QCBMI_DELTA_MAX_NOTE)
        return qcbmi_fail(err, QCBM_E_LIMIT, QCBM_NO_OFFSET, "a note of %zu bytes, allowed: up to %u", strlen(m->note),
                          QCBMI_DELTA_MAX_NOTE);
    if (m->note)
        strcpy(out->note, m->note);
    return 0;
}
