/* repair_l2.c - damaged entries of L2 tables, of all states
 * SPDX-License-Identifier: MIT
 *
 * Each table is mended once, whatever refers to it, and only where it has no other owner: see repair_two_owners.c. */
#include <string.h>

#include "base/bytes.h"
#include "base/checked.h"
#include "repair/repair_mended.h"

static int mend(struct qcbmi_mended *m, uint64_t off, uint64_t guest, bool give_up, uint8_t *bytes)
{
    const struct q2_geometry *g = m->rules.g;
    uint64_t raw = be64_load(bytes), was = raw, word = g->extended_l2 ? be64_load(bytes + 8) : 0;
    enum qcbmi_mend how = qcbmi_mend_l2(&m->rules, guest, give_up, &raw, &word);
    bool maps = guest < g->size;

    be64_store(bytes, raw);
    if (g->extended_l2)
        be64_store(bytes + 8, word);
    return qcbmi_mended_note(m, how, off, was, maps ? guest : 0, maps ? u64_min(g->cluster_size, g->size - guest) : 0);
}

static int mend_sector(struct qcbmi_mended *m, uint64_t off, uint64_t guest, uint8_t *bytes, uint64_t len)
{
    const struct q2_geometry *g = m->rules.g;
    bool over = qcbmi_mended_is_overwritten(m, bytes, len, false);
    int ret = over ? qcbmi_mended_note_overwritten(m, guest, len / g->l2_entry_size * g->cluster_size) : 0;

    for (uint64_t i = 0; ret == 0 && i < len; i += g->l2_entry_size)
        ret = mend(m, off + i, guest + i / g->l2_entry_size * g->cluster_size, over, bytes + i);
    return ret;
}

static int mend_table(struct qcbmi_mended *m, uint64_t off, uint64_t guest)
{
    uint64_t cs = m->rules.g->cluster_size, per_sector = Q2_SECTOR / m->rules.g->l2_entry_size;
    int ret = qcbmi_check_read(&m->c, off, m->before, cs, NULL);
    struct check_look look;

    if (ret == 0 && qcbmi_check_l2_overwritten(&m->c, m->before, &look))
        ret = qcbmi_mended_note_overwritten(m, guest, m->rules.g->l2_span);
    if (ret < 0)
        return ret;
    memcpy(m->after, m->before, (size_t)cs);
    for (uint64_t at = 0; ret == 0 && at < cs; at += Q2_SECTOR)
        ret = mend_sector(m, off + at, guest + at / Q2_SECTOR * per_sector * cs, m->after + at, Q2_SECTOR);
    return ret < 0 ? ret : qcbmi_repair_write_changes(&m->plan, "L2 table", off, m->before, m->after, cs, m->c.err);
}

static int take_entry(void *opaque, uint64_t raw, uint64_t index)
{
    struct qcbmi_mended *m = opaque;
    struct check *c = &m->c;
    uint64_t off = raw & Q2_ENTRY_OFFSET_MASK, cluster = off >> c->g->cluster_bits;
    int ret;

    if (!off || !is_aligned(off, c->g->cluster_size) || cluster >= c->l2_noisy.n_bits ||
        !qcbmi_bitset_get(&c->l2_noisy, cluster) || qcbmi_mended_is_shared(m, cluster))
        return 0;
    ret = mend_table(m, off, index * c->g->l2_span);
    return ret < 0 ? ret : qcbmi_bitset_clear(&c->l2_noisy, cluster, cluster + 1, c->err); /* once */
}

static int mend_state(struct qcbmi_mended *m, uint32_t state, uint64_t l1_offset, uint64_t l1_entries)
{
    struct check *c = &m->c;
    struct qcbmi_table_walk walk = { c->img, &c->holes, "metadata", m, NULL, take_entry };
    int ret;

    m->state = state;
    ret = qcbmi_table_walk(&walk, l1_offset, l1_entries, c->err);
    return ret < 0 ? ret : qcbmi_mended_tell_state(m);
}

static int mend_tables(struct qcbmi_mended *m)
{
    struct check *c = &m->c;
    int ret = qcbmi_plan_stage(&m->plan, "entries", true, c->err);

    if (ret == 0)
        ret = mend_state(m, 0, c->img->h.l1_offset, c->img->h.l1_entries);
    for (uint32_t i = 0; ret == 0 && i < c->snapshots.n; i++)
        if (qcbmi_snapshot_l1_is_sound(c->img, &c->snapshots.list[i]))
            ret = mend_state(m, i + 1, c->snapshots.list[i].l1_offset, c->snapshots.list[i].l1_entries);
    return ret;
}

int qcbmi_repair_l2_separated(struct qcbmi_repair *r, struct qcbm_error *err)
{
    return r->separated ? qcbmi_repair_l2(r, err) : 0;
}

int qcbmi_repair_l2(struct qcbmi_repair *r, struct qcbm_error *err)
{
    struct qcbmi_mended m;
    int ret = qcbmi_mended_begin(&m, r, err);

    if (ret == 0)
        ret = mend_tables(&m);
    if (ret == 0)
        ret = qcbmi_mended_commit(&m, "L2 tables", err);
    qcbmi_mended_free(&m);
    return ret;
}
