/* repair_mended.c - entries of mapping tables that were mended: which may be, how many, and what of the disk is lost
 * SPDX-License-Identifier: MIT */
#include "repair/repair_mended.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/checked.h"

#define MIN_BAD 4u   /* entries of a sector */
#define MAX_ROWS 16u /* lost ranges that are told one by one */
#define MAX_RUNS ((size_t)1 << 16)

static int own_pass(struct check *c, void *counted_for)
{
    struct qcbmi_mended *m = counted_for;
    uint64_t end = u64_min(c->hi, m->own.n_bits);
    struct qcbmi_counts none;
    int ret = qcbmi_counts_init(&none, c->lo, c->hi, c->err);

    for (uint64_t k = c->lo; ret == 0; k++) {
        k = qcbmi_counts_next_difference(&c->stored, &none, k, end);
        if (k >= end)
            break;
        if (qcbmi_counts_get(&c->refs, k) < qcbmi_counts_get(&c->stored, k))
            ret = qcbmi_bitset_set(&m->own, k, k + 1, c->err);
    }
    qcbmi_counts_free(&none);
    return ret;
}

static bool is_own(const void *opaque, uint64_t off)
{
    const struct qcbmi_mended *m = opaque;
    uint64_t cluster = off >> m->rules.g->cluster_bits;

    return cluster && off < m->rules.file_len && cluster < m->own.n_bits && qcbmi_bitset_get(&m->own, cluster);
}

static int note_shared(struct qcbmi_mended *m, struct qcbm_error *err)
{
    const struct check_suspects *s = m->c.suspects;
    int ret = 0;

    for (size_t i = 0; ret == 0 && s && i < s->n; i++)
        if (s->list[i].n_owners > 1 && s->list[i].cluster < m->shared.n_bits)
            ret = qcbmi_bitset_set(&m->shared, s->list[i].cluster, s->list[i].cluster + 1, err);
    return ret;
}

int qcbmi_mended_begin(struct qcbmi_mended *m, struct qcbmi_repair *r, struct qcbm_error *err)
{
    const struct qcbmi_image *img = r->work->image;
    uint64_t n = (qcbmi_image_end(img) >> img->g.cluster_bits) + 2;
    int ret;

    *m = (struct qcbmi_mended){ .r = r };
    m->rules = (struct qcbmi_mend_rules){ .g = &img->g, .file_len = align_up(img->io.size, Q2_SECTOR) };
    m->rules.backing = img->h.backing_offset != 0;
    m->rules.to_backing = r->o.flags & QCBM_REPAIR_TO_BACKING;
    m->rules.is_own = is_own;
    m->rules.opaque = m;
    m->before = qcbmi_alloc_array(img->g.cluster_size, 1, err);
    m->after = qcbmi_alloc_array(img->g.cluster_size, 1, err);
    ret = m->before && m->after ? qcbmi_bitset_init(&m->own, n, err) : QCBM_E_NOMEM;
    if (ret == 0)
        ret = qcbmi_bitset_init(&m->shared, n, err);
    if (ret == 0)
        ret = qcbmi_repair_look(r, &m->c, 0, own_pass, m, err);
    return ret < 0 ? ret : note_shared(m, err);
}

void qcbmi_mended_free(struct qcbmi_mended *m)
{
    qcbmi_check_free(&m->c);
    qcbmi_bitset_free(&m->own);
    qcbmi_bitset_free(&m->shared);
    qcbmi_plan_free(&m->plan);
    free(m->before);
    free(m->after);
    free(m->lost.list);
    free(m->doubtful.list);
}

bool qcbmi_mended_is_shared(const struct qcbmi_mended *m, uint64_t cluster)
{
    return cluster < m->shared.n_bits && qcbmi_bitset_get(&m->shared, cluster);
}

static int add_range(struct qcbmi_mended *m, struct qcbmi_spans *to, uint64_t guest, uint64_t len)
{
    uint64_t cs = m->rules.g->cluster_size, first = guest / cs, end = div_up(guest + len, cs);
    int ret;

    if (first >= end)
        return 0;
    ret = qcbmi_spans_add(to, first, MAX_RUNS, m->c.err);
    if (ret == 0 && to->n && to->list[to->n - 1].end == first + 1)
        to->list[to->n - 1].end = end;
    return ret;
}

