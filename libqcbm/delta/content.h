/* content.h - the digest over the records of a delta: the same in every form, however the records are cut
 * SPDX-License-Identifier: MIT
 *
 * What is covered by records, be it by data or by zeros, is cut at multiples of 64 KiB: the pieces are the longest runs
 * of covered bytes that do not pass one. Of each piece in ascending order there is an entry of 32 bytes: offset and
 * length, big-endian, and the XXH3-128 of its bytes. A piece of zeros alone has 16 zero bytes in place of that, and
 * pieces of zeros that follow one another without a gap are one entry. The digest is the XXH3-128 of all entries. So
 * data that is zeros and a record of zeros are the same. */
#ifndef QCBMI_CONTENT_H
#define QCBMI_CONTENT_H

#include "base/digest.h"

struct qcbmi_delta_content;

#define QCBMI_CONTENT_BLOCK (UINT64_C(64) << 10)

/* Returns 0 or QCBM_E_NOMEM. */
int qcbmi_content_begin(struct qcbmi_delta_content **out, struct qcbm_error *err);
/* In ascending order, without overlap. Zeros cost the same whatever their length. */
void qcbmi_content_zero(struct qcbmi_delta_content *c, uint64_t offset, uint64_t length);
void qcbmi_content_data(struct qcbmi_delta_content *c, uint64_t offset, uint64_t length, const uint8_t *bytes);
void qcbmi_content_end(struct qcbmi_delta_content *c, uint8_t out[QCBMI_DIGEST_BYTES]); /* call it once */
void qcbmi_content_free(struct qcbmi_delta_content *c);                                 /* NULL is fine */

#endif
