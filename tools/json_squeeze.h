/* json_squeeze.h - a JSON value as it comes, made one line
 * SPDX-License-Identifier: MIT
 */
#ifndef QCBM_TOOL_JSON_SQUEEZE_H
#define QCBM_TOOL_JSON_SQUEEZE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { JSON_SQUEEZE_DEPTH = 64 };

/* Starts as all zeros. Is there a value, and what can follow? A string may not hold control characters, brackets have
 * to pair: whoever writes the value, what comes out is one line, and ends where the value ends. */
struct json_squeeze {
    unsigned depth;   /* of open objects and arrays */
    uint64_t objects; /* bit per depth: an object, not an array */
    bool in_string, escaped;
    bool begun, ended; /* the outermost value */
    bool wrong;
};

/* What is left of @len bytes at @from, written to @to, which has room for as many; returns how many those are. */
size_t json_squeeze(struct json_squeeze *s, const char *from, size_t len, char *to);
/* All that came is one whole object or array. */
bool json_squeeze_is_whole(const struct json_squeeze *s);

#endif
