/* json_list.h - an array of objects in JSON, read one object at a time
 * SPDX-License-Identifier: MIT
 */
#ifndef QCBM_TOOL_JSON_LIST_H
#define QCBM_TOOL_JSON_LIST_H

#include <json-c/json.h>
#include <stdio.h>

#include "qcbm.h"

/* Of one object: what its text may take, and how deep values may lie in each other. */
enum { JSON_LIST_MAX_TEXT = 1 << 16, JSON_LIST_MAX_DEPTH = 32 };

/* Memory is that of one object, however long the list. */
struct json_list {
    FILE *in;
    uint64_t at; /* of the byte that comes next */
    struct json_tokener *tokener;
    struct json_object *object; /* the last one */
    size_t next, len;           /* in bytes */
    char bytes[4096];
    struct qcbm_error *err;
};

/* @err is filled by whatever fails until json_list_end(), which is fine after a failure and on a zeroed struct. */
int json_list_begin(struct json_list *list, FILE *in, struct qcbm_error *err);
void json_list_end(struct json_list *list);

/* The next object, which lives until the next call. Returns 1, 0 behind the last one, where nothing but white space follows
 * the list, QCBM_E_CORRUPT with the place in err->offset, QCBM_E_IO, QCBM_E_NOMEM. Of all members of an object no two have
 * the same name. */
int json_list_next(struct json_list *list, struct json_object **out);

/* Fill the error, with the place that has been read up to: returns QCBM_E_CORRUPT, or QCBM_E_IO if reading failed. */
int json_list_fail(struct json_list *list, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