int qcbmi_mended_note(struct qcbmi_mended *m, enum qcbmi_mend how, uint64_t off, uint64_t guest, uint64_t len)
{
    uint64_t before = m->n[QCBMI_MEND_SAME] + m->n[QCBMI_MEND_FOUND] + m->n[QCBMI_MEND_LOST];

    m->n[how]++;
    if (before == 0 && how != QCBMI_MEND_NONE && how != QCBMI_MEND_LEFT)
        m->first = off;
    if (how == QCBMI_MEND_LOST || how == QCBMI_MEND_LEFT)
        return add_range(m, &m->lost, guest, len);
    return how == QCBMI_MEND_FOUND ? add_range(m, &m->doubtful, guest, len) : 0;
}

bool qcbmi_mended_is_overwritten(const struct qcbmi_mended *m, const uint8_t *sector, uint64_t len, bool l1)
{
    uint32_t step = l1 ? 8 : m->rules.g->l2_entry_size;
    uint64_t used = 0, bad = 0;

    for (uint64_t i = 0; i + step <= len; i += step) {
        uint64_t raw = be64_load(sector + i);

        used += raw != 0;
        if (raw)
            bad += l1 ? qcbmi_check_is_bad_l1_entry(&m->c, raw) : qcbmi_check_is_bad_l2_entry(&m->c, sector + i);
    }
    return bad >= MIN_BAD && bad >= used / 2;
}

static int tell_range(struct qcbmi_mended *m, const char *code, const char *done, const struct qcbmi_span *run,
                      struct qcbm_error *err)
{
    const struct q2_geometry *g = m->rules.g;
    struct qcbm_repair_row row = { .code = code, .offset = QCBM_NO_OFFSET, .done = done };

    row.guest_offset = run->first * g->cluster_size;
    row.guest_length = u64_min(run->end * g->cluster_size, u64_max(g->size, row.guest_offset + 1)) - row.guest_offset;
    return qcbmi_repair_tell(m->r, &row, err);
}

static int tell_ranges(struct qcbmi_mended *m, const char *code, const char *done, struct qcbmi_spans *runs,
                       struct qcbm_error *err)
{
    char more[96];
    int ret = 0;

    qcbmi_spans_sort(runs);
    for (size_t i = 0; ret == 0 && i < runs->n && i < MAX_ROWS; i++)
        ret = tell_range(m, code, done, &runs->list[i], err);
    if (ret < 0 || runs->n <= MAX_ROWS)
        return ret;
    snprintf(more, sizeof(more), "%s, and %zu ranges more", done, runs->n - MAX_ROWS);
    return tell_range(m, code, more, &(struct qcbmi_span){ runs->list[MAX_ROWS].first, runs->list[runs->n - 1].end },
                      err);
}

static int tell(struct qcbmi_mended *m, const char *what, struct qcbm_error *err)
{
    uint64_t changed = m->n[QCBMI_MEND_SAME] + m->n[QCBMI_MEND_FOUND] + m->n[QCBMI_MEND_LOST];
    bool old = m->rules.backing && m->rules.to_backing;
    char done[160];
    int ret = 0;

    snprintf(done, sizeof(done), "%" PRIu64 " entries of %s mended, the first at 0x%" PRIx64, changed, what, m->first);
    if (changed)
        ret = qcbmi_repair_tell_done(m->r, "entries-mended", m->first, done, err);
    if (ret == 0)
        ret = tell_ranges(m, "guest-range-found", "an entry was put straight by what its refcounts and flags still say",
                          &m->doubtful, err);
    if (ret < 0)
        return ret;
    return tell_ranges(m, "guest-range-lost",
                       m->n[QCBMI_MEND_LEFT] ? "where the data lies is lost; some entries stay as they are: version 2 "
                                               "cannot say \"zeros\" over a backing file"
                       : old                 ? "where the data lies is lost: what the backing file has shows instead"
                                             : "where the data lies is lost: it reads as zeros",
                       &m->lost, err);
}

int qcbmi_mended_commit(struct qcbmi_mended *m, const char *what, struct qcbm_error *err)
{
    int ret = tell(m, what, err);

    m->r->lost_pointers += m->n[QCBMI_MEND_LOST] + m->n[QCBMI_MEND_LEFT];
    for (size_t i = 0; ret == 0 && i < m->plan.n; i++)
        if (m->plan.stages[i].n)
            return qcbmi_repair_commit(m->r, &m->plan, err);
    return ret;
}
