/* fuzz_header.c - header: what passes keeps the limits, and store of parse is identity
 * SPDX-License-Identifier: MIT */
#include <string.h>

#include "base/bytes.h"
#include "format/q2_geometry.h"
#include "format/q2_limits.h"
#include "fuzz.h"

static void check_limits(const struct q2_header *h)
{
    struct q2_geometry g;

    fuzz_require(h->cluster_bits >= 9 && h->cluster_bits <= 21, "header", "cluster_bits");
    fuzz_require(h->refcount_order <= 6, "header", "refcount_order");
    fuzz_require(h->l1_entries <= (32u << 20) / 8, "header", "L1 table above 32 MiB");
    fuzz_require((uint64_t)h->reftable_clusters << h->cluster_bits <= 8u << 20, "header", "refcount table above 8 MiB");
    fuzz_require(h->n_snapshots <= 65536, "header", "snapshots");
    fuzz_require(h->backing_size <= 1023, "header", "backing name");
    fuzz_require(h->size <= INT64_MAX && h->l1_offset <= INT64_MAX && h->reftable_offset <= INT64_MAX, "header",
                 "an offset above 2^63");
    q2_geometry_derive(h, &g);
    fuzz_require(g.l1_used <= h->l1_entries, "geometry", "more L1 entries in use than there are");
    fuzz_require(g.l2_entries * g.l2_entry_size == g.cluster_size, "geometry", "L2 entries do not fill a cluster");
    fuzz_require(g.refblock_entries * g.refcount_bits == 8 * (uint64_t)g.cluster_size, "geometry", "refcount block");
    fuzz_require(g.l1_used == 0 || (g.l1_used - 1) * g.l2_span < g.size, "geometry", "the last L1 entry maps nothing");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t stored[Q2_HEADER_BYTES], again[Q2_HEADER_BYTES];
    struct q2_header h, h2;
    struct qcbm_error err;
    size_t len;
    int ret = q2_header_parse(data, size, &h, &err);

    if (ret < 0) {
        fuzz_check_error(&err, ret);
        return 0;
    }
    check_limits(&h);
    len = q2_header_store(stored, &h);
    fuzz_require(len <= size, "store", "is longer than what was parsed");
    /* Two things are not kept: the length of a name that is not there, and padding. */
    if (h.backing_offset == 0)
        be32_store(stored + 16, be32_load(data + 16));
    if (len > 105)
        memcpy(stored + 105, data + 105, len - 105);
    fuzz_require(memcmp(stored, data, len) == 0, "store", "of parse is not identity");
    len = q2_header_store(stored, &h);
    fuzz_require(q2_header_parse(stored, len, &h2, &err) == 0, "parse", "refuses what was stored");
    fuzz_require(q2_header_store(again, &h2) == len && memcmp(stored, again, len) == 0, "store", "differs");
    return 0;
}
