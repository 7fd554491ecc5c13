/* q2_header.h - the header, versions 2 and 3 (spec, "Header"; format limits of QEMU)
 * SPDX-License-Identifier: MIT */
#ifndef Q2_HEADER_H
#define Q2_HEADER_H

#include "qcbm.h"

#define Q2_INCOMPAT_KNOWN UINT64_C(0x1f)
#define Q2_COMPAT_KNOWN UINT64_C(0x1)
#define Q2_AUTOCLEAR_KNOWN UINT64_C(0x3)

/* Where single fields lie, for the writes that change them alone. */
#define Q2_HEADER_OFF_BACKING_OFFSET 8u
#define Q2_HEADER_OFF_REFTABLE 48u /* u64 offset and u32 clusters: switched by one write of 12 bytes */
#define Q2_HEADER_OFF_AUTOCLEAR 88u
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

/* Parse and check all that the header alone can tell (1, 1.1, 1.3, 2 and 9 of the format notes). @bytes are the first
 * @len bytes of the file; a file shorter than the header is QCBM_E_CORRUPT. Unknown incompatible bits pass here: the
 * caller names them from the feature table. reftable_clusters 0 passes (check can work on it).
 * Returns 0, QCBM_E_NOT_QCOW2, QCBM_E_UNSUPPORTED (version, encryption, compression), QCBM_E_CORRUPT, QCBM_E_LIMIT. */
int q2_header_parse(const uint8_t *bytes, size_t len, struct q2_header *out, struct qcbm_error *err);

/* The fields back into @to (Q2_V2_HEADER_LENGTH bytes, or Q2_V3_MIN_HEADER_LENGTH, plus 8 if header_length is above
 * 104). Round trip of what q2_header_parse() accepts. Returns the number of bytes. */
size_t q2_header_store(uint8_t *to, const struct q2_header *h);

#endif
