/* q2_header.h - the header, versions 2 and 3 (spec, "Header"; format limits of QEMU)
 * SPDX-License-Identifier: MIT */
#ifndef Q2_HEADER_H
#define Q2_HEADER_H

#include "qcbm.h"

#define Q2_INCOMPAT_KNOWN UINT64_C(0x1f)
#define Q2_COMPAT_KNOWN UINT64_C(0x1)
#define Q2_AUTOCLEAR_KNOWN UINT64_C(0x3)

/* Where the fields lie. The refcount table is switched by one write: its offset, with the number of clusters behind it.
 * Version 3 begins with the incompatible features; the compression type is there if header_length reaches it. */
enum q2_header_offset {
    Q2_OFF_MAGIC = 0,
    Q2_OFF_VERSION = 4,
    Q2_OFF_BACKING_OFFSET = 8,
    Q2_OFF_BACKING_SIZE = 16,
    Q2_OFF_CLUSTER_BITS = 20,
    Q2_OFF_SIZE = 24,
    Q2_OFF_CRYPT_METHOD = 32,
    Q2_OFF_L1_ENTRIES = 36,
    Q2_OFF_L1_OFFSET = 40,
    Q2_OFF_REFTABLE_OFFSET = 48,
    Q2_OFF_REFTABLE_CLUSTERS = 56,
    Q2_OFF_N_SNAPSHOTS = 60,
    Q2_OFF_SNAPSHOTS_OFFSET = 64,
    Q2_OFF_INCOMPATIBLE = 72,
    Q2_OFF_COMPATIBLE = 80,
    Q2_OFF_AUTOCLEAR = 88,
    Q2_OFF_REFCOUNT_ORDER = 96,
    Q2_OFF_HEADER_LENGTH = 100,
    Q2_OFF_COMPRESSION_TYPE = 104
};
#define Q2_HEADER_BYTES 112u /* as much as q2_header_parse() looks at */

struct q2_header {
    uint32_t version;
    uint64_t backing_offset; /* 0 = no backing file */
    uint32_t backing_size;   /* 0 if backing_offset is 0 */
    uint32_t cluster_bits;
    uint64_t size;
    uint32_t crypt_method;
    uint32_t l1_entries;
    uint64_t l1_offset;
    uint64_t reftable_offset;
    uint32_t reftable_clusters;
    uint32_t n_snapshots;
    uint64_t snapshots_offset;
    uint64_t incompatible, compatible, autoclear;
    uint32_t refcount_order;
    uint32_t header_length;
    uint8_t compression_type;
};

#define Q2_NO_MEMBER UINT8_MAX
/* One field: parsing, storing and the dump go by this table. */
struct q2_header_field {
    const char *name;                /* in the specification's words */
    uint8_t offset, length, version; /* the first version that has it */
    uint8_t member; /* offsetof(struct q2_header), of a member of that length; Q2_NO_MEMBER for the magic */
};
extern const struct q2_header_field q2_header_fields[];
extern const unsigned q2_header_n_fields;

/* Does a header of @version and @header_length have field @f? */
bool q2_header_has_field(const struct q2_header_field *f, uint32_t version, uint32_t header_length);
/* The field's bytes, which begin at its offset in @bytes, as a number. */
uint64_t q2_header_field_load(const struct q2_header_field *f, const uint8_t *bytes);

/* The fields as stored in the first @len bytes of a file, none of them checked; 0 (or what version 2 stands for) where
 * the version, the header's length or the file have no such field. */
void q2_header_load(const uint8_t *bytes, size_t len, struct q2_header *out);

/* Parse and check all that the header alone can tell: sizes, version, feature bits, places and limits. @bytes are the
 * first @len bytes of the file; a file shorter than the header is QCBM_E_CORRUPT. Unknown incompatible bits pass here:
 * the caller names them from the feature table. reftable_clusters 0 passes (check can work on it).
 * Returns 0, QCBM_E_NOT_QCOW2, QCBM_E_UNSUPPORTED (version, encryption, compression), QCBM_E_CORRUPT, QCBM_E_LIMIT. */
int q2_header_parse(const uint8_t *bytes, size_t len, struct q2_header *out, struct qcbm_error *err);

/* The fields back into @to (Q2_V2_HEADER_LENGTH bytes, or Q2_V3_MIN_HEADER_LENGTH, plus 8 if header_length is above
 * 104). Round trip of what q2_header_parse() accepts. Returns the number of bytes. */
size_t q2_header_store(uint8_t *to, const struct q2_header *h);

#endif
