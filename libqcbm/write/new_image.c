/* new_image.c - metadata of an image that is written from scratch: places behind the data, refcounts, the header at
 * last
 * SPDX-License-Identifier: MIT */
#include "write/new_image.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/checked.h"
#include "base/error.h"
#include "format/q2_limits.h"
#include "format/q2_refcount.h"

#define HEADER_LENGTH 112u /* as QEMU writes it, with the compression type */

uint64_t qcbmi_new_place(struct qcbmi_new_image *n, uint64_t bytes)
{
    uint64_t at = n->next << n->g->cluster_bits;

    n->next += div_up(bytes, n->g->cluster_size);
    return at;
}

int qcbmi_new_write(struct qcbmi_new_image *n, uint64_t off, const void *bytes, uint64_t len, struct qcbm_error *err)
{
    return n->io ? qcbmi_io_write(n->io, off, bytes, len, err) : 0;
}

/* ---- refcounts ---- */

/* How much each entry must hold. */
static uint32_t order_for(const struct qcbmi_new_image *n)
{
    uint64_t max = 1;

    for (uint64_t i = qcbmi_counts_next_shared(n->counts, 0, n->first_meta); i < n->first_meta;
         i = qcbmi_counts_next_shared(n->counts, i + 1, n->first_meta))
        max = u64_max(max, qcbmi_counts_get(n->counts, i));
    return max > UINT16_MAX ? 5 : 4;
}

/* The refcount of @cluster, once all have been given out. */
static uint64_t count_of(const struct qcbmi_new_image *n, uint64_t cluster)
{
    if (cluster == 0 || (cluster >= n->first_meta && cluster < n->next))
        return 1;
    return cluster < n->first_meta ? qcbmi_counts_get(n->counts, cluster) : 0;
}

bool qcbmi_new_is_used(const struct qcbmi_new_image *n, uint64_t first, uint64_t end)
{
    end = u64_min(end, n->first_meta);
    return first < end && (qcbmi_counts_number_of_ones(n->counts, first, end) ||
                           qcbmi_counts_next_shared(n->counts, first, end) < end);
}

/* Which blocks below that of the first metadata have something in them: *@n_used of them, as bits. */
static uint8_t *list_used(const struct qcbmi_new_image *n, uint64_t per, uint64_t blocks, uint64_t *n_used,
                          struct qcbm_error *err)
{
    uint8_t *used = qcbmi_alloc_array(blocks, 1, err);

    *n_used = 0;
    for (uint64_t b = 0; used && b < blocks; b++) {
        used[b] = b == 0 || qcbmi_new_is_used(n, b * per, (b + 1) * per);
        *n_used += used[b];
    }
    return used;
}

/* Blocks @b that are needed get places in a row; the table comes behind them. */
static int write_blocks(struct qcbmi_new_image *n, uint64_t per, const uint8_t *used, uint64_t n_flags, uint64_t at,
                        uint8_t *table, uint64_t n_blocks, struct qcbm_error *err)
{
    uint8_t *block = qcbmi_alloc_array(n->g->cluster_size, 1, err);
    int ret = block ? 0 : QCBM_E_NOMEM;

    for (uint64_t b = 0; ret == 0 && b < n_blocks; b++) {
        if (b < n_flags && !used[b])
            continue;
        memset(block, 0, n->g->cluster_size);
        for (uint64_t i = 0; i < per; i++)
            q2_refcount_set(block, i, n->refcount_order, count_of(n, b * per + i));
        be64_store(table + 8 * b, at);
        ret = qcbmi_new_write(n, at, block, n->g->cluster_size, err);
        at += n->g->cluster_size;
    }
    free(block);
    return ret;
}

/* More blocks make the file longer, which may need more blocks. */
static void reckon(const struct qcbmi_new_image *n, uint64_t per, uint64_t low, uint64_t n_low_used, uint64_t *n_blocks,
                   uint64_t *own)
{
    uint64_t cs = n->g->cluster_size, before;

    *own = 0;
    do {
        before = *own;
        *n_blocks = div_up(n->next + before, per);
        *own = n_low_used + (*n_blocks - low) + div_up(8 * *n_blocks, cs);
    } while (*own != before);
}

int qcbmi_new_refcounts(struct qcbmi_new_image *n, struct qcbm_error *err)
{
    uint64_t cs = n->g->cluster_size, per, low, n_used, n_blocks, own, at;
    uint8_t *used, *table;
    int ret;

    n->refcount_order = order_for(n);
    per = cs * 8 >> n->refcount_order;
    low = n->first_meta / per;
    used = list_used(n, per, low, &n_used, err);
    if (!used)
        return QCBM_E_NOMEM;
    reckon(n, per, low, n_used, &n_blocks, &own);
    n->reftable_clusters = (uint32_t)div_up(8 * n_blocks, cs);
    if (8 * n_blocks > Q2_MAX_REFTABLE_BYTES) {
        free(used);
        return qcbmi_fail(err, QCBM_E_LIMIT, QCBM_NO_OFFSET, "the file would need a refcount table of more than 8 MiB");
    }
    at = qcbmi_new_place(n, own * cs);
    n->reftable_offset = at + (own - n->reftable_clusters) * cs;
    table = qcbmi_alloc_array(n->reftable_clusters * cs, 1, err);
    ret = table ? write_blocks(n, per, used, low, at, table, n_blocks, err) : QCBM_E_NOMEM;
    if (ret == 0)
        ret = qcbmi_new_write(n, n->reftable_offset, table, n->reftable_clusters * cs, err);
    free(table);
    free(used);
    return ret;
}

/* ---- header ---- */

/* The extensions and the end mark, behind the header. Returns where they end, or 0: no room. */
static uint64_t put_extensions(uint8_t *to, uint64_t room, const struct qcbmi_new_extension *exts, size_t n)
{
    uint64_t at = HEADER_LENGTH;

    for (size_t i = 0; i < n; i++) {
        if (exts[i].len > room || at + 16 + align_up(exts[i].len, 8) > room)
            return 0;
        be32_store(to + at, exts[i].type);
        be32_store(to + at + 4, exts[i].len);
        memcpy(to + at + 8, exts[i].data, exts[i].len);
        at += 8 + align_up(exts[i].len, 8);
    }
    return at + 8;
}

int qcbmi_new_header(struct qcbmi_new_image *n, const struct q2_header *from, const struct qcbmi_new_extension *exts,
                     size_t n_exts, const char *backing, struct qcbm_error *err)
{
    uint64_t cs = n->g->cluster_size, end, len = backing ? strlen(backing) : 0;
    uint8_t *bytes = qcbmi_alloc_array(cs, 1, err);
    struct q2_header h = *from;
    int ret;

    if (!bytes)
        return QCBM_E_NOMEM;
    end = put_extensions(bytes, cs, exts, n_exts);
    h.header_length = HEADER_LENGTH;
    h.reftable_offset = n->reftable_offset;
    h.reftable_clusters = n->reftable_clusters;
    h.refcount_order = n->refcount_order;
    h.backing_offset = len ? end : 0;
    h.backing_size = (uint32_t)len;
    if (end == 0 || end > cs || len > cs - end) {
        ret = qcbmi_fail(err, QCBM_E_NOSPACE, QCBM_NO_OFFSET, "no room for the header and its extensions in a cluster");
    } else {
        q2_header_store(bytes, &h);
        if (len)
            memcpy(bytes + end, backing, len);
        ret = qcbmi_new_write(n, 0, bytes, cs, err);
    }
    free(bytes);
    return ret;
}
