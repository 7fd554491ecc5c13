/* luks_header.h - what can be told of a LUKS image without its key
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_LUKS_HEADER_H
#define QCBMI_LUKS_HEADER_H

#include <stddef.h>
#include <stdint.h>

#include "qcbm.h"

enum { LUKS_HEADER_BYTES = 592 }; /* version 1, without key material */

/* Read @len bytes that lie at @offset of the image file. *out is written only if all of it is legal: names that QEMU
 * knows, strings that end, slots that are enabled or disabled.
 * Returns 0, QCBM_E_CORRUPT, QCBM_E_UNSUPPORTED (another version). */
int qcbmi_luks_parse(const uint8_t *bytes, size_t len, uint64_t offset, struct qcbm_luks_info *out,
                     struct qcbm_error *err);

#endif
