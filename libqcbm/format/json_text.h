/* json_text.h - JSON of a known length in memory: objects and lists member by member; text escaped
 * SPDX-License-Identifier: MIT
 *
 * Strict: no trailing commas, no leading zeros, UTF-8 alone, at most QCBMI_JSON_MAX_DEPTH values in each other. Nothing
 * is allocated. Failures are QCBM_E_CORRUPT, with the place as offset. */
#ifndef QCBMI_JSON_TEXT_H
#define QCBMI_JSON_TEXT_H

#include <stdbool.h>
#include <stddef.h>

#include "qcbm.h"

enum { QCBMI_JSON_MAX_DEPTH = 16 };

struct qcbmi_json {
    const char *text; /* borrowed; need not end with NUL */
    size_t len, at;   /* @at: of the character that comes next */
    uint64_t base;    /* of the text in its file, for messages */
    const char *what; /* what it is, for messages: "sidecar file" */
    struct qcbm_error *err;
};

enum qcbmi_json_kind {
    QCBMI_JSON_NULL,
    QCBMI_JSON_BOOL,
    QCBMI_JSON_WHOLE,  /* 0 to UINT64_MAX */
    QCBMI_JSON_NUMBER, /* any other; larger ones, too */
    QCBMI_JSON_STRING,
    QCBMI_JSON_LIST,  /* behind its bracket: qcbmi_json_next() goes on, */
    QCBMI_JSON_OBJECT /* qcbmi_json_member() goes on, or qcbmi_json_skip() passes it */
};

struct qcbmi_json_value {
    enum qcbmi_json_kind kind;
    bool truth;
    uint64_t number;
    const char *text; /* of a string: what is between the quotes, escapes and all */
    size_t text_len;
};

/* Any value. Returns 0 or fails. */
int qcbmi_json_value(struct qcbmi_json *j, struct qcbmi_json_value *out);
/* Is there another element in the list, another member in the object? @first begins as true. The value comes next.
 * Return 1, 0 behind the closing bracket, or fail. */
int qcbmi_json_next(struct qcbmi_json *j, bool *first);
int qcbmi_json_member(struct qcbmi_json *j, bool *first, struct qcbmi_json_value *name);
/* Pass what is left of a value that was taken: of a list or an object all of it. Returns 0 or fails. */
int qcbmi_json_skip(struct qcbmi_json *j, const struct qcbmi_json_value *v);
/* Nothing but white space follows. Returns 0 or fails. */
int qcbmi_json_end(struct qcbmi_json *j);
/* Fill the error: "@what: ... (character N)". Returns QCBM_E_CORRUPT. */
int qcbmi_json_fail(struct qcbmi_json *j, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Is the string @v these characters? For ASCII without escapes. */
bool qcbmi_json_is(const struct qcbmi_json_value *v, const char *text);
/* The string @v as UTF-8 with a NUL behind it. False if it has no room in @size bytes, or a NUL in it. */
bool qcbmi_json_string(const struct qcbmi_json_value *v, char *to, size_t size);

/* @text as a string of JSON in ASCII, quotes included: what is no UTF-8 becomes U+FFFD. Returns how many characters
 * that takes; they are stored if they are at most @room. No NUL behind them. */
size_t qcbmi_json_quote(char *to, size_t room, const char *text);

#endif
