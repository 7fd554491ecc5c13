/* json_in.h - JSON of any length, read as it comes: lists, objects and their members one by one
 * SPDX-License-Identifier: MIT
 *
 * Memory is flat: of a value that lies in others nothing is kept. Strict: no trailing commas, no leading zeros, UTF-8
 * alone, at most JSON_IN_MAX_DEPTH values in each other. */
#ifndef QCBM_TOOL_JSON_IN_H
#define QCBM_TOOL_JSON_IN_H

#include "text_in.h"

enum { JSON_IN_MAX_DEPTH = 32, JSON_IN_TEXT = 96 };

enum json_in_kind {
    JSON_IN_NULL,
    JSON_IN_BOOL,
    JSON_IN_WHOLE,  /* 0 and above; UINT64_MAX for all that are not less */
    JSON_IN_NUMBER, /* any other */
    JSON_IN_STRING,
    JSON_IN_NESTED /* a list or an object, of which no more is known */
};

struct json_in_value {
    enum json_in_kind kind;
    bool truth;
    bool longer; /* than text[] has room for */
    uint64_t number;
    char text[JSON_IN_TEXT]; /* of a string; characters that are not ASCII, and NUL, are 0xff */
};

/* Take the bracket that a list or an object begins with, '[' or '{'. Returns 0 or fails. */
int json_in_open(struct text_in *t, char bracket);
/* Does another element of the list follow? @first begins as true. Returns 1, 0 behind its end, or fails. */
int json_in_next(struct text_in *t, char close, bool *first);
/* The name of the next member of an object; its value comes next. Returns 1, 0 behind the end of the object, or
 * fails. */
int json_in_member(struct text_in *t, bool *first, struct json_in_value *name);
/* Any value. Returns 0 or fails. */
int json_in_value(struct text_in *t, struct json_in_value *out);

/* Objects, each on a line of its own: is there another one? @first begins as true. Returns 1, 0 at the end, or
 * fails. */
int json_in_line(struct text_in *t, bool *first);

#endif
