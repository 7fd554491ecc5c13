/* q2_geometry.c - numbers derived once from an accepted header
 * SPDX-License-Identifier: MIT */
#include "format/q2_geometry.h"

#include <string.h>

#include "base/checked.h"
#include "format/q2_limits.h"

#define MIN_DEFAULT_GRANULARITY 4096u
#define MAX_DEFAULT_GRANULARITY 65536u
#define SUBCLUSTERS 32u

void q2_geometry_derive(const struct q2_header *h, struct q2_geometry *out)
{
    memset(out, 0, sizeof(*out));
    out->version = h->version;
    out->cluster_bits = h->cluster_bits;
    out->cluster_size = UINT32_C(1) << h->cluster_bits;
    out->size = h->size;
    out->sector_size_down = align_down(h->size, Q2_SECTOR);
    out->extended_l2 = h->incompatible & QCBM_INCOMPAT_EXTENDED_L2;
    out->data_file = h->incompatible & QCBM_INCOMPAT_DATA_FILE;
    out->raw_data_file = out->data_file && (h->autoclear & QCBM_AUTOCLEAR_RAW_DATA_FILE);
    out->l2_entry_size = out->extended_l2 ? 16 : 8;
    out->l2_entries = out->cluster_size / out->l2_entry_size;
    out->subcluster_size = out->extended_l2 ? out->cluster_size / SUBCLUSTERS : out->cluster_size;
    out->l2_span = (uint64_t)out->cluster_size * out->l2_entries;
    out->l1_used = div_up(h->size, out->l2_span);
    out->refcount_order = h->refcount_order;
    out->refcount_bits = UINT32_C(1) << h->refcount_order;
    out->refblock_entries = (uint64_t)out->cluster_size * 8 / out->refcount_bits;
    out->compressed_offset_bits = 62 - (h->cluster_bits - 8);
}

const char *q2_geometry_guess(const struct q2_header *header, struct q2_geometry *out)
{
    struct q2_header h = *header;
    const char *why = NULL;

    if (h.cluster_bits < Q2_MIN_CLUSTER_BITS || h.cluster_bits > Q2_MAX_CLUSTER_BITS)
        why = "cluster_bits is out of range, so the size of tables is not known";
    else if ((h.incompatible & QCBM_INCOMPAT_EXTENDED_L2) && h.cluster_bits < Q2_MIN_CLUSTER_BITS_EXTL2)
        why = "extended L2 entries do not go with so small clusters";
    if (why)
        h.cluster_bits = 16;
    if (h.refcount_order > Q2_MAX_REFCOUNT_ORDER)
        h.refcount_order = 4; /* who reads refcounts looks at the header first */
    q2_geometry_derive(&h, out);
    return why;
}

uint64_t q2_default_granularity(const struct q2_geometry *g)
{
    return u64_max(MIN_DEFAULT_GRANULARITY, u64_min(g->cluster_size, MAX_DEFAULT_GRANULARITY));
}
