/* bitmap_file.h - qcbm's own file of one bitmap: header and records (docs/bitmap-format.md)
 * SPDX-License-Identifier: MIT */
#ifndef BITMAP_FILE_H
#define BITMAP_FILE_H

#include <stddef.h>

#include "format/granule_file.h"

#define BMF_VERSION 1u
#define BMF_FIXED 64u /* bytes of the header in front of the name */
#define BMF_MAX_HEADER (BMF_FIXED + Q2_MAX_BITMAP_NAME + 1)
#define BMF_DIGEST 16u
#define BMF_ENABLED (UINT32_C(1) << 0)
#define BMF_HAS_FINGERPRINT (UINT32_C(1) << 1)

struct bmf_header {
    uint64_t size; /* guest bytes that the bits cover: the virtual size, rounded down to 512 */
    uint32_t flags;
    uint32_t gran_bits;
    uint32_t name_len;
    uint32_t length; /* of the header, name and padding included */
    uint8_t fingerprint[BMF_DIGEST];
};

/* The first BMF_FIXED bytes. Returns 0, QCBM_E_CORRUPT, QCBM_E_UNSUPPORTED (another version). */
int qcbmi_bmf_header_parse(const uint8_t *bytes, struct bmf_header *out, struct qcbm_error *err);
/* The rest of the header: @bytes are its last h->length - BMF_FIXED bytes. */
int qcbmi_bmf_name_check(const uint8_t *bytes, const struct bmf_header *h, struct qcbm_error *err);
/* @to has room for BMF_MAX_HEADER bytes; h->length is not looked at. Returns the length. */
size_t qcbmi_bmf_header_store(uint8_t *to, const struct bmf_header *h, const char *name);

enum bmf_kind { BMF_END = GRANULE_END, BMF_CLEAN, BMF_DIRTY, BMF_BITS };
#define BMF_MAX_BITS (UINT32_C(1) << 20) /* of one record of bits: a reader needs room for 128 KiB */

/* A count is a multiple of 8 but for the last, so that records begin at whole bytes; all else as
 * qcbmi_granule_record_parse() has it. */
int qcbmi_bmf_record_parse(const uint8_t *bytes, uint64_t left, uint64_t offset, struct granule_record *out,
                           struct qcbm_error *err);

#endif
