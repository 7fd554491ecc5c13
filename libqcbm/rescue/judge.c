/* judge.c - what an entry of an L2 table is worth, by itself and beside its neighbours
 * SPDX-License-Identifier: MIT
 *
 * A device writes 512 bytes whole or not at all, and so do those who overwrite by mistake: entries of a sector share
 * their fate. An entry of zeros beside sound ones was not zeroed. */
#include "base/bytes.h"
#include "image/tables.h"
#include "rescue/rescue.h"

void qcbmi_rescue_parse(const struct qcbmi_rescue *r, const uint8_t *table, uint32_t index, uint64_t slot,
                        struct q2_l2_entry *out)
{
    const uint8_t *at = table + (uint64_t)index * r->g->l2_entry_size;
    uint64_t word = r->g->extended_l2 ? be64_load(at + 8) : 0;

    q2_l2_entry_parse(be64_load(at), word, slot * r->g->l2_span + ((uint64_t)index << r->g->cluster_bits), r->g, out);
}

bool qcbmi_rescue_entry_is_sound(const struct qcbmi_rescue *r, const struct q2_l2_entry *e)
{
    uint64_t first, last;

    if (e->defects || !qcbmi_l2_entry_in_file(r->img, e))
        return false;
    if (e->host_len == 0)
        return true;
    first = e->host_offset >> r->g->cluster_bits;
    last = (e->host_offset + e->host_len - 1) >> r->g->cluster_bits;
    if (first >= r->n_clusters || last - first > 2)
        return false;
    for (; first <= last && first < r->n_clusters; first++)
        if (qcbmi_bitset_get(&r->meta, first))
            return false;
    return true;
}

static bool is_zero_entry(const struct qcbmi_rescue *r, const uint8_t *table, uint32_t i)
{
    return bytes_are_zero(table + (uint64_t)i * r->g->l2_entry_size, r->g->l2_entry_size);
}

/* Entries [@from, @end), which are those of a sector. */
static void judge_sector(const struct qcbmi_rescue *r, const uint8_t *table, uint32_t from, uint32_t end,
                         uint8_t *verdicts, uint32_t *sound, uint32_t *bad)
{
    uint32_t n_sound = 0, n_bad = 0;

    for (uint32_t i = from; i < end; i++) {
        struct q2_l2_entry e;

        verdicts[i] = QCBMI_ENTRY_EMPTY;
        if (is_zero_entry(r, table, i))
            continue;
        qcbmi_rescue_parse(r, table, i, 0, &e);
        verdicts[i] = qcbmi_rescue_entry_is_sound(r, &e) ? QCBMI_ENTRY_SOUND : QCBMI_ENTRY_BAD;
        n_sound += verdicts[i] == QCBMI_ENTRY_SOUND;
        n_bad += verdicts[i] == QCBMI_ENTRY_BAD;
    }
    for (uint32_t i = from; i < end; i++) {
        if (verdicts[i] == QCBMI_ENTRY_EMPTY && n_bad)
            verdicts[i] = QCBMI_ENTRY_BAD;
        else if (verdicts[i] == QCBMI_ENTRY_EMPTY && n_sound == 0)
            verdicts[i] = QCBMI_ENTRY_BLANK;
        else if (verdicts[i] == QCBMI_ENTRY_SOUND && n_bad)
            verdicts[i] = QCBMI_ENTRY_SALVAGED;
    }
    *sound += n_sound;
    *bad += n_bad;
}

uint32_t qcbmi_rescue_judge(const struct qcbmi_rescue *r, const uint8_t *table, uint8_t *verdicts, uint32_t *bad)
{
    uint32_t per = Q2_SECTOR / r->g->l2_entry_size, sound = 0;

    *bad = 0;
    for (uint32_t i = 0; i < r->g->l2_entries; i += per)
        judge_sector(r, table, i, i + per, verdicts, &sound, bad);
    return sound;
}

int qcbmi_rescue_name_targets(struct qcbmi_rescue *r, const uint8_t *table, const uint8_t *verdicts, uint64_t weight,
                              struct qcbm_error *err)
{
    int ret = 0;

    for (uint32_t i = 0; ret == 0 && i < r->g->l2_entries; i++) {
        struct q2_l2_entry e;

        if (verdicts[i] != QCBMI_ENTRY_SOUND && verdicts[i] != QCBMI_ENTRY_SALVAGED)
            continue;
        qcbmi_rescue_parse(r, table, i, 0, &e);
        ret = qcbmi_rescue_name(r, e.host_offset, e.host_len, weight, err);
    }
    return ret;
}
