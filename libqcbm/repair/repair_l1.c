/* repair_l1.c - damaged entries of L1 tables, of the active state and of snapshots
 * SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/checked.h"
#include "repair/repair_mended.h"

#define MAX_NEW_TABLES 1024u

struct l1 {
    struct qcbmi_mended *m;
    uint64_t off, len;
    size_t prepare, change; /* stages */
    uint64_t n_new;
};

/* Is what the entry leads to no table, but bytes of another owner? */
static int is_foreign(const struct l1 *t, uint64_t raw, bool *foreign)
{
    struct qcbmi_mended *m = t->m;
    uint64_t off = raw & Q2_ENTRY_OFFSET_MASK;
    struct check_look look;
    int ret;

    *foreign = false;
    if (!is_aligned(off, m->rules.g->cluster_size) || !qcbmi_mended_is_shared(m, off >> m->rules.g->cluster_bits))
        return 0;
    *foreign = off == 0;
    ret = qcbmi_check_read(&m->c, off, m->before, m->rules.g->cluster_size, NULL);
    *foreign |= ret == 0 && qcbmi_check_l2_overwritten(&m->c, m->before, &look);
    return ret;
}

/* A table that says of all its range what can be said of what is lost, in place of entry @index. */
static int new_table(struct l1 *t, uint64_t index, uint64_t *raw)
{
    struct qcbmi_mended *m = t->m;
    const struct q2_geometry *g = m->rules.g;
    uint64_t off;

    if (t->n_new++ == MAX_NEW_TABLES)
        return qcbmi_fail(m->c.err, QCBM_E_LIMIT, t->off,
                          "more than %u L1 entries are lost: there would be a new table of zeros for each",
                          MAX_NEW_TABLES);
    off = qcbmi_repair_append(m->r, &m->plan, 1);
    for (uint32_t i = 0; i < g->l2_entries; i++) {
        uint64_t entry = 1, word = 0;

        (void)qcbmi_mend_l2(&m->rules, index * g->l2_span + (uint64_t)i * g->cluster_size, true, &entry, &word);
        be64_store(m->before + (size_t)i * g->l2_entry_size, entry);
        if (g->extended_l2)
            be64_store(m->before + (size_t)i * g->l2_entry_size + 8, word);
    }
    *raw = off;
    m->plan.current = t->prepare;
    return qcbmi_plan_write(&m->plan, "L2 table", off, m->before, g->cluster_size, m->c.err);
}

static int mend(struct l1 *t, uint8_t *bytes, uint64_t index, bool give_up)
{
    struct qcbmi_mended *m = t->m;
    const struct q2_geometry *g = m->rules.g;
    uint64_t raw = be64_load(bytes), was = raw;
    bool zeros = m->rules.backing && !m->rules.to_backing, foreign, maps = index < g->l1_used;
    enum qcbmi_mend how;
    int ret = is_foreign(t, raw, &foreign);

    if (ret < 0)
        return ret;
    how = qcbmi_mend_l1(&m->rules, give_up || foreign, &raw);
    if (how == QCBMI_MEND_LOST && zeros && g->version < 3) {
        how = QCBMI_MEND_LEFT;
        raw = was;
    }
    if (how == QCBMI_MEND_LOST && (zeros || g->data_file) && index < g->l1_used)
        ret = new_table(t, index, &raw);
    be64_store(bytes, raw);
    if (ret == 0)
        ret = qcbmi_mended_note(m, how, t->off + 8 * index, was, maps ? index * g->l2_span : 0,
                                maps ? u64_min(g->l2_span, g->size - index * g->l2_span) : 0);
    return ret;
}

static int mend_all(struct l1 *t, uint8_t *bytes)
{
    uint64_t span = t->m->rules.g->l2_span, maps = t->m->rules.g->l1_used;
    int ret = 0;

    for (uint64_t at = 0; ret == 0 && at < t->len; at += Q2_SECTOR) {
        uint64_t n = u64_min(Q2_SECTOR, t->len - at);
        bool over = qcbmi_mended_is_overwritten(t->m, bytes + at, n, true);

        if (over && at / 8 < maps)
            ret = qcbmi_mended_note_overwritten(t->m, at / 8 * span, u64_min(n / 8, maps - at / 8) * span);
        for (uint64_t i = 0; ret == 0 && i + 8 <= n; i += 8)
            if (be64_load(bytes + at + i))
                ret = mend(t, bytes + at + i, (at + i) / 8, over);
    }
    return ret;
}

static int mend_table(struct l1 *t, uint64_t off, uint64_t entries, uint32_t state)
{
    struct qcbmi_mended *m = t->m;
    uint64_t size = m->r->work->image->io.size;
    uint8_t *before, *after;
    int ret;

    t->off = off;
    t->len = off < size ? u64_min(8 * entries, size - off) : 0;
    m->state = state;
    before = qcbmi_alloc_array(t->len, 1, m->c.err);
    after = qcbmi_alloc_array(t->len, 1, m->c.err);
    ret = before && after ? qcbmi_check_read(&m->c, off, before, t->len, NULL) : QCBM_E_NOMEM;
    if (ret == 0) {
        memcpy(after, before, (size_t)t->len);
        ret = mend_all(t, after);
    }
    if (ret == 0)
        ret = qcbmi_mended_tell_state(m);
    m->plan.current = t->change;
    if (ret == 0)
        ret = qcbmi_repair_write_changes(&m->plan, "L1 table", off, before, after, t->len, m->c.err);
    free(before);
    free(after);
    return ret;
}

static int mend_tables(struct qcbmi_mended *m)
{
    const struct check *c = &m->c;
    struct l1 t = { .m = m };
    int ret = qcbmi_plan_stage(&m->plan, "prepare", false, c->err);

    t.prepare = m->plan.current;
    if (ret == 0)
        ret = qcbmi_plan_stage(&m->plan, "switch", true, c->err);
    t.change = m->plan.current;
    if (ret == 0)
        ret = mend_table(&t, c->img->h.l1_offset, c->img->h.l1_entries, 0);
    for (uint32_t i = 0; ret == 0 && i < c->snapshots.n; i++)
        if (qcbmi_snapshot_l1_is_sound(c->img, &c->snapshots.list[i]))
            ret = mend_table(&t, c->snapshots.list[i].l1_offset, c->snapshots.list[i].l1_entries, i + 1);
    return ret;
}

int qcbmi_repair_l1(struct qcbmi_repair *r, struct qcbm_error *err)
{
    struct qcbmi_mended m;
    int ret = qcbmi_mended_begin(&m, r, err);

    if (ret == 0)
        ret = mend_tables(&m);
    if (ret == 0)
        ret = qcbmi_mended_commit(&m, "L1 tables", err);
    qcbmi_mended_free(&m);
    return ret;
}
