/* extents_read.c - extents in JSON, as qcbm, nbdinfo and qemu-img map print them, read back
 * SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <string.h>

#include "extents_out.h"
#include "extents_read.h"
#include "json_list.h"

enum kind { KIND_UNKNOWN, KIND_BITMAP, KIND_MAP };

struct reader {
    struct json_list list;
    enum kind kind; /* of all extents, as the first one has it */
    uint64_t size, end;
};

/* ---- members ------------------------------------------------------------------------------------------- */

/* A whole number below 2^64 - 1, which json-c gives for all that are larger. */
static int read_number(struct reader *r, struct json_object *o, const char *name, uint64_t *out)
{
    struct json_object *value;

    if (!json_object_object_get_ex(o, name, &value))
        return json_list_fail(&r->list, "an extent without %s", name);
    if (json_object_get_type(value) != json_type_int || json_object_get_int64(value) < 0)
        return json_list_fail(&r->list, "%s of an extent is not a whole number", name);
    *out = json_object_get_uint64(value);
    return *out < UINT64_MAX ? 0 : json_list_fail(&r->list, "%s of an extent is too large", name);
}

/* @out stays if there is no such member. */
static int read_bool(struct reader *r, struct json_object *o, const char *name, bool *out)
{
    struct json_object *value;

    if (!json_object_object_get_ex(o, name, &value))
        return 0;
    if (json_object_get_type(value) != json_type_boolean)
        return json_list_fail(&r->list, "%s of an extent is neither true nor false", name);
    *out = json_object_get_boolean(value);
    return 0;
}

/* ---- an extent of each kind ---------------------------------------------------------------------------- */

/* The description keeps out maps of other things, whose types mean something else. */
static int read_type(struct reader *r, struct json_object *o, struct qcbm_extent *e)
{
    struct json_object *value;
    bool described = json_object_object_get_ex(o, "description", &value);
    const char *text = described ? json_object_get_string(value) : "";
    uint64_t type = 0;
    int ret = read_number(r, o, "type", &type);

    if (ret < 0)
        return ret;
    if (type >= N_EXTENT_TYPES || (described && (!text || strcmp(text, extent_descriptions[type]) != 0)))
        return json_list_fail(&r->list, "the extent at %" PRIu64 " is not of a dirty bitmap: type %" PRIu64 "%s%.80s",
                              e->offset, type, described ? ", " : "", text ? text : "null");
    e->dirty = type & 1;
    e->zero = type & 2;
    return 0;
}

/* Present is what this layer says of the range itself, be it zeros. */
static int read_map(struct reader *r, struct json_object *o, struct qcbm_extent *e)
{
    bool present = true;
    uint64_t depth = 0;
    int ret = read_number(r, o, "depth", &depth);

    if (ret == 0)
        ret = read_bool(r, o, "present", &present);
    if (ret == 0)
        ret = read_bool(r, o, "zero", &e->zero);
    e->dirty = depth == 0 && present;
    return ret;
}

/* Of qemu-img map "offset" is in the file. */
static int read_extent(struct reader *r, struct json_object *o, struct qcbm_extent *e)
{
    struct json_object *start;
    enum kind kind = json_object_object_get_ex(o, "start", &start) ? KIND_MAP : KIND_BITMAP;
    int ret = read_number(r, o, kind == KIND_MAP ? "start" : "offset", &e->offset);

    if (ret == 0)
        ret = read_number(r, o, "length", &e->length);
    if (ret == 0 && r->kind != KIND_UNKNOWN && r->kind != kind)
        ret = json_list_fail(&r->list, "extents of a bitmap and of qemu-img map in one list");
    r->kind = kind;
    if (ret < 0)
        return ret;
    return kind == KIND_MAP ? read_map(r, o, e) : read_type(r, o, e);
}

static int check_place(struct reader *r, const struct qcbm_extent *e)
{
    if (e->offset != r->end)
        return json_list_fail(&r->list, "the extent at %" PRIu64 " does not begin where the last one ends, at %" PRIu64,
                              e->offset, r->end);
    if (e->length == 0 || e->length > r->size - r->end)
        return json_list_fail(&r->list, "the extent at %" PRIu64 " has %" PRIu64 " bytes, the disk has %" PRIu64,
                              e->offset, e->length, r->size);
    return 0;
}

int extents_read(FILE *in, uint64_t size, extents_read_fn *fn, void *opaque, struct qcbm_error *err)
{
    struct reader r = { .size = size };
    struct json_object *o;
    int ret = json_list_begin(&r.list, in, err);

    while (ret == 0 && (ret = json_list_next(&r.list, &o)) == 1) {
        struct qcbm_extent e = { 0 };

        ret = read_extent(&r, o, &e);
        if (ret == 0)
            ret = check_place(&r, &e);
        if (ret == 0)
            ret = fn(opaque, &e, err);
        r.end += e.length;
    }
    if (ret == 0 && r.end != size)
        ret = json_list_fail(&r.list, "the extents end at %" PRIu64 ", the disk has %" PRIu64 " bytes", r.end, size);
    json_list_end(&r.list);
    return ret;
}
