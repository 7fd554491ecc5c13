/* dump_tables.c - structures as they lie on the disk: L1 and L2 tables, refcounts
 * SPDX-License-Identifier: MIT */
#include <stdlib.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "base/sort.h"
#include "dump/dump.h"
#include "format/q2_l1l2.h"
#include "format/q2_limits.h"
#include "format/q2_refcount.h"

#define MAX_SHARED_SHOWN 100u

/* Tables are read through windows, not by the reader of l2_read.h: they are shown in the order of the L1 table, from
 * any place on, also of images that do not open, for which there is no struct qcbmi_image. */

/* All entries of a table that name something, sorted by offset: tables that several entries name are shown once, else a
 * small file makes an endless dump. */
static int collect(struct qcbm_dump *d, uint64_t base, uint64_t n, uint64_t mask, struct qcbmi_dump_ref **refs,
                   size_t *count, struct qcbm_error *err)
{
    size_t capacity = 0;
    int ret = 0;

    *refs = NULL;
    *count = 0;
    for (uint64_t i = 0, next; ret == 0 && i < n; i = next) {
        uint64_t value;

        ret = qcbmi_dump_word(d, base, i, n, &value, &next, err);
        if (ret < 0 || (value & mask) == 0)
            continue;
        ret = qcbmi_grow_array(refs, &capacity, *count, sizeof(**refs), err);
        if (ret == 0)
            (*refs)[(*count)++] = (struct qcbmi_dump_ref){ value & mask, i };
    }
    qcbmi_sort(*refs, *count, sizeof(**refs), qcbmi_by_two_u64);
    return ret;
}

/* The first entry that names @offset. */
static uint64_t first_owner(const struct qcbmi_dump_ref *refs, size_t n, uint64_t offset)
{
    return refs[qcbmi_lower_bound_u64(refs, n, sizeof(*refs), offset)].index;
}

/* How many entries of a table of @n there are from the one of @first to that of @last. */
static void begin_walk(struct qcbm_dump *d, uint64_t first, uint64_t last, uint64_t n)
{
    uint64_t end = last < n ? last + 1 : n;

    d->progress.total = end > first ? end - first : 0;
}

static const char *table_problem(const struct qcbm_dump *d, uint64_t value, uint64_t offset, uint64_t reserved)
{
    struct q2_l1_entry e = { offset, false, value & reserved, !is_aligned(offset, d->g.cluster_size) };

    if (q2_l1_defect_text(&e))
        return q2_l1_defect_text(&e);
    return offset >= d->io.size ? "the offset lies past the end of the file" : NULL;
}

int qcbmi_dump_l1(struct qcbm_dump *d, uint64_t first, uint64_t last, struct qcbm_error *err)
{
    uint64_t n = qcbmi_dump_entries(d, d->h.l1_offset, d->h.l1_entries, Q2_MAX_L1_BYTES);
    int ret = 0;

    begin_walk(d, first / d->g.l2_span, last / d->g.l2_span, n);
    for (uint64_t i = first / d->g.l2_span, next; ret == 0 && i < n && i <= last / d->g.l2_span; i = next) {
        struct qcbm_dump_item item = { .offset = d->h.l1_offset + 8 * i, .length = 8, .name = "l1-entry", .index = i };
        uint64_t offset;

        ret = qcbmi_dump_word(d, d->h.l1_offset, i, n, &item.value, &next, err);
        if (ret == 0)
            ret = qcbmi_progress_at(&d->progress, next - first / d->g.l2_span, err);
        if (ret < 0 || item.value == 0)
            continue;
        offset = item.value & Q2_ENTRY_OFFSET_MASK;
        ret = qcbmi_dump_give(d, &item, table_problem(d, item.value, offset, Q2_L1_RESERVED), err,
                              "guest 0x%" PRIx64 ": L2 table at 0x%" PRIx64 "%s", i * d->g.l2_span, offset,
                              item.value & Q2_ENTRY_COPIED ? ", copied" : "");
    }
    if (ret == 0 && n < d->h.l1_entries) {
        struct qcbm_dump_item item = {
            .offset = Q2_OFF_L1_ENTRIES, .length = 4, .name = "l1_size", .index = QCBM_NO_OFFSET
        };

        item.value = d->h.l1_entries;
        ret = qcbmi_dump_give(d, &item, "the table passes the end of the file or QEMU's limit", err,
                              "%" PRIu64 " entries were looked at", n);
    }
    return ret;
}

/* ---- L2 ---- */

static const char *kind_name(enum q2_kind kind, bool extended)
{
    static const char *const names[] = { "unallocated", "unallocated, with a cluster", "data",
                                         "zero",        "zero, with a cluster",        "compressed",
                                         "invalid" };

    return extended && kind == Q2_NORMAL ? "cluster" : names[kind];
}

static const char *entry_problem(const struct qcbm_dump *d, const struct q2_l2_entry *e)
{
    if (e->defects)
        return q2_l2_defect_text(e->defects);
    if (e->host_len && !d->g.data_file && e->host_offset >= d->io.size)
        return "the offset lies past the end of the file";
    return NULL;
}

