/* map_text.h - the lines of the map of a raw+map delta (docs/delta-format.md)
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_MAP_TEXT_H
#define QCBMI_MAP_TEXT_H

#include "delta/delta.h"

#define QCBMI_MAP_LINE 256u /* bytes at most, with the newline, and a NUL */

enum qcbmi_map_kind { QCBMI_MAP_HEAD, QCBMI_MAP_RECORD, QCBMI_MAP_END };

struct qcbmi_map_line {
    enum qcbmi_map_kind kind;
    uint64_t size;                    /* of HEAD: of the disk */
    struct qcbmi_delta_record record; /* of RECORD */
    uint64_t n_records;               /* of END */
    uint8_t digest[QCBMI_DIGEST_BYTES];
};

/* Each returns the length, the newline in it. @line has QCBMI_MAP_LINE bytes. */
size_t qcbmi_map_head_text(char *line, uint64_t size);
size_t qcbmi_map_record_text(char *line, const struct qcbmi_delta_record *r);
size_t qcbmi_map_end_text(char *line, uint64_t n_records, const uint8_t digest[QCBMI_DIGEST_BYTES]);

/* A line without its newline. */
bool qcbmi_map_line_parse(const char *line, size_t len, struct qcbmi_map_line *out);
/* Do these bytes begin as a map does? */
bool qcbmi_map_is_one(const char *bytes, size_t len);

#endif
