/* rows.h - nested keys and values, printed as JSON or as the text that qemu-img makes of the same
 * SPDX-License-Identifier: MIT
 */
#ifndef QCBM_TOOL_ROWS_H
#define QCBM_TOOL_ROWS_H

#include "json_write.h"

/* In text a key stands before its value with its dashes as blanks, each level is indented by 4, and the elements of a
 * list are called "[0]", "[1]" ... */
struct rows {
    struct json_writer *json; /* NULL: text */
    FILE *out;
    unsigned depth;
    uint32_t next[8]; /* per depth: index of the next list element */
};

#define ROWS_JSON(writer)                                                                                              \
    {                                                                                                                  \
        (writer), NULL, 0,                                                                                             \
        {                                                                                                              \
            0                                                                                                          \
        }                                                                                                              \
    }
#define ROWS_TEXT(stream, levels)                                                                                      \
    {                                                                                                                  \
        NULL, (stream), (levels),                                                                                      \
        {                                                                                                              \
            0                                                                                                          \
        }                                                                                                              \
    }

/* @key is NULL for an element of a list. */
void rows_begin(struct rows *r, const char *key);
void rows_end(struct rows *r);
void rows_list_begin(struct rows *r, const char *key);
void rows_list_end(struct rows *r);
void rows_string(struct rows *r, const char *key, const char *value);
void rows_u64(struct rows *r, const char *key, uint64_t value);
/* A number that cannot be known: null, and "?" in text. */
void rows_unknown(struct rows *r, const char *key);
/* Bytes: a number, and "1 MiB (1048576 bytes)" in text; or QCBM_UNKNOWN. */
void rows_size(struct rows *r, const char *key, uint64_t bytes);
void rows_bool(struct rows *r, const char *key, bool value);

#endif
