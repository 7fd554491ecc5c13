/* check_overwritten.c - mapping tables that something else was written over: one line instead of one or more an entry
 * SPDX-License-Identifier: MIT
 *
 * QEMU tells every entry: hundreds of thousands of lines for a few tables, none of which says which part of the disk is
 * concerned. The totals stay those of QEMU; of an overwritten table only the entries that make sense are told one by
 * one. */
#include <inttypes.h>
#include <stdio.h>

#include "base/checked.h"
#include "check/check_parts.h"

#define MIN_BAD 16u                        /* fewer are told as QEMU does */
#define SLACK (UINT64_C(1) << 40)          /* of a file beyond what its disk explains */
#define SMALL UINT64_C(0xfffcfffcfffcfffc) /* none of these bits: four refcounts of 16 bits, 3 at most */

bool qcbmi_check_is_plausible(const struct check *c, uint64_t off)
{
    uint64_t states = (uint64_t)c->snapshots.n + 2, end;

    /* Twice for what is written beside data, once more for states that are gone. */
    if (!u64_mul(c->g->size, 4 * states, &end) || !u64_add(end, c->file_len, &end) || !u64_add(end, SLACK, &end))
        return true;
    return off < end;
}

bool qcbmi_check_is_bad_l1_entry(const struct check *c, uint64_t raw)
{
    struct q2_l1_entry e;

    q2_l1_entry_parse(raw, c->g, &e);
    return e.reserved || e.unaligned || !qcbmi_check_is_plausible(c, e.l2_offset);
}

bool qcbmi_check_is_bad_l2_entry(const struct check *c, const uint8_t *bytes)
{
    struct q2_l2_entry e;

    q2_l2_entry_parse(be64_load(bytes), c->g->extended_l2 ? be64_load(bytes + 8) : 0, 0, c->g, &e);
    if (e.defects & ~(unsigned)Q2_DEFECT_DATA_OFFSET)
        return true;
    return e.host_len && !c->g->data_file && !qcbmi_check_is_plausible(c, e.host_offset);
}

void qcbmi_check_look_at(struct check_look *l, uint64_t raw, bool bad)
{
    l->used++;
    if (!bad)
        return;
    if (l->bad++ == 0)
        *l = (struct check_look){ l->used, 1, raw, true, true, true };
    l->same &= raw == l->first;
    l->small &= !(raw & SMALL);
    for (unsigned shift = 0; l->text && shift < 64; shift += 8) {
        uint8_t byte = (uint8_t)(raw >> shift);

        l->text = (byte >= ' ' && byte < 0x7f) || byte == '\n' || byte == '\t' || byte == '\r';
    }
}

bool qcbmi_check_is_overwritten(const struct check_look *l)
{
    return l->bad >= MIN_BAD && l->bad >= l->used / 2;
}

bool qcbmi_check_l2_overwritten(const struct check *c, const uint8_t *bytes, struct check_look *l)
{
    *l = (struct check_look){ 0 };
    for (uint32_t i = 0; i < c->g->l2_entries; i++) {
        const uint8_t *at = bytes + (size_t)i * c->g->l2_entry_size;

        if (be64_load(at))
            qcbmi_check_look_at(l, be64_load(at), qcbmi_check_is_bad_l2_entry(c, at));
    }
    return qcbmi_check_is_overwritten(l);
}

static const char *likeness(const struct check_look *l, char *to, size_t size)
{
    if (l->small)
        return "refcounts";
    if (l->text)
        return "text";
    if (!l->same)
        return "other data";
    snprintf(to, size, "0x%016" PRIx64 " over and over", l->first);
    return to;
}

static int tell(struct check *c, const struct qcbmi_place *at, const char *what, uint32_t state, uint64_t guest,
                uint64_t len, const struct check_look *l)
{
    char like[48], of[32] = "";

    if (state)
        snprintf(of, sizeof(of), " of snapshot %" PRIu32, state - 1);
    return qcbmi_check_problem(c, QCBM_PROBLEM_TABLE_OVERWRITTEN, 0, at,
                               "%s at 0x%" PRIx64 "%s (guest 0x%" PRIx64 " - 0x%" PRIx64 "): %" PRIu64 " of %" PRIu64
                               " entries make no sense, they look like %s",
                               what, at->offset, of, guest, guest + len, l->bad, l->used,
                               likeness(l, like, sizeof(like)));
}

int qcbmi_check_tell_l2_overwritten(struct check *c, const struct check_table *t, const struct check_look *l)
{
    struct qcbmi_place at = { t->offset, "L2 table", t->guest / c->g->l2_span, UINT32_MAX };

    return tell(c, &at, "L2 table", t->state, t->guest, c->g->l2_span, l);
}

int qcbmi_check_tell_l1_overwritten(struct check *c, uint64_t off, uint32_t state, const struct check_look *l)
{
    struct qcbmi_place at = { off, "L1 table", UINT64_MAX, UINT32_MAX };

    return tell(c, &at, state ? "L1 table" : "active L1 table", state, 0, c->g->size, l);
}