static int give_l2(struct qcbm_dump *d, uint64_t table, uint64_t i, uint64_t guest, const uint8_t *raw,
                   struct qcbm_error *err)
{
    struct qcbm_dump_item item = { .offset = table + i * d->g.l2_entry_size,
                                   .length = d->g.l2_entry_size,
                                   .name = "l2-entry",
                                   .index = i,
                                   .value = be64_load(raw) };
    uint64_t sub = d->g.extended_l2 ? be64_load(raw + 8) : 0;
    struct q2_l2_entry e;

    q2_l2_entry_parse(item.value, sub, guest, &d->g, &e);
    if (d->g.extended_l2)
        return qcbmi_dump_give(d, &item, entry_problem(d, &e), err,
                               "guest 0x%" PRIx64 ": %s, 0x%" PRIx64 " + %" PRIu64 ", subclusters 0x%016" PRIx64, guest,
                               kind_name(e.kind, true), e.host_offset, e.host_len, sub);
    return qcbmi_dump_give(d, &item, entry_problem(d, &e), err,
                           "guest 0x%" PRIx64 ": %s, 0x%" PRIx64 " + %" PRIu64 "%s", guest, kind_name(e.kind, false),
                           e.host_offset, e.host_len, e.copied ? ", copied" : "");
}

/* Entries of one table that map something of [@first, @last]; zeros are left out. */
static int dump_l2_table(struct qcbm_dump *d, uint64_t table, uint64_t guest, uint64_t first, uint64_t last,
                         struct qcbm_error *err)
{
    uint64_t es = d->g.l2_entry_size, cs = d->g.cluster_size;
    int ret = 0;

    for (uint64_t i = first > guest ? (first - guest) / cs : 0; ret == 0 && i < d->g.l2_entries; i++) {
        const uint8_t *raw;

        if (guest + i * cs > last)
            break;
        ret = qcbmi_window_at(&d->window2, &d->io, table + i * es, es, cs - i * es, &raw, err);
        if (ret == 0 && qcbmi_window_is_zero(&d->window2, table + i * es, cs - i * es))
            break;
        if (ret == 0 && (be64_load(raw) || (es == 16 && be64_load(raw + 8))))
            ret = give_l2(d, table, i, guest + i * cs, raw, err);
    }
    return ret;
}

static int dump_l1_entry_s_table(struct qcbm_dump *d, uint64_t index, uint64_t value, const struct qcbmi_dump_ref *refs,
                                 size_t n_refs, uint64_t first, uint64_t last, struct qcbm_error *err)
{
    uint64_t offset = value & Q2_ENTRY_OFFSET_MASK, owner = first_owner(refs, n_refs, offset);
    const char *problem = table_problem(d, value, offset, 0);
    struct qcbm_dump_item item = {
        .offset = d->h.l1_offset + 8 * index, .length = 8, .name = "l1-entry", .index = index, .value = value
    };

    if (problem)
        return qcbmi_dump_give(d, &item, problem, err, "L2 table at 0x%" PRIx64 " is not shown", offset);
    if (owner != index && index > first / d->g.l2_span) {
        if (d->n_shared++ >= MAX_SHARED_SHOWN)
            return 0;
        return qcbmi_dump_give(d, &item, "another L1 entry names the same table", err,
                               "L2 table at 0x%" PRIx64 ", see L1 entry %" PRIu64, offset, owner);
    }
    return dump_l2_table(d, offset, index * d->g.l2_span, first, last, err);
}

int qcbmi_dump_l2(struct qcbm_dump *d, uint64_t first, uint64_t last, struct qcbm_error *err)
{
    uint64_t n = qcbmi_dump_entries(d, d->h.l1_offset, d->h.l1_entries, Q2_MAX_L1_BYTES);
    struct qcbmi_dump_ref *refs;
    size_t n_refs;
    int ret = collect(d, d->h.l1_offset, n, Q2_ENTRY_OFFSET_MASK, &refs, &n_refs, err);

    begin_walk(d, first / d->g.l2_span, last / d->g.l2_span, n);
    for (uint64_t i = first / d->g.l2_span, next; ret == 0 && i < n && i <= last / d->g.l2_span; i = next) {
        uint64_t value;

        ret = qcbmi_dump_word(d, d->h.l1_offset, i, n, &value, &next, err);
        if (ret == 0 && (value & Q2_ENTRY_OFFSET_MASK))
            ret = dump_l1_entry_s_table(d, i, value, refs, n_refs, first, last, err);
        if (ret == 0)
            ret = qcbmi_progress_at(&d->progress, next - first / d->g.l2_span, err);
    }
    free(refs);
    if (ret == 0 && d->n_shared > MAX_SHARED_SHOWN) {
        struct qcbm_dump_item item = { .offset = d->h.l1_offset, .name = "shared-tables", .index = QCBM_NO_OFFSET };

        item.value = d->n_shared;
        ret =
            qcbmi_dump_give(d, &item, "other L1 entries name the same tables", err,
                            "L1 entries whose table is not shown again, the first %u of them above", MAX_SHARED_SHOWN);
    }
    return ret;
}

