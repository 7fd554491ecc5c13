/* repair_rebuild.c - refcount table and blocks written anew
 * SPDX-License-Identifier: MIT
 *
 * The new ones lie behind the end of the file, where no damaged refcount and no lost pointer can have anything, and are
 * durable before the header names them. The old ones stay as they are, free from the switch on; where bitmaps are
 * written before it (repair_order.c) they count as used, and leak. */
#include "repair/repair_rebuild.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/checked.h"
#include "format/q2_refcount.h"
#include "repair/repair_look.h"

#define MAX_ENTRIES (Q2_MAX_REFTABLE_BYTES / 8)
#define MAX_BYTES (UINT64_C(1) << 30) /* of blocks in memory */

struct rebuild {
    struct check *c;
    uint8_t **blocks; /* by their index in the table; NULL: all refcounts are 0 */
    uint64_t n_blocks, n_entries;
    bool keeps_old;
    uint64_t start, n_table; /* clusters: where the new ones begin, blocks first; of the table */
};

static uint8_t *block_of(struct rebuild *b, uint64_t cluster)
{
    const struct q2_geometry *g = b->c->g;
    uint64_t index = cluster / g->refblock_entries;

    if (index >= MAX_ENTRIES || (b->n_blocks + 1) * g->cluster_size > MAX_BYTES) {
        qcbmi_fail(b->c->err, QCBM_E_LIMIT, QCBM_NO_OFFSET, "the refcounts of so large a file cannot be written anew");
        return NULL;
    }
    if (b->blocks[index])
        return b->blocks[index];
    b->blocks[index] = qcbmi_alloc_array(g->cluster_size, 1, b->c->err);
    b->n_blocks += b->blocks[index] != NULL;
    b->n_entries = u64_max(b->n_entries, index + 1);
    return b->blocks[index];
}

static int raise_to(struct rebuild *b, uint64_t cluster, uint64_t value)
{
    const struct q2_geometry *g = b->c->g;
    uint8_t *block = block_of(b, cluster);
    uint64_t i = cluster % g->refblock_entries;

    if (!block)
        return b->c->err && b->c->err->code == QCBM_E_LIMIT ? QCBM_E_LIMIT : QCBM_E_NOMEM;
    if (value > q2_refcount_get(block, i, g->refcount_order))
        q2_refcount_set(block, i, g->refcount_order, value);
    return 0;
}

/* What only the old structures had is free. */
static void set_to(struct rebuild *b, uint64_t cluster, uint64_t value)
{
    const struct q2_geometry *g = b->c->g;
    uint64_t index = cluster / g->refblock_entries;

    if (index < MAX_ENTRIES && b->blocks[index])
        q2_refcount_set(b->blocks[index], cluster % g->refblock_entries, g->refcount_order, value);
}

static int take_counts(struct rebuild *b, const struct qcbmi_counts *from, const struct qcbmi_counts *none)
{
    const struct check *c = b->c;
    uint64_t end = u64_min(c->hi, c->n_clusters);
    int ret = 0;

    for (uint64_t k = c->lo; ret == 0; k++) {
        k = qcbmi_counts_next_difference(from, none, k, end);
        if (k >= end)
            break;
        ret = raise_to(b, k, qcbmi_counts_get(from, k));
    }
    return ret;
}

static int leave_out(struct rebuild *b, uint64_t cluster)
{
    const struct check *c = b->c;

    if (cluster < c->lo || cluster >= u64_min(c->hi, c->n_clusters))
        return 0;
    if (b->keeps_old)
        return raise_to(b, cluster, 1);
    set_to(b, cluster, qcbmi_counts_get(&c->refs, cluster));
    return 0;
}

static int leave_out_old(struct rebuild *b)
{
    const struct check *c = b->c;
    uint64_t first = c->img->h.reftable_offset >> c->g->cluster_bits;
    uint64_t n = div_up(8 * c->disk.n_table, c->g->cluster_size);
    int ret = 0;

    for (uint64_t i = 0; ret == 0 && i < c->disk.n_table; i++)
        if (c->disk.table[i] && is_aligned(c->disk.table[i], c->g->cluster_size))
            ret = leave_out(b, c->disk.table[i] >> c->g->cluster_bits);
    for (uint64_t i = 0; ret == 0 && i < n; i++)
        ret = leave_out(b, first + i);
    return ret;
}

