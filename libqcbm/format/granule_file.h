/* granule_file.h - what qcbm's own files about the granules of a disk share: a text behind the header, records of
 * granules
 * SPDX-License-Identifier: MIT */
#ifndef GRANULE_FILE_H
#define GRANULE_FILE_H

#include <stddef.h>

#include "format/q2_limits.h"
#include "qcbm.h"

/* The text that ends a header, with zeros up to a multiple of 8: @room bytes at @offset of the file, of which @len are
 * text. @file and @text are what messages call them. Returns 0 or QCBM_E_CORRUPT. */
struct granule_text {
    const char *file, *text;
    uint64_t offset, len, room;
};
int qcbmi_granule_text_check(const uint8_t *bytes, const struct granule_text *text, struct qcbm_error *err);

#define GRANULE_RECORD 16u
#define GRANULE_END 0u /* the last record of each file; other kinds are the file's */

struct granule_record {
    uint32_t kind;
    uint64_t granules;
};

/* Kinds go up to @last_kind. A record may not go past @left granules, and the end not leave any. Returns 0 or
 * QCBM_E_CORRUPT, with @offset, where the record lies in the file, as the place. */
int qcbmi_granule_record_parse(const uint8_t *bytes, const char *file, uint32_t last_kind, uint64_t left,
                               uint64_t offset, struct granule_record *out, struct qcbm_error *err);
void qcbmi_granule_record_store(uint8_t *to, uint32_t kind, uint64_t granules);

#endif
