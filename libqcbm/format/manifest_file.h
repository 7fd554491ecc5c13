/* manifest_file.h - the file of a manifest: header and records (docs/manifest-format.md)
 * SPDX-License-Identifier: MIT */
#ifndef MANIFEST_FILE_H
#define MANIFEST_FILE_H

#include <stddef.h>

#include "format/granule_file.h"

#define MNF_VERSION 1u
#define MNF_MAGIC_BYTES 8u
#define MNF_FIXED 80u /* bytes of the header in front of the text */
#define MNF_MAX_TEXT 1023u
#define MNF_MAX_HEADER (MNF_FIXED + MNF_MAX_TEXT + 1)
#define MNF_MIN_GRANULARITY_BITS 9u
#define MNF_MAX_GRANULARITY_BITS 22u /* a granule is held in memory by each thread */
#define MNF_DIGEST 16u               /* at the end of the file */
#define MNF_ID 16u
#define MNF_MAX_DIGEST 32u

struct mnf_header {
    uint64_t size; /* guest bytes: the virtual size, rounded down to 512 */
    uint32_t gran_bits;
    uint32_t kind; /* enum qcbm_digest */
    uint64_t seed; /* of XXH3 */
    int64_t time;  /* seconds since 1970; 0: not known */
    uint8_t image_id[MNF_ID];
    uint32_t text_len;
    uint32_t length; /* of the header, text and padding included */
};

bool qcbmi_mnf_is(const uint8_t magic[MNF_MAGIC_BYTES]);
/* Bytes of a digest of this kind; 0 if there is no such kind. */
size_t qcbmi_mnf_digest_bytes(uint32_t kind);

/* The first MNF_FIXED bytes. Returns 0, QCBM_E_CORRUPT, QCBM_E_UNSUPPORTED (another version, another kind of
 * digest). */
int qcbmi_mnf_header_parse(const uint8_t *bytes, struct mnf_header *out, struct qcbm_error *err);
/* The rest of the header: @bytes are its last h->length - MNF_FIXED bytes. */
int qcbmi_mnf_text_check(const uint8_t *bytes, const struct mnf_header *h, struct qcbm_error *err);
/* @to has room for MNF_MAX_HEADER bytes; h->length is not looked at. Returns the length. */
size_t qcbmi_mnf_header_store(uint8_t *to, const struct mnf_header *h, const char *text);

enum mnf_kind { MNF_END = GRANULE_END, MNF_ZEROS, MNF_DIGESTS };
#define MNF_MAX_DIGESTS (UINT64_C(1) << 16) /* of one record: a writer has room for 2 MiB */

/* What is there can be written in one way alone: zeros are not followed by zeros, nor digests by digests unless those
 * are as many as fit; @before is the record in front of it, MNF_END where there is none. All else as
 * qcbmi_granule_record_parse() has it. */
int qcbmi_mnf_record_parse(const uint8_t *bytes, uint64_t left, const struct granule_record *before, uint64_t offset,
                           struct granule_record *out, struct qcbm_error *err);

#endif
