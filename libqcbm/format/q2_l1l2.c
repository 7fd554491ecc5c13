/* q2_l1l2.c - L1 entries, L2 entries with and without subclusters, compressed descriptors
 * SPDX-License-Identifier: MIT */
#include "format/q2_l1l2.h"

#include <string.h>

#include "base/checked.h"
#include "format/q2_limits.h"

void q2_l1_entry_parse(uint64_t raw, const struct q2_geometry *g, struct q2_l1_entry *out)
{
    out->l2_offset = raw & Q2_ENTRY_OFFSET_MASK;
    out->copied = raw & Q2_ENTRY_COPIED;
    out->reserved = raw & Q2_L1_RESERVED;
    out->unaligned = !is_aligned(out->l2_offset, g->cluster_size);
}

/* Offset in the low x bits, number of additional sectors above it, up to bit 61. */
static void parse_compressed(uint64_t raw, const struct q2_geometry *g, struct q2_l2_entry *out)
{
    uint32_t x = g->compressed_offset_bits;
    uint64_t descriptor = raw & (Q2_L2_COMPRESSED - 1);
    uint64_t additional = descriptor >> x;

    out->kind = Q2_COMPRESSED;
    out->host_offset = descriptor & ((UINT64_C(1) << x) - 1);
    out->host_len = (additional + 1) * Q2_SECTOR - (out->host_offset & (Q2_SECTOR - 1));
    if (out->copied)
        out->defects |= Q2_DEFECT_COPIED;
    if (out->host_offset >= Q2_MAX_HOST_OFFSET)
        out->defects |= Q2_DEFECT_RESERVED;
    if (g->extended_l2 && (out->sub_alloc | out->sub_zero))
        out->defects |= Q2_DEFECT_SUBCLUSTER;
    /* guest clusters lie uncompressed at their own offset in a data file */
    if (g->data_file)
        out->defects |= Q2_DEFECT_DATA_OFFSET;
}

/* Kind of an entry that is not compressed; in the order in which QEMU tells them apart. */
static enum q2_kind classify(uint64_t raw, uint64_t offset, const struct q2_geometry *g)
{
    /* with subclusters bit 0 has no meaning, QEMU does not look at it */
    if (!g->extended_l2 && (raw & Q2_L2_ZERO))
        return offset ? Q2_ZERO_ALLOC : Q2_ZERO_PLAIN;
    if (offset)
        return Q2_NORMAL;
    /* guest cluster 0 lies at offset 0 of a data file: there COPIED tells it from an unallocated one */
    return g->data_file && (raw & Q2_ENTRY_COPIED) ? Q2_NORMAL : Q2_UNALLOCATED;
}

static bool subclusters_impossible(const struct q2_l2_entry *e)
{
    return e->kind == Q2_NORMAL ? (e->sub_alloc & e->sub_zero) != 0 : e->sub_alloc != 0;
}

void q2_l2_entry_parse(uint64_t raw, uint64_t sub_word, uint64_t guest, const struct q2_geometry *g,
                       struct q2_l2_entry *out)
{
    memset(out, 0, sizeof(*out));
    out->copied = raw & Q2_ENTRY_COPIED;
    if (g->extended_l2) {
        out->sub_alloc = (uint32_t)sub_word;
        out->sub_zero = (uint32_t)(sub_word >> 32);
    }
    if (raw & Q2_L2_COMPRESSED) {
        parse_compressed(raw, g, out);
        return;
    }
    out->kind = classify(raw, raw & Q2_ENTRY_OFFSET_MASK, g);
    if (raw & Q2_L2_RESERVED)
        out->defects |= Q2_DEFECT_RESERVED;
    if (g->version == 2 && (raw & Q2_L2_ZERO))
        out->defects |= Q2_DEFECT_V2_ZERO;
    if (g->extended_l2 && subclusters_impossible(out))
        out->defects |= Q2_DEFECT_SUBCLUSTER;
    if (out->kind != Q2_NORMAL && out->kind != Q2_ZERO_ALLOC)
        return;
    out->host_offset = raw & Q2_ENTRY_OFFSET_MASK;
    out->host_len = g->cluster_size;
    if (!is_aligned(out->host_offset, g->cluster_size))
        out->defects |= Q2_DEFECT_UNALIGNED;
    if (g->data_file && out->host_offset != guest)
        out->defects |= Q2_DEFECT_DATA_OFFSET;
}

const char *q2_l1_defect_text(const struct q2_l1_entry *e)
{
    if (e->reserved)
        return "reserved bits are set";
    return e->unaligned ? "the offset is not cluster-aligned" : NULL;
}

const char *q2_l2_defect_text(unsigned defects)
{
    static const struct {
        unsigned defect;
        const char *text;
    } texts[] = {
        { Q2_DEFECT_UNALIGNED, "the host offset is not cluster-aligned" },
        { Q2_DEFECT_SUBCLUSTER, "the subcluster bits are impossible" },
        { Q2_DEFECT_RESERVED, "reserved bits are set" },
        { Q2_DEFECT_COPIED, "a compressed entry must not have the copied flag" },
        { Q2_DEFECT_V2_ZERO, "zero flag in a version 2 image" },
        { Q2_DEFECT_DATA_OFFSET, "it does not fit an external data file" },
    };

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        if (defects & texts[i].defect)
            return texts[i].text;
    return NULL;
}

enum q2_kind q2_subcluster_kind(const struct q2_l2_entry *e, const struct q2_geometry *g, unsigned i)
{
    if (!g->extended_l2 || e->kind == Q2_COMPRESSED)
        return e->kind;
    /* one impossible pair of bits makes QEMU refuse the whole cluster */
    if (e->defects & Q2_DEFECT_SUBCLUSTER)
        return Q2_INVALID;
    if (e->sub_zero >> (i & 31) & 1)
        return e->kind == Q2_NORMAL ? Q2_ZERO_ALLOC : Q2_ZERO_PLAIN;
    if (e->kind != Q2_NORMAL)
        return Q2_UNALLOCATED;
    return e->sub_alloc >> (i & 31) & 1 ? Q2_NORMAL : Q2_UNALLOCATED_ALLOC;
}

uint32_t q2_l2_entry_allocated_mask(const struct q2_l2_entry *e, const struct q2_geometry *g)
{
    if (!g->extended_l2)
        return q2_kind_is_allocated(e->kind) ? UINT32_MAX : 0;
    if (e->kind == Q2_COMPRESSED || (e->defects & Q2_DEFECT_SUBCLUSTER))
        return UINT32_MAX;
    return e->sub_alloc | e->sub_zero;
}
