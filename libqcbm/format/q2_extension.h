/* q2_extension.h - the list of header extensions; unknown ones are kept verbatim
 * SPDX-License-Identifier: MIT */
#ifndef Q2_EXTENSION_H
#define Q2_EXTENSION_H

#include "format/q2_header.h"

#define Q2_EXT_END UINT32_C(0)
#define Q2_EXT_BACKING_FORMAT UINT32_C(0xe2792aca)
#define Q2_EXT_FEATURE_TABLE UINT32_C(0x6803f857)
#define Q2_EXT_BITMAPS UINT32_C(0x23852875)
#define Q2_EXT_CRYPTO UINT32_C(0x0537be77)
#define Q2_EXT_DATA_FILE UINT32_C(0x44415441)
/* Ours: who a delta is, or in which state a disk (docs/delta-format.md). */
#define Q2_EXT_IDENTITY UINT32_C(0x71634944)
/* Ours: a gap between extensions that readers skip as unknown. Left where the bitmaps extension stood in front of
 * others, or put in front of it so that its payload lies within one sector. */
#define Q2_EXT_PADDING UINT32_C(0x71634250)

/* Ours: the tag, an id of the image (docs/format-notes.md). */
#define Q2_EXT_TAG UINT32_C(0x71635447)

#define Q2_BITMAPS_EXT_LEN 24u
#define Q2_TAG_LEN 16u

struct q2_extension {
    uint32_t type;
    uint32_t len; /* of the data, without padding */
    uint32_t
        stored_len;  /* the same, but of a bitmaps extension what the image says, which QEMU refuses if it is not 24 */
    uint64_t offset; /* of the 8-byte header of the extension, in the file */
    const uint8_t *data; /* into the bytes that were parsed */
};

/* payload of the bitmaps extension */
struct q2_bitmaps_ext {
    uint32_t n_bitmaps;
    uint32_t reserved;
    uint64_t directory_size, directory_offset;
};

struct q2_extensions {
    struct q2_extension *list; /* without END, in file order */
    size_t n;
    uint64_t end_offset; /* where the END extension stands, or the limit if it is missing */
    bool has_end;
    uint64_t limit; /* end of the extension area: the backing name, or the end of the cluster */
};

/* @cluster is cluster 0 (@len bytes: as much of it as the file has; what is missing counts as zeros). Checks lengths,
 * the length of the crypto (16) and backing format (< 16) extensions. A bitmaps extension has 24 bytes whatever it
 * says: like all that is wrong with bitmaps that keeps nobody from opening the image here.
 * Returns 0, QCBM_E_CORRUPT, QCBM_E_NOMEM. */
int q2_extensions_parse(const uint8_t *cluster, size_t len, const struct q2_header *h, struct q2_extensions *out,
                        struct qcbm_error *err);
void q2_extensions_free(struct q2_extensions *exts);

/* The last one of @type (QEMU: the last instance wins), or NULL. */
const struct q2_extension *q2_extension_find(const struct q2_extensions *exts, uint32_t type);

/* An entry of the feature table; false behind the last one. */
struct q2_feature {
    unsigned kind, bit; /* kind: 0 incompatible, 1 compatible, 2 autoclear */
    char name[47];      /* what is stored, and a NUL */
};
bool q2_feature_get(const struct q2_extensions *exts, uint32_t index, struct q2_feature *out);
/* Name of feature @bit of @kind (0 incompatible, 1 compatible, 2 autoclear) from the feature table, into @to (48
 * bytes); false if it has none. */
bool q2_feature_name(const struct q2_extensions *exts, unsigned kind, unsigned bit, char to[48]);

/* The tag of the image, into @tag (may be NULL). One of another length says nothing, and neither do two that differ:
 * QEMU changes the order of extensions that it does not know, so that "the last one" is not the same one tomorrow. */
enum q2_tag { Q2_TAG_NONE, Q2_TAG_KNOWN, Q2_TAG_BAD };
enum q2_tag q2_tag_get(const struct q2_extensions *exts, uint8_t tag[Q2_TAG_LEN]);

/* What is wrong with a bad one, for people. */
#define Q2_TAG_BAD_TEXT                                                                                                \
    "the tag in the header has another length than 16 bytes, or there are several that differ: it has none"

/* Payload of 24 bytes. Parsing checks nothing: the rules belong to the directory (see q2_bitmap_dir.h). */
void q2_bitmaps_ext_parse(const uint8_t *data, struct q2_bitmaps_ext *out);
void q2_bitmaps_ext_store(uint8_t *to, const struct q2_bitmaps_ext *ext);
/* The rules of QEMU for it: count, reserved, size, alignment; @cluster_size. Returns 0 or QCBM_E_CORRUPT /
 * QCBM_E_LIMIT. */
int q2_bitmaps_ext_check(const struct q2_bitmaps_ext *ext, uint64_t payload_offset, uint32_t cluster_size,
                         struct qcbm_error *err);

#endif