static int rebuild_pass(struct check *c, void *counted_for)
{
    struct rebuild *b = counted_for;
    struct qcbmi_counts none;
    int ret = qcbmi_counts_init(&none, c->lo, c->hi, c->err);

    b->c = c;
    if (ret == 0)
        ret = take_counts(b, &c->refs, &none);
    if (ret == 0)
        ret = take_counts(b, &c->stored, &none);
    if (ret == 0)
        ret = leave_out_old(b);
    qcbmi_counts_free(&none);
    return ret;
}

/* The new structures are counted in themselves, which may take another block. */
static int place(struct rebuild *b)
{
    const struct q2_geometry *g = b->c->g;
    uint64_t counted = 0, total;
    int ret = 0;

    b->start = u64_max(b->c->n_clusters, div_up(b->c->img->io.size, g->cluster_size));
    do {
        b->n_table = u64_max(div_up(8 * b->n_entries, g->cluster_size), 1);
        total = b->n_blocks + b->n_table;
        for (; ret == 0 && counted < total; counted++)
            ret = raise_to(b, b->start + counted, 1);
    } while (ret == 0 && b->n_blocks + u64_max(div_up(8 * b->n_entries, g->cluster_size), 1) > total);
    return ret;
}

static int emit(struct rebuild *b, struct qcbmi_plan *plan, struct qcbm_error *err)
{
    const struct q2_geometry *g = b->c->g;
    uint8_t *table = qcbmi_alloc_array(b->n_table, g->cluster_size, err), field[12];
    uint64_t at = b->start, table_at = (b->start + b->n_blocks) << g->cluster_bits;
    int ret = table ? qcbmi_plan_stage(plan, "prepare", false, err) : QCBM_E_NOMEM;

    for (uint64_t i = 0; ret == 0 && i < b->n_entries; i++) {
        if (!b->blocks[i])
            continue;
        be64_store(table + 8 * i, at << g->cluster_bits);
        ret =
            qcbmi_plan_write_owned(plan, "refcount block", at++ << g->cluster_bits, b->blocks[i], g->cluster_size, err);
        b->blocks[i] = NULL;
    }
    if (ret < 0) {
        free(table);
        return ret;
    }
    ret = qcbmi_plan_write_owned(plan, "refcount table", table_at, table, b->n_table << g->cluster_bits, err);
    if (ret == 0)
        ret = qcbmi_plan_stage(plan, "switch", true, err);
    be64_store(field, table_at);
    be32_store(field + 8, (uint32_t)b->n_table);
    plan->clusters_allocated = b->n_blocks + b->n_table;
    plan->end = (b->start + b->n_blocks + b->n_table) << g->cluster_bits;
    return ret < 0
               ? ret
               : qcbmi_plan_write(plan, "header: refcount table", Q2_OFF_REFTABLE_OFFSET, field, sizeof(field), err);
}

static int tell(struct qcbmi_repair *r, const struct rebuild *b, struct qcbm_error *err)
{
    uint64_t off = b->start << r->work->image->g.cluster_bits;
    char done[160];

    snprintf(done, sizeof(done),
             "refcounts written anew from all that refers to clusters: %" PRIu64 " blocks and a table at 0x%" PRIx64,
             b->n_blocks, off);
    return qcbmi_repair_tell_done(r, "refcounts-rebuilt", off, done, err);
}

int qcbmi_repair_rebuild(struct qcbmi_repair *r, struct qcbm_error *err)
{
    struct rebuild b = { .blocks = qcbmi_alloc_array(MAX_ENTRIES, sizeof(b.blocks[0]), err),
                         .keeps_old = r->bitmaps_first };
    struct qcbmi_plan plan = { 0 };
    struct check c;
    int ret;

    if (!b.blocks)
        return QCBM_E_NOMEM;
    ret = qcbmi_repair_look(r, &c, QCBMI_LOOK_NO_REFCOUNTS, rebuild_pass, &b, err);
    b.c = &c;
    if (ret == 0)
        ret = place(&b);
    if (ret == 0)
        ret = emit(&b, &plan, err);
    if (ret == 0)
        ret = tell(r, &b, err);
    if (ret == 0)
        ret = qcbmi_repair_commit(r, &plan, err);
    qcbmi_check_free(&c);
    qcbmi_plan_free(&plan);
    for (uint64_t i = 0; i < MAX_ENTRIES; i++)
        free(b.blocks[i]);
    free(b.blocks);
    return ret;
}
