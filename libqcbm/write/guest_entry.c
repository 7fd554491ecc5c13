/* guest_entry.c - what a write of guest bytes makes of one L2 entry
 * SPDX-License-Identifier: MIT
 *
 * Bytes always go to a new cluster: the old one stays as it is until the entry has been switched, so a cut leaves one
 * of the two, and a snapshot that has the old one keeps it. */
#include "write/guest_entry.h"

static bool has_cluster(const struct q2_l2_entry *e, const struct q2_geometry *g)
{
    return e->host_len != 0 && (!g->data_file || e->kind == Q2_COMPRESSED);
}

static void finish(const struct q2_l2_entry *old, uint64_t raw, uint64_t word, bool keeps, const struct q2_geometry *g,
                   struct qcbmi_guest_entry *out)
{
    out->changes = out->needs_cluster || out->raw != raw || out->word != word;
    out->gives_up = out->changes && !keeps && has_cluster(old, g);
}

static uint64_t word_of(uint32_t alloc, uint32_t zero)
{
    return (uint64_t)zero << 32 | alloc;
}

static void write_plain(const struct q2_l2_entry *old, uint64_t raw, struct qcbmi_guest_touch touch, bool has_backing,
                        const struct q2_geometry *g, struct qcbmi_guest_entry *out)
{
    bool is_zero =
        old->kind == Q2_ZERO_PLAIN || old->kind == Q2_ZERO_ALLOC || (old->kind == Q2_UNALLOCATED && !has_backing);

    out->needs_cluster = touch.data != 0;
    out->raw = touch.data ? Q2_ENTRY_COPIED : is_zero ? raw : Q2_L2_ZERO;
    finish(old, raw, 0, false, g, out);
}

static void write_extended(const struct q2_l2_entry *old, uint64_t raw, uint64_t word, struct qcbmi_guest_touch touch,
                           bool has_backing, const struct q2_geometry *g, struct qcbmi_guest_entry *out)
{
    bool packed = old->kind == Q2_COMPRESSED, keeps;
    uint32_t alloc = packed ? UINT32_MAX : old->sub_alloc, zero = packed ? 0 : old->sub_zero;
    uint32_t written = touch.data | touch.zero;

    if (!has_backing) /* these read as zeros already */
        touch.zero &= alloc | zero;
    alloc = (alloc & ~written) | touch.data;
    zero = (zero & ~written) | touch.zero;
    out->needs_cluster = touch.data != 0 || (packed && alloc != 0);
    keeps = !out->needs_cluster && !packed && alloc != 0;
    out->raw = out->needs_cluster ? Q2_ENTRY_COPIED : keeps ? raw : 0;
    out->word = word_of(alloc, zero);
    if (!out->needs_cluster && !packed && out->word == word) /* nothing is new */
        out->raw = raw;
    finish(old, raw, word, keeps, g, out);
}

/* Clusters of a data file have their place in it; the file is written by itself. */
static void write_beside(uint64_t raw, uint64_t word, uint64_t guest, struct qcbmi_guest_touch touch,
                         const struct q2_geometry *g, struct qcbmi_guest_entry *out)
{
    uint32_t written = touch.data | touch.zero;

    out->raw = Q2_ENTRY_COPIED | guest;
    out->word = g->extended_l2 ? word_of((uint32_t)word | written, (uint32_t)(word >> 32) & ~written) : 0;
    out->changes = out->raw != raw || out->word != word;
}

void qcbmi_guest_entry_write(const struct q2_l2_entry *old, uint64_t raw, uint64_t word, uint64_t guest,
                             struct qcbmi_guest_touch touch, bool has_backing, const struct q2_geometry *g,
                             struct qcbmi_guest_entry *out)
{
    *out = (struct qcbmi_guest_entry){ 0 };
    if (g->data_file)
        write_beside(raw, word, guest, touch, g, out);
    else if (g->extended_l2)
        write_extended(old, raw, word, touch, has_backing, g, out);
    else
        write_plain(old, raw, touch, has_backing, g, out);
}

void qcbmi_guest_entry_drop(const struct q2_l2_entry *old, uint64_t raw, uint64_t word, const struct q2_geometry *g,
                            struct qcbmi_guest_entry *out)
{
    *out = (struct qcbmi_guest_entry){ 0 };
    finish(old, raw, word, false, g, out);
}
