/* fingerprint.h - what tells one disk from another across a migration
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_FINGERPRINT_H
#define QCBMI_FINGERPRINT_H

#include "base/digest.h"
#include "image/image.h"

/* The digest of size and first 64 KiB of the disk: boot code, partition table with its identifiers, often the head of a
 * file system. Any copy of the disk has them, whatever its format and layout. *@known is false where these bytes cannot
 * be had from the image file alone: in a backing or data file, compressed, encrypted, damaged.
 * Returns 0, QCBM_E_IO, QCBM_E_NOMEM. */
int qcbmi_fingerprint(struct qcbmi_image *img, bool *known, uint8_t out[QCBMI_DIGEST_BYTES], struct qcbm_error *err);
/* That which the disk had when it was @size bytes long, up to what it has now. */
int qcbmi_fingerprint_at(struct qcbmi_image *img, uint64_t size, bool *known, uint8_t out[QCBMI_DIGEST_BYTES],
                         struct qcbm_error *err);

#endif
