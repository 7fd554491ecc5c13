/* json_write.h - a small JSON writer that streams, laid out as qemu-img lays it out
 * SPDX-License-Identifier: MIT
 */
#ifndef QCBM_TOOL_JSON_WRITE_H
#define QCBM_TOOL_JSON_WRITE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct json_writer {
    FILE *out;
    unsigned depth;  /* of open objects and arrays, at most 64 */
    uint64_t filled; /* bit per depth: something was written there */
};

#define JSON_WRITER_INIT(stream)                                                                                       \
    {                                                                                                                  \
        (stream), 0, 0                                                                                                 \
    }

/* @key names the member of an object; NULL inside an array and at the top. Write errors stay in the FILE. */
void json_begin_object(struct json_writer *w, const char *key);
void json_end_object(struct json_writer *w);
void json_begin_array(struct json_writer *w, const char *key);
void json_end_array(struct json_writer *w);

void json_string(struct json_writer *w, const char *key, const char *value);
/* Any bytes: control and non-ASCII characters become \uXXXX, what is no UTF-8 becomes U+FFFD. */
void json_bytes(struct json_writer *w, const char *key, const char *value, size_t len);
void json_hex(struct json_writer *w, const char *key, const uint8_t *value, size_t len);
void json_u64(struct json_writer *w, const char *key, uint64_t value);
void json_fixed(struct json_writer *w, const char *key, double value, int digits);
void json_bool(struct json_writer *w, const char *key, bool value);
void json_null(struct json_writer *w, const char *key);

/* The newline after the outermost value. */
void json_finish(struct json_writer *w);

#endif
