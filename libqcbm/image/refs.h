/* refs.h - everything in an image that refers to clusters of its file
 * SPDX-License-Identifier: MIT
 *
 * One list, for all who ask who uses a cluster: the writer before it takes one, the check that counts, tells and names
 * owners. What refers to clusters and is not in it is overwritten one day, so a new structure of the format comes in
 * here first. Bitmaps are known to a layer above (bitmap/bitmap_refs.h): it adds them where the list calls for them. */
#ifndef QCBMI_REFS_H
#define QCBMI_REFS_H

#include "image/image.h"
#include "image/snapshots.h"

enum qcbmi_ref_kind {
    QCBMI_REF_HEADER,
    QCBMI_REF_L1,
    QCBMI_REF_L2,
    QCBMI_REF_DATA,
    QCBMI_REF_COMPRESSED,
    QCBMI_REF_SNAPSHOTS,
    QCBMI_REF_REFTABLE,
    QCBMI_REF_LUKS,
    QCBMI_REF_BITMAP_DIRECTORY,
    QCBMI_REF_BITMAP_TABLE,
    QCBMI_REF_BITMAP_DATA,
    QCBMI_REF_REFBLOCK
};

/* Where something lies, for messages. */
struct qcbmi_place {
    uint64_t offset; /* of the bytes, or QCBM_NO_OFFSET */
    const char *table;
    uint64_t index;
    uint32_t bitmap;
};

/* Who refers. */
struct qcbmi_ref_owner {
    enum qcbmi_ref_kind kind;
    uint32_t state; /* 0 = active, i + 1 = snapshot i */
    uint64_t index; /* of an L1 entry, a bitmap, a refcount block; guest offset; UINT64_MAX: there is only one */
};

struct qcbmi_ref {
    struct qcbmi_ref_owner owner;
    uint64_t offset, len;
    uint64_t weight;    /* how many references */
    uint64_t exclusive; /* of them those that rule out any other */
    uint64_t pointer;   /* where the offset itself is stored */
    struct qcbmi_place at;
};

/* QEMU allows a last cluster that is cut short, but a byte of it must be there. It computes with signs: what is no
 * offset of a file at all would pass for one before the end, and it asks for memory up to there. Here it leads nowhere,
 * too. */
static inline bool qcbmi_leads_nowhere(uint64_t off, uint64_t len, uint64_t file_len, uint64_t cluster_size)
{
    return off > INT64_MAX || len > INT64_MAX - off || (off + len > file_len && off + len - file_len >= cluster_size);
}

/* In words, "the" in front of what there is only one of. */
const char *qcbmi_ref_name(const struct qcbmi_ref_owner *owner);

struct qcbmi_ref_sink {
    void *opaque;
    int (*ref)(void *opaque, const struct qcbmi_ref *ref);
    /* @l1 is the table of a state; what hangs below it is the matter of the sink, which knows in what order it can
     * read. */
    int (*state)(void *opaque, const struct qcbmi_ref *l1);
    int (*above)(void *opaque); /* what layers above have; NULL: nothing */
};

/* An L1 table, of the active state or of a snapshot. */
struct qcbmi_l1_table {
    uint64_t offset, entries;
    uint64_t pointer; /* where @offset is stored */
};

struct qcbmi_l1_table qcbmi_active_l1(const struct qcbmi_image *img);
/* @table: the bytes of the snapshot table that @s was parsed from. */
struct qcbmi_l1_table qcbmi_snapshot_l1(const struct qcbmi_image *img, const uint8_t *table,
                                        const struct q2_snapshot *s);

struct qcbmi_refs {
    struct qcbmi_image *img;
    const struct q2_snapshot *snapshots; /* those whose tables are to be listed */
    uint32_t n_snapshots;
    const uint8_t *snapshot_table; /* the bytes that they were parsed from */
    uint64_t snapshot_table_len;
};
struct qcbmi_refs qcbmi_loose_refs(struct qcbmi_image *img, const struct qcbmi_loose_snapshots *snapshots);

/* All but the refcount blocks, in the order in which QEMU looks at them. Anything but 0 from the sink stops. */
int qcbmi_refs_walk(const struct qcbmi_refs *refs, const struct qcbmi_ref_sink *sink);
/* Block @i of the refcount table, which lies at @off. */
struct qcbmi_ref qcbmi_ref_to_block(const struct qcbmi_image *img, uint64_t i, uint64_t off);

/* Each of the 64-bit entries of a table that is not 0, as far as the file goes; holes are not read. */
struct qcbmi_holes;
struct qcbmi_table_walk {
    struct qcbmi_image *img;
    struct qcbmi_holes *holes;
    const char *what; /* is read, for errors */
    void *opaque;
    bool (*afford)(void *opaque, uint64_t bytes); /* NULL: always */
    int (*entry)(void *opaque, uint64_t raw, uint64_t index);
};
int qcbmi_table_walk(const struct qcbmi_table_walk *w, uint64_t off, uint64_t entries, struct qcbm_error *err);

#endif
