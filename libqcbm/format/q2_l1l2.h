/* q2_l1l2.h - L1 entries, L2 entries with and without subclusters, compressed descriptors
 * SPDX-License-Identifier: MIT */
#ifndef Q2_L1L2_H
#define Q2_L1L2_H

#include "format/q2_geometry.h"

#define Q2_ENTRY_OFFSET_MASK UINT64_C(0x00fffffffffffe00)
#define Q2_ENTRY_COPIED (UINT64_C(1) << 63)
#define Q2_L1_RESERVED UINT64_C(0x7f000000000001ff)
#define Q2_L2_COMPRESSED (UINT64_C(1) << 62)
#define Q2_L2_ZERO UINT64_C(1)
#define Q2_L2_RESERVED UINT64_C(0x3f000000000001fe)

#define Q2_SUBCLUSTERS_ALL_DATA UINT64_C(0x00000000ffffffff) /* all allocated, none reads as zeros */

struct q2_l1_entry {
    uint64_t l2_offset; /* 0 = none */
    bool copied;
    bool reserved;  /* a reserved bit is set */
    bool unaligned; /* offset is not a multiple of the cluster size */
};
void q2_l1_entry_parse(uint64_t raw, const struct q2_geometry *g, struct q2_l1_entry *out);
/* The rule that the entry breaks, as half a sentence, or NULL. */
const char *q2_l1_defect_text(const struct q2_l1_entry *e);

enum q2_kind {
    Q2_UNALLOCATED,       /* reads through to the backing file; no host cluster */
    Q2_UNALLOCATED_ALLOC, /* extended L2: a host cluster, but this subcluster reads through */
    Q2_NORMAL,
    Q2_ZERO_PLAIN,
    Q2_ZERO_ALLOC,
    Q2_COMPRESSED,
    Q2_INVALID /* subcluster both allocated and zero, alloc bit without a cluster */
};

enum q2_l2_defect {                                 /* bits */
                    Q2_DEFECT_RESERVED = 1u << 0,   /* reserved bits */
                    Q2_DEFECT_UNALIGNED = 1u << 1,  /* host offset inside a cluster */
                    Q2_DEFECT_COPIED = 1u << 2,     /* COPIED on a compressed entry */
                    Q2_DEFECT_SUBCLUSTER = 1u << 3, /* impossible subcluster word */
                    Q2_DEFECT_V2_ZERO = 1u << 4,    /* zero flag in a version 2 image */
                    Q2_DEFECT_DATA_OFFSET = 1u << 5 /* data file: host offset is not the guest offset (needs @guest) */
};

struct q2_l2_entry {
    enum q2_kind
        kind; /* of the whole cluster; with extended L2 of the cluster part: UNALLOCATED, NORMAL or COMPRESSED */
    bool copied;
    uint64_t host_offset; /* of the cluster, or of the compressed bytes; valid for NORMAL, ZERO_ALLOC, COMPRESSED */
    uint64_t host_len;    /* bytes at host_offset: cluster size, or the compressed length; 0 if no host cluster */
    uint32_t sub_alloc, sub_zero; /* extended L2: bit i = subcluster i */
    unsigned defects;             /* enum q2_l2_defect; unsound entries keep the best reading of the rest */
};

/* @raw and @sub_word in native order (sub_word 0 without extended L2); @guest is the guest offset of the cluster. */
void q2_l2_entry_parse(uint64_t raw, uint64_t sub_word, uint64_t guest, const struct q2_geometry *g,
                       struct q2_l2_entry *out);

/* The first of @defects, worst first, as half a sentence; NULL if there is none. */
const char *q2_l2_defect_text(unsigned defects);

/* Kind of subcluster @i (0..31) of an extended entry; the kind of the cluster otherwise. */
enum q2_kind q2_subcluster_kind(const struct q2_l2_entry *e, const struct q2_geometry *g, unsigned i);

/* Allocated in this layer, hence dirty against the backing: data, both zero kinds, compressed; INVALID counts too. */
static inline bool q2_kind_is_allocated(enum q2_kind k)
{
    return k != Q2_UNALLOCATED && k != Q2_UNALLOCATED_ALLOC;
}

/* Bit i set = subcluster i is allocated in this layer (all 32 or none without extended L2; invalid words: all). */
uint32_t q2_l2_entry_allocated_mask(const struct q2_l2_entry *e, const struct q2_geometry *g);

#endif
