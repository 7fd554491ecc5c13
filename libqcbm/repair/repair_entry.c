/* repair_entry.c - what becomes of one damaged entry of a mapping table
 * SPDX-License-Identifier: MIT */
#include "repair/repair_entry.h"

#include "base/checked.h"

#define ALL_ZERO_SUBCLUSTERS (UINT64_C(0xffffffff) << 32)

static enum qcbmi_mend lose(const struct qcbmi_mend_rules *rules, uint64_t guest, uint64_t *raw, uint64_t *word)
{
    const struct q2_geometry *g = rules->g;
    bool zeros = rules->backing && !rules->to_backing;

    if (g->data_file) { /* each cluster lies at its own offset: the entry can be known */
        *raw = guest | Q2_ENTRY_COPIED;
        *word = g->extended_l2 ? Q2_SUBCLUSTERS_ALL_DATA : 0;
        return QCBMI_MEND_FOUND;
    }
    if (rules->keep || (zeros && g->version < 3))
        return QCBMI_MEND_LEFT;
    *raw = zeros && !g->extended_l2 ? Q2_L2_ZERO : 0;
    *word = zeros && g->extended_l2 ? ALL_ZERO_SUBCLUSTERS : 0;
    return QCBMI_MEND_LOST;
}

/* A subcluster word beside compressed data: the entry was one of plain data, if the place that it would name is
 * counted. */
static bool was_plain(const struct qcbmi_mend_rules *rules, uint64_t raw)
{
    uint64_t off = raw & Q2_ENTRY_OFFSET_MASK;

    return !(raw & Q2_L2_RESERVED & ~Q2_L2_COMPRESSED) && is_aligned(off, rules->g->cluster_size) &&
           off < rules->file_len && rules->is_own(rules->opaque, off);
}

static enum qcbmi_mend mend_compressed(const struct qcbmi_mend_rules *rules, uint64_t guest, uint64_t *raw,
                                       uint64_t *word)
{
    const struct q2_geometry *g = rules->g;
    struct q2_l2_entry e;

    q2_l2_entry_parse(*raw, 0, guest, g, &e);
    if (*word && was_plain(rules, *raw)) {
        *raw &= ~Q2_L2_COMPRESSED;
        return QCBMI_MEND_FOUND;
    }
    if (g->data_file || (int64_t)(e.host_offset + e.host_len - rules->file_len) >= (int64_t)g->cluster_size)
        return lose(rules, guest, raw, word);
    if (!(*raw & Q2_ENTRY_COPIED) && !*word)
        return QCBMI_MEND_NONE;
    *raw &= ~Q2_ENTRY_COPIED;
    *word = 0;
    return QCBMI_MEND_SAME;
}

/* Data that is there is kept where a bit says so; a subcluster that is said to be data and zeros cannot be read. */
static enum qcbmi_mend mend_subclusters(const struct qcbmi_mend_rules *rules, uint64_t raw, uint64_t *word)
{
    uint64_t both = (*word >> 32) & *word;

    if ((raw & Q2_ENTRY_OFFSET_MASK) == 0 && (uint32_t)*word) { /* data without a place */
        if (rules->keep)
            return QCBMI_MEND_LEFT;
        *word = (*word & ALL_ZERO_SUBCLUSTERS) | (rules->backing && !rules->to_backing ? *word << 32 : 0);
        return QCBMI_MEND_LOST;
    }
    if (!both)
        return QCBMI_MEND_NONE;
    *word &= ~(both << 32);
    return QCBMI_MEND_FOUND;
}

static enum qcbmi_mend mend_offset(const struct qcbmi_mend_rules *rules, uint64_t guest, uint64_t *raw, uint64_t *word)
{
    const struct q2_geometry *g = rules->g;
    uint64_t off = *raw & Q2_ENTRY_OFFSET_MASK, down = align_down(off, g->cluster_size);
    bool data = g->extended_l2 ? (uint32_t)*word != 0 : !(*raw & Q2_L2_ZERO);

    if (g->data_file && off == guest)
        return QCBMI_MEND_NONE;
    if (g->data_file)
        return lose(rules, guest, raw, word);
    if (off == down && off < rules->file_len)
        return QCBMI_MEND_NONE;
    if (off != down && rules->is_own(rules->opaque, down)) {
        *raw = (*raw & ~Q2_ENTRY_OFFSET_MASK) | down;
        return QCBMI_MEND_FOUND;
    }
    if (data)
        return lose(rules, guest, raw, word);
    *raw &= ~(Q2_ENTRY_OFFSET_MASK | Q2_ENTRY_COPIED); /* it reads as zeros: the place is given up, not the content */
    return QCBMI_MEND_SAME;
}

static enum qcbmi_mend mend_plain(const struct qcbmi_mend_rules *rules, uint64_t guest, uint64_t *raw, uint64_t *word)
{
    const struct q2_geometry *g = rules->g;
    enum qcbmi_mend how = QCBMI_MEND_NONE, more = QCBMI_MEND_NONE;
    struct q2_l2_entry e;

    if (*raw & Q2_L2_RESERVED) {
        *raw &= ~Q2_L2_RESERVED;
        how = QCBMI_MEND_SAME;
    }
    if (g->version == 2 && *raw & Q2_L2_ZERO) {
        *raw &= ~Q2_L2_ZERO;
        how = QCBMI_MEND_FOUND;
    }
    if (g->extended_l2)
        more = mend_subclusters(rules, *raw, word);
    how = more > how ? more : how;
    q2_l2_entry_parse(*raw, *word, guest, g, &e);
    if (e.kind == Q2_NORMAL || e.kind == Q2_ZERO_ALLOC)
        more = mend_offset(rules, guest, raw, word);
    return more > how ? more : how;
}

enum qcbmi_mend qcbmi_mend_l2(const struct qcbmi_mend_rules *rules, uint64_t guest, bool give_up, uint64_t *raw,
                              uint64_t *word)
{
    uint64_t was_raw = *raw, was_word = *word;
    enum qcbmi_mend how;

    if ((*raw | *word) == 0)
        return QCBMI_MEND_NONE;
    if (give_up)
        how = lose(rules, guest, raw, word);
    else if (*raw & Q2_L2_COMPRESSED)
        how = mend_compressed(rules, guest, raw, word);
    else
        how = mend_plain(rules, guest, raw, word);
    if (how == QCBMI_MEND_LEFT) {
        *raw = was_raw;
        *word = was_word;
    }
    return how;
}

enum qcbmi_mend qcbmi_mend_l1(const struct qcbmi_mend_rules *rules, bool give_up, uint64_t *raw)
{
    uint64_t off = *raw & Q2_ENTRY_OFFSET_MASK, down = align_down(off, rules->g->cluster_size), was = *raw;

    if (was == 0)
        return QCBMI_MEND_NONE;
    *raw &= ~Q2_L1_RESERVED;
    if (off == 0) { /* QEMU reads "no table", and counts one in the header */
        *raw = 0;
        return QCBMI_MEND_SAME;
    }
    if (!give_up && off == down && off < rules->file_len)
        return *raw == was ? QCBMI_MEND_NONE : QCBMI_MEND_SAME;
    if (!give_up && off != down && rules->is_own(rules->opaque, down)) {
        *raw = (*raw & ~Q2_ENTRY_OFFSET_MASK) | down;
        return QCBMI_MEND_FOUND;
    }
    *raw = rules->keep ? was : 0;
    return rules->keep ? QCBMI_MEND_LEFT : QCBMI_MEND_LOST;
}
