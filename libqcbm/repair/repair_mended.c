/* repair_mended.c - entries of mapping tables that were mended: which may be, how many, and what of the disk is lost
 * SPDX-License-Identifier: MIT */
#include "repair/repair_mended.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/checked.h"
#include "repair/repair_changed.h"

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

int qcbmi_mended_begin(struct qcbmi_mended *m, struct qcbmi_repair *r, struct qcbm_error *err)
{
    const struct qcbmi_image *img = r->work->image;
    uint64_t n = (qcbmi_image_end(img) >> img->g.cluster_bits) + 2;
    int ret;

    *m = (struct qcbmi_mended){ .r = r };
    m->rules = (struct qcbmi_mend_rules){ .g = &img->g, .file_len = align_up(img->io.size, Q2_SECTOR) };
    m->rules.backing = img->h.backing_offset != 0;
    m->rules.keep = !qcbmi_repair_is_forced(r);
    m->rules.to_backing = r->o.flags & QCBM_REPAIR_TO_BACKING;
    m->rules.is_own = is_own;
    m->rules.opaque = m;
    m->before = qcbmi_alloc_array(img->g.cluster_size, 1, err);
    m->after = qcbmi_alloc_array(img->g.cluster_size, 1, err);
    ret = m->before && m->after ? qcbmi_bitset_init(&m->own, n, err) : QCBM_E_NOMEM;
    if (ret == 0)
        ret = qcbmi_repair_look(r, &m->c, 0, own_pass, m, err);
    if (ret == 0)
        ret = qcbmi_repair_shared(&m->c, &m->shared);
    if (ret == 0)
        ret = qcbmi_plan_stage(&m->plan, "bits of bitmaps", false, err);
    return ret < 0 ? ret : qcbmi_plan_stage(&m->plan, "bitmaps", true, err);
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
    free(m->left.list);
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

/* Where an entry that stays leads to, if that is behind the end of the file. */
static void note_left(struct qcbmi_mended *m, uint64_t raw)
{
    struct q2_l2_entry e;
    uint64_t end;

    q2_l2_entry_parse(raw, 0, 0, m->rules.g, &e);
    end =
        e.kind == Q2_COMPRESSED ? e.host_offset + e.host_len : (raw & Q2_ENTRY_OFFSET_MASK) + m->rules.g->cluster_size;
    if (end > m->rules.file_len)
        m->r->left_from = u64_min(m->r->left_from, u64_min(end, raw & Q2_ENTRY_OFFSET_MASK));
}

int qcbmi_mended_note(struct qcbmi_mended *m, enum qcbmi_mend how, uint64_t off, uint64_t raw, uint64_t guest,
                      uint64_t len)
{
    uint64_t before = m->n[QCBMI_MEND_SAME] + m->n[QCBMI_MEND_FOUND] + m->n[QCBMI_MEND_LOST];
    bool same;
    int ret;

    m->n[how]++;
    if (how == QCBMI_MEND_LEFT) {
        note_left(m, raw);
        return add_range(m, &m->left, guest, len);
    }
    if (before == 0 && how != QCBMI_MEND_NONE)
        m->first = off;
    if (how != QCBMI_MEND_LOST && how != QCBMI_MEND_FOUND)
        return 0;
    same = how == QCBMI_MEND_FOUND && !m->rules.g->data_file; /* as the guest wrote it; of a data file it is a guess */
    ret = m->state || same ? 0 : qcbmi_repair_note_changed(m->r, guest, len, m->c.err);
    return ret < 0 ? ret : add_range(m, how == QCBMI_MEND_LOST ? &m->lost : &m->doubtful, guest, len);
}

int qcbmi_mended_note_overwritten(struct qcbmi_mended *m, uint64_t guest, uint64_t len)
{
    return m->state || m->rules.keep ? 0 : qcbmi_repair_note_changed(m->r, guest, len, m->c.err);
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

struct told {
    const char *code;
    bool lost;        /* goes into @lost of the row, not into @done */
    const char *text; /* behind the range */
};

static int tell_range(struct qcbmi_mended *m, const struct told *t, const struct qcbmi_span *run, size_t more)
{
    const struct q2_geometry *g = m->rules.g;
    struct qcbm_repair_row row = { .code = t->code, .offset = QCBM_NO_OFFSET };
    char whose[128], and[64] = "", text[512];

    row.guest_offset = run->first * g->cluster_size;
    row.guest_length = u64_min(run->end * g->cluster_size, u64_max(g->size, row.guest_offset + 1)) - row.guest_offset;
    qcbmi_check_state_text(&m->c, m->state, whose, sizeof(whose));
    if (more)
        snprintf(and, sizeof(and), ", in %zu ranges,", more);
    snprintf(text, sizeof(text), "%s0x%" PRIx64 " - 0x%" PRIx64 "%s%s %s", t->lost ? "guest data at " : "guest range ",
             row.guest_offset, row.guest_offset + row.guest_length, m->state ? whose : " of the disk", and, t->text);
    row.done = t->lost ? "entries that lead nowhere are given up" : text;
    row.lost = t->lost ? text : NULL;
    return qcbmi_repair_tell(m->r, &row, m->c.err);
}

static int tell_ranges(struct qcbmi_mended *m, const struct told *t, struct qcbmi_spans *runs)
{
    int ret = 0;

    qcbmi_spans_sort(runs);
    for (size_t i = 0; ret == 0 && i < runs->n && i < MAX_ROWS; i++)
        ret = tell_range(m, t, &runs->list[i], 0);
    if (ret == 0 && runs->n > MAX_ROWS)
        ret = tell_range(m, t, &(struct qcbmi_span){ runs->list[MAX_ROWS].first, runs->list[runs->n - 1].end },
                         runs->n - MAX_ROWS);
    runs->n = 0;
    return ret;
}

int qcbmi_mended_tell_state(struct qcbmi_mended *m)
{
    bool old = m->rules.backing && m->rules.to_backing;
    const struct told found = { "guest-range-found", false, "is read again: what its refcounts and flags still say" };
    const struct told lost = { "guest-range-lost", true,
                               old ? "LOST: what the backing file has there shows instead"
                                   : "LOST: it reads as zeros" };
    const struct told left = { "guest-range-left", false,
                               m->rules.keep
                                   ? "is left as it is, entries lead nowhere: with --force it would read as zeros; a "
                                     "snapshot or a backup may have it"
                                   : "is left as it is: version 2 cannot say \"zeros\" over a backing file" };
    int ret = tell_ranges(m, &found, &m->doubtful);

    if (ret == 0)
        ret = tell_ranges(m, &lost, &m->lost);
    return ret < 0 ? ret : tell_ranges(m, &left, &m->left);
}

static int tell_mended(struct qcbmi_mended *m, const char *what, struct qcbm_error *err)
{
    uint64_t lost = m->n[QCBMI_MEND_LOST], changed = m->n[QCBMI_MEND_SAME] + m->n[QCBMI_MEND_FOUND] + lost;
    struct qcbm_repair_row row = { .code = "entries-mended", .offset = m->first };
    char done[160], gone[96];

    if (!changed)
        return 0;
    snprintf(done, sizeof(done), "%" PRIu64 " entries of %s mended, the first at 0x%" PRIx64, changed, what, m->first);
    snprintf(gone, sizeof(gone), "%" PRIu64 " of them, and what they led to", lost);
    row.done = done;
    row.lost = lost ? gone : NULL;
    return qcbmi_repair_tell(m->r, &row, err);
}

int qcbmi_mended_commit(struct qcbmi_mended *m, const char *what, struct qcbm_error *err)
{
    int ret = tell_mended(m, what, err);

    if (ret == 0)
        ret = qcbmi_repair_mark_stored(m->r, &m->c, &m->plan, 0);
    m->r->lost_pointers += m->n[QCBMI_MEND_LOST] + m->n[QCBMI_MEND_LEFT];
    m->r->left += m->n[QCBMI_MEND_LEFT];
    for (size_t i = 0; ret == 0 && i < m->plan.n; i++)
        if (m->plan.stages[i].n)
            return qcbmi_repair_commit(m->r, &m->plan, err);
    return ret;
}
