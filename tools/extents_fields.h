/* extents_fields.h - an object in JSON whose members are known
 * SPDX-License-Identifier: MIT
 */
#ifndef QCBM_TOOL_EXTENTS_FIELDS_H
#define QCBM_TOOL_EXTENTS_FIELDS_H

#include "json_in.h"

enum { FIELDS_MAX = 12 };

enum field_kind {
    FIELD_NUMBER,         /* below 2^64 - 1 */
    FIELD_NUMBER_OR_TEXT, /* the same, or its digits in a string, as the JSON of protocol buffers has it */
    FIELD_BOOL,
    FIELD_TEXT
};

struct field {
    const char *name;
    enum field_kind kind;
};

struct fields {
    const struct field *rows;
    unsigned n;
    const char *what; /* the object is, for errors */
    bool others;      /* members that are no rows are skipped; else refused */
    unsigned given;   /* bits: which rows are there */
    struct json_in_value values[FIELDS_MAX];
};

/* Read the object that comes next. Of rows none comes twice. Returns 0 or fails. */
int fields_read(struct text_in *t, struct fields *f);

/* The rows of @which that are there have values of their kinds; .number is that of a string then, too. Returns 0 or
 * fails. */
int fields_check(struct text_in *t, struct fields *f, unsigned which);

/* Those two by hand, where a member is to be read in another way: which row has this name, f->n if none; @i was met. */
unsigned fields_find(const struct fields *f, const struct json_in_value *name);
int fields_note(struct text_in *t, struct fields *f, unsigned i);

#endif
