/* image_builder.h - small valid qcow2 images in memory, for a test to break exactly one thing in
 * SPDX-License-Identifier: MIT
 *
 * Start one, put things in, finish it: then bytes[0 .. len) is the image, malloc'ed to exactly that length. Cluster 0
 * is the header, then come the refcount table, the first refcount block, the L1 table, and what the test puts in, in
 * that order; further refcount blocks stand at the end. Nothing here uses the library but to open the result. */
#ifndef TESTS_IMAGE_BUILDER_H
#define TESTS_IMAGE_BUILDER_H

#include "qcbm-io.h"

#define BUILD_MAX 8u /* bitmaps, snapshots, extensions */
#define BUILD_COPIED (UINT64_C(1) << 63)
#define BUILD_COMPRESSED (UINT64_C(1) << 62)
#define BUILD_ZERO UINT64_C(1)

struct build_options { /* 0 or NULL = the default in brackets */
    uint32_t version;  /* [3] */
    uint64_t size;
    uint32_t cluster_bits;  /* [9] */
    uint32_t refcount_bits; /* [16] */
    uint32_t header_length; /* [112, version 2: 72] */
    uint32_t l1_entries;    /* [as many as the size needs, at least 1] */
    bool extended_l2;
    const char *backing, *backing_format;
    uint64_t backing_at; /* [behind END] where the name stands */
    const char *data_file;
    bool raw_data_file;
    uint64_t incompatible, compatible, autoclear; /* more bits */
    bool stale_bitmaps;                           /* no autoclear bit */
    bool no_end;                                  /* no END extension */
};

struct build_extension {
    uint32_t type, len;
    uint8_t data[512];
    uint64_t offset; /* after build_finish() */
};

struct build_bitmap {
    char name[64];
    unsigned gran_bits;
    uint32_t flags, n_entries, extra_len;
    uint64_t table;
    uint64_t entry; /* of its directory entry; after build_finish() */
};

struct build_snapshot {
    char id[16], name[16];
    uint64_t l1;
    uint64_t entry; /* after build_finish() */
};

struct image_builder {
    struct build_options opt;
    uint32_t cluster_size, l2_entries, l2_entry_size;
    uint8_t *bytes;
    size_t len, room; /* of what is allocated */
    uint64_t *refs;   /* of each cluster; written by build_finish() */
    uint64_t reftable, refblock, l1;
    uint64_t directory, directory_len, snapshot_table;
    uint64_t end_ext; /* where END stands */
    struct build_extension exts[BUILD_MAX];
    struct build_bitmap bitmaps[BUILD_MAX];
    struct build_snapshot snapshots[BUILD_MAX];
    unsigned n_exts, n_bitmaps, n_snapshots;
};

void build_start(struct image_builder *b, const struct build_options *opt);
/* @n clusters of zeros with refcount 1 at the end of the file; the offset of the first. */
uint64_t build_clusters(struct image_builder *b, uint64_t n);
/* Where the L2 entry of @guest lies; its table is made if there is none. */
uint64_t build_l2_entry(struct image_builder *b, uint64_t guest);
/* Store a raw L2 entry (and its subcluster word, with extended L2). */
void build_map(struct image_builder *b, uint64_t guest, uint64_t raw, uint64_t sub_word);
/* Map @guest to a new cluster; where that lies. */
uint64_t build_data(struct image_builder *b, uint64_t guest);
/* Behind those added before. Q2_EXT_BITMAPS with @len 0 says where the bitmaps extension goes; else it is the last. */
void build_extension(struct image_builder *b, uint32_t type, const void *data, uint32_t len);
/* @entries are @n raw table entries; NULL = as many zeros as the size needs. The directory comes at the end. */
struct build_bitmap *build_bitmap(struct image_builder *b, const char *name, unsigned gran_bits, uint32_t flags,
                                  const uint64_t *entries, uint32_t n);
/* A snapshot of what is mapped now. That belongs to both, what is mapped afterwards to the image alone. */
struct build_snapshot *build_snapshot(struct image_builder *b, const char *id, const char *name);
void build_finish(struct image_builder *b);
void build_free(struct image_builder *b);

/* Change a stored refcount of the finished image. */
void build_set_refcount(struct image_builder *b, uint64_t host_off, uint64_t value);
uint64_t build_get_refcount(const struct image_builder *b, uint64_t host_off);
/* Cut or extend (with zeros) the finished image. */
void build_resize(struct image_builder *b, size_t len);

/* Open a copy of the finished image in memory. */
int build_try_open(const struct image_builder *b, unsigned flags, struct qcbm_image **out, struct qcbm_error *err);
struct qcbm_image *build_open(const struct image_builder *b, unsigned flags); /* ends the program on failure */
void build_write_file(const struct image_builder *b, const char *path);

#endif