/* ---- refcounts ---- */

static int give_run(struct qcbm_dump *d, uint64_t block, uint64_t base, uint64_t first, uint64_t end, uint64_t value,
                    struct qcbm_error *err)
{
    uint64_t bits = d->g.refcount_bits;
    struct qcbm_dump_item item = { .offset = block + first * bits / 8,
                                   .length = div_up((end - first) * bits, 8),
                                   .name = "refcounts",
                                   .index = base + first,
                                   .value = value };

    return qcbmi_dump_give(d, &item, NULL, err, "%" PRIu64 " cluster%s from 0x%" PRIx64 " on", end - first,
                           qcbmi_s(end - first), (base + first) << d->g.cluster_bits);
}

/* Runs of equal refcounts of one block; zeros are left out. */
static int dump_block(struct qcbm_dump *d, uint64_t block, uint64_t base, uint64_t first, uint64_t last,
                      struct qcbm_error *err)
{
    uint64_t piece = u64_min(d->g.cluster_size, 4096), per_piece = piece * 8 / d->g.refcount_bits;
    uint64_t run = 0, run_value = 0, i = first > base ? first - base : 0;
    int ret = 0;

    for (; ret == 0 && i < d->g.refblock_entries && base + i <= last; i++) {
        uint64_t at = i / per_piece * piece, value;
        const uint8_t *bytes;

        ret = qcbmi_window_at(&d->window2, &d->io, block + at, piece, d->g.cluster_size - at, &bytes, err);
        if (ret < 0)
            return ret;
        if (run_value == 0 && qcbmi_window_is_zero(&d->window2, block + at, d->g.cluster_size - at))
            return 0;
        value = q2_refcount_get(bytes, i % per_piece, d->g.refcount_order);
        if (value == run_value)
            continue;
        if (run_value)
            ret = give_run(d, block, base, run, i, run_value, err);
        run = i;
        run_value = value;
    }
    return ret == 0 && run_value ? give_run(d, block, base, run, i, run_value, err) : ret;
}

static int dump_reftable_entry(struct qcbm_dump *d, uint64_t index, uint64_t value, const struct qcbmi_dump_ref *refs,
                               size_t n_refs, uint64_t first, uint64_t last, struct qcbm_error *err)
{
    uint64_t offset = value & Q2_REFTABLE_OFFSET_MASK, base = index * d->g.refblock_entries;
    const char *problem = table_problem(d, value, offset, Q2_REFTABLE_RESERVED);
    bool again = offset && first_owner(refs, n_refs, offset) != index && index > first / d->g.refblock_entries;
    struct qcbm_dump_item item = { .offset = d->h.reftable_offset + 8 * index,
                                   .length = 8,
                                   .name = "refcount-table-entry",
                                   .index = index,
                                   .value = value };
    int ret = qcbmi_dump_give(d, &item, again ? "another entry names the same block" : problem, err,
                              "block at 0x%" PRIx64 ", for clusters from 0x%" PRIx64 " on", offset,
                              base << d->g.cluster_bits);

    if (ret < 0 || again || offset == 0 || table_problem(d, 0, offset, 0))
        return ret;
    return dump_block(d, offset, base, first, last, err);
}

int qcbmi_dump_refcounts(struct qcbm_dump *d, uint64_t first, uint64_t last, struct qcbm_error *err)
{
    uint64_t n = qcbmi_dump_entries(d, d->h.reftable_offset,
                                    (uint64_t)d->h.reftable_clusters << (d->g.cluster_bits - 3), Q2_MAX_REFTABLE_BYTES);
    struct qcbmi_dump_ref *refs;
    size_t n_refs;
    int ret;

    if (d->h.refcount_order > Q2_MAX_REFCOUNT_ORDER)
        return qcbmi_fail(err, QCBM_E_CORRUPT, Q2_OFF_REFCOUNT_ORDER,
                          "refcount_order is above 6, so the width of a refcount is not known");
    first >>= d->g.cluster_bits;
    last >>= d->g.cluster_bits;
    ret = collect(d, d->h.reftable_offset, n, Q2_REFTABLE_OFFSET_MASK, &refs, &n_refs, err);
    begin_walk(d, first / d->g.refblock_entries, last / d->g.refblock_entries, n);
    for (uint64_t i = first / d->g.refblock_entries, next; ret == 0 && i < n && i <= last / d->g.refblock_entries;
         i = next) {
        uint64_t value;

        ret = qcbmi_dump_word(d, d->h.reftable_offset, i, n, &value, &next, err);
        if (ret == 0 && value)
            ret = dump_reftable_entry(d, i, value, refs, n_refs, first, last, err);
        if (ret == 0)
            ret = qcbmi_progress_at(&d->progress, next - first / d->g.refblock_entries, err);
    }
    free(refs);
    return ret;
}
