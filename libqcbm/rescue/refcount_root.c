/* refcount_root.c - the refcount table of a file without a header, which tells the cluster size as well
 * SPDX-License-Identifier: MIT
 *
 * A refcount table knows itself: its first block says that the first cluster, the table and the block have one
 * reference each. QEMU puts it into the second cluster, so that is looked at first, for each size of clusters; it moves
 * when it grows, and then one pass over the file finds it. Of several the one whose last cluster in use lies nearest to
 * the end of the file is taken: with clusters taken too small it ends early, too large it ends behind the file. */
#include "rescue/refcount_root.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/checked.h"
#include "format/q2_limits.h"
#include "format/q2_refcount.h"

#define PIECE (UINT64_C(1) << 20)
#define MAX_TRIES 65536u /* of places in the pass */

struct hunt {
    struct qcbmi_holes *holes;
    uint64_t size;   /* of the file */
    unsigned only;   /* cluster bits, or 0 */
    uint8_t *buf;    /* a cluster */
    uint64_t budget; /* bytes of tables that are still read: places that look like one may lie anywhere */
    struct qcbmi_refcount_root best;
    uint64_t best_score; /* of 1024; 0: none */
    struct qcbm_error *err;
};

static bool is_place(const struct hunt *h, uint64_t off, unsigned cb)
{
    return off && (off & ((UINT64_C(1) << cb) - 1)) == 0 && off < h->size;
}

/* The refcount of @cluster in the block at @off. */
static int get(struct hunt *h, uint64_t off, uint64_t index, unsigned order, uint64_t *value)
{
    uint8_t bytes[8] = { 0 };
    uint64_t bit = index << order;
    int ret = qcbmi_holes_read(h->holes, off + bit / 64 * 8, bytes, 8, NULL, "refcount block", h->err);

    *value = ret == 0 ? q2_refcount_get(bytes, index & ((UINT64_C(64) >> order) - 1), order) : 0;
    return ret;
}

/* The width by which the first block at @block counts the first cluster, the table and itself once each; 7: none. */
static int find_order(struct hunt *h, uint64_t table, uint64_t block, unsigned cb, unsigned *out)
{
    const uint64_t clusters[] = { 0, table >> cb, block >> cb };
    int ret = 0;

    for (*out = 0; ret == 0 && *out <= Q2_MAX_REFCOUNT_ORDER; ++*out) {
        uint64_t per = (UINT64_C(8) << cb) >> *out, value = 1;

        for (unsigned i = 0; ret == 0 && value == 1 && i < 3; i++)
            if (clusters[i] < per)
                ret = get(h, block, clusters[i], *out, &value);
        if (ret == 0 && value == 1)
            return 0;
    }
    return ret;
}

/* How many clusters from @table on are entries of a refcount table and nothing else, and where the last block is. */
static int measure_table(struct hunt *h, uint64_t table, unsigned cb, uint32_t *clusters, uint64_t *last_index,
                         uint64_t *last_block)
{
    uint64_t cs = UINT64_C(1) << cb;
    int ret = 0;

    *clusters = 0;
    for (uint64_t at = table; at < h->size && at - table < Q2_MAX_REFTABLE_BYTES; at += cs) {
        bool entries = true, zeros = true;

        if (h->budget < 2 * cs)
            return 0;
        h->budget -= 2 * cs; /* the last block is read, too */
        ret = qcbmi_holes_read(h->holes, at, h->buf, cs, NULL, "refcount table", h->err);
        for (uint64_t i = 0; ret == 0 && entries && i < cs; i += 8) {
            uint64_t raw = be64_load(h->buf + i);

            entries = raw == 0 || is_place(h, raw, cb);
            zeros &= raw == 0;
            if (raw && entries) {
                *last_index = (at - table + i) / 8;
                *last_block = raw;
            }
        }
        if (ret < 0 || !entries || zeros)
            return ret;
        ++*clusters;
    }
    return ret;
}

/* One more than the last cluster with a refcount in the last block. */
static int find_end(struct hunt *h, uint64_t last_index, uint64_t last_block, unsigned cb, unsigned order,
                    uint64_t *end)
{
    uint64_t per = (UINT64_C(8) << cb) >> order;
    int ret = qcbmi_holes_read(h->holes, last_block, h->buf, UINT64_C(1) << cb, NULL, "refcount block", h->err);

    *end = last_index * per;
    for (uint64_t i = per; ret == 0 && i-- > 0;)
        if (q2_refcount_get(h->buf, i, order)) {
            *end += i + 1;
            break;
        }
    return ret;
}

static int try_at(struct hunt *h, uint64_t table, uint64_t block, unsigned cb)
{
    struct qcbmi_refcount_root root = { .cluster_bits = cb, .offset = table };
    uint64_t last_index = 0, last_block = 0, end = 0, clusters = div_up(h->size, UINT64_C(1) << cb), score;
    int ret;

    if (!is_place(h, table, cb) || !is_place(h, block, cb) || table == block)
        return 0;
    ret = find_order(h, table, block, cb, &root.order);
    if (ret < 0 || root.order > Q2_MAX_REFCOUNT_ORDER)
        return ret;
    ret = measure_table(h, table, cb, &root.clusters, &last_index, &last_block);
    if (ret == 0 && root.clusters)
        ret = find_end(h, last_index, last_block, cb, root.order, &end);
    if (ret < 0 || root.clusters == 0 || end > clusters)
        return ret;
    score = end * 1024 / clusters;
    if (score > h->best_score) {
        h->best = root;
        h->best_score = score;
    }
    return 0;
}

static int try_sizes(struct hunt *h, uint64_t table, uint64_t block)
{
    int ret = 0;

    for (unsigned cb = Q2_MIN_CLUSTER_BITS; ret == 0 && cb <= Q2_MAX_CLUSTER_BITS; cb++)
        if (!h->only || h->only == cb)
            ret = try_at(h, table, block, cb);
    return ret;
}

static int look_in_second_cluster(struct hunt *h)
{
    int ret = 0;

    for (unsigned cb = Q2_MIN_CLUSTER_BITS; ret == 0 && cb <= Q2_MAX_CLUSTER_BITS; cb++) {
        uint8_t first[8] = { 0 };

        ret = qcbmi_holes_read(h->holes, UINT64_C(1) << cb, first, 8, NULL, "refcount table", h->err);
        if (ret == 0 && (!h->only || h->only == cb))
            ret = try_at(h, UINT64_C(1) << cb, be64_load(first), cb);
    }
    return ret;
}

static int look_everywhere(struct hunt *h)
{
    uint8_t *piece = qcbmi_alloc_array(PIECE, 1, h->err);
    unsigned tries = 0;
    int ret = piece ? 0 : QCBM_E_NOMEM;

    for (uint64_t at = 0; ret == 0 && at < h->size; at += PIECE) {
        uint64_t n = u64_min(PIECE, h->size - at);
        bool zeros;

        ret = qcbmi_holes_read(h->holes, at, piece, n, &zeros, "clusters", h->err);
        for (uint64_t i = 0; ret == 0 && !zeros && i + 8 <= n; i += Q2_SECTOR) {
            uint64_t raw = be64_load(piece + i);

            if (is_place(h, raw, Q2_MIN_CLUSTER_BITS) && tries++ < MAX_TRIES)
                ret = try_sizes(h, at + i, raw);
        }
    }
    free(piece);
    return ret;
}

#define GOOD_SCORE 512u

int qcbmi_find_refcount_root(struct qcbmi_holes *holes, unsigned cluster_bits, struct qcbmi_refcount_root *out,
                             bool *found, struct qcbm_error *err)
{
    struct hunt h = { .holes = holes, .size = holes->io->size, .only = cluster_bits, .err = err };
    int ret;

    h.budget = 4 * h.size + (UINT64_C(64) << 20);
    h.buf = qcbmi_alloc_array(UINT64_C(1) << Q2_MAX_CLUSTER_BITS, 1, err);
    ret = h.buf ? look_in_second_cluster(&h) : QCBM_E_NOMEM;
    if (ret == 0 && h.best_score < GOOD_SCORE)
        ret = look_everywhere(&h);
    *out = h.best;
    *found = h.best_score > 0;
    free(h.buf);
    return ret;
}
