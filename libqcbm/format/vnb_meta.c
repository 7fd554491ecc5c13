/* vnb_meta.c - the JSON that virtnbdbackup's stream begins with: to a struct and back (docs/delta-format.md)
 * SPDX-License-Identifier: MIT */
#include "format/vnb_meta.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/error.h"
#include "format/json_text.h"
#include "format/q2_limits.h"

#define VERSION 2u /* 1 has no compression, and is the same otherwise */

enum { HAS_SIZE = 1, HAS_DATA_SIZE = 2 };

static int take_size(struct qcbmi_json *j, const struct qcbmi_json_value *v, uint64_t *out)
{
    if (v->kind != QCBMI_JSON_WHOLE || v->number > Q2_MAX_OFFSET)
        return qcbmi_json_fail(j, "a size that is no number up to 2^63");
    *out = v->number;
    return 0;
}

/* A name, or null for none. */
static int take_name(struct qcbmi_json *j, const struct qcbmi_json_value *v, char *to)
{
    to[0] = '\0';
    if (v->kind == QCBMI_JSON_NULL ||
        (v->kind == QCBMI_JSON_STRING && qcbmi_json_string(v, to, QCBMI_VNB_MAX_NAME + 1)))
        return 0;
    return qcbmi_json_fail(j, "a name that is no text of up to %u bytes", QCBMI_VNB_MAX_NAME);
}

static int take_id(struct qcbmi_json *j, const struct qcbmi_json_value *v, uint8_t *id, bool *has)
{
    char text[64];

    *has = v->kind == QCBMI_JSON_STRING && qcbmi_json_string(v, text, sizeof text) && qcbmi_identity_parse(text, id);
    return *has ? 0 : qcbmi_json_fail(j, "an id that is not 32 hex digits");
}

/* Anything but false is a level of compression. */
static int take_compressed(struct qcbmi_json *j, const struct qcbmi_json_value *v)
{
    if (v->kind == QCBMI_JSON_BOOL && !v->truth)
        return 0;
    return qcbmi_fail(j->err, QCBM_E_UNSUPPORTED, j->base + j->at,
                      "%s: its frames are compressed, and only plain ones are read; make the backup without --compress",
                      j->what);
}

static int take_version(struct qcbmi_json *j, const struct qcbmi_json_value *v)
{
    if (v->kind == QCBMI_JSON_WHOLE && v->number >= 1 && v->number <= VERSION)
        return 0;
    return qcbmi_fail(j->err, QCBM_E_UNSUPPORTED, j->base + j->at,
                      "%s: a version that is not known; known are 1 and %u", j->what, VERSION);
}

static int take_member(struct qcbmi_json *j, const struct qcbmi_json_value *name, const struct qcbmi_json_value *v,
                       struct qcbmi_vnb_meta *m, unsigned *has)
{
    if (qcbmi_json_is(name, "virtualSize")) {
        *has |= HAS_SIZE;
        return take_size(j, v, &m->virtual_size);
    }
    if (qcbmi_json_is(name, "dataSize")) {
        *has |= HAS_DATA_SIZE;
        return take_size(j, v, &m->data_size);
    }
    if (qcbmi_json_is(name, "incremental")) {
        m->incremental = v->kind == QCBMI_JSON_BOOL && v->truth;
        return v->kind == QCBMI_JSON_BOOL ? 0 : qcbmi_json_fail(j, "incremental is neither true nor false");
    }
    if (qcbmi_json_is(name, "diskName"))
        return take_name(j, v, m->disk);
    if (qcbmi_json_is(name, "checkpointName"))
        return take_name(j, v, m->checkpoint);
    if (qcbmi_json_is(name, "parentCheckpoint"))
        return take_name(j, v, m->parent);
    if (qcbmi_json_is(name, "compressed"))
        return take_compressed(j, v);
    if (qcbmi_json_is(name, "streamVersion"))
        return take_version(j, v);
    if (qcbmi_json_is(name, "qcbmId"))
        return take_id(j, v, m->id, &m->has_id);
    if (qcbmi_json_is(name, "qcbmParentId"))
        return take_id(j, v, m->parent_id, &m->has_parent_id);
    return qcbmi_json_skip(j, v);
}

int qcbmi_vnb_meta_parse(const char *json, size_t len, uint64_t at, struct qcbmi_vnb_meta *out, struct qcbm_error *err)
{
    struct qcbmi_json j = { json, len, 0, at, "virtnbdbackup stream, metadata", err };
    struct qcbmi_json_value name, v;
    bool first = true;
    unsigned has = 0;
    int ret = qcbmi_json_value(&j, &v);

    *out = (struct qcbmi_vnb_meta){ 0 };
    if (ret == 0 && v.kind != QCBMI_JSON_OBJECT)
        ret = qcbmi_json_fail(&j, "an object is expected");
    while (ret == 0 && (ret = qcbmi_json_member(&j, &first, &name)) == 1) {
        ret = qcbmi_json_value(&j, &v);
        if (ret == 0)
            ret = take_member(&j, &name, &v, out, &has);
        if (ret < 0)
            return ret;
    }
    if (ret == 0)
        ret = qcbmi_json_end(&j);
    if (ret == 0 && has != (HAS_SIZE | HAS_DATA_SIZE))
        ret = qcbmi_json_fail(&j, "virtualSize or dataSize is missing");
    return ret;
}

/* ---- storing ------------------------------------------------------------------------------------------- */

#define QUOTED (6 * QCBMI_VNB_MAX_NAME + 3) /* characters of a name as it is stored, at most, and a NUL */

static const char *quote(char to[QUOTED], const char *name)
{
    size_t len = qcbmi_json_quote(to, QUOTED - 1, name);

    to[len] = '\0';
    return to;
}

static void put_id(FILE *f, const char *name, bool has, const uint8_t *id)
{
    char text[2 * QCBMI_IDENTITY_BYTES + 1];

    qcbmi_identity_text(id, text);
    if (has)
        fprintf(f, ",\n    \"%s\": \"%s\"", name, text);
}

/* Members and their order as virtnbdbackup has them; its own time is local, this one UTC. */
static void put_members(FILE *f, const struct qcbmi_vnb_meta *m)
{
    char name[QUOTED], date[32] = "";
    time_t when = (time_t)m->created;
    struct tm tm;

    if (gmtime_r(&when, &tm))
        strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &tm);
    fprintf(f, "{\n    \"virtualSize\": %" PRIu64 ",\n    \"dataSize\": %" PRIu64 ",\n", m->virtual_size, m->data_size);
    fprintf(f, "    \"date\": \"%s\",\n    \"diskName\": %s,\n", date, quote(name, m->disk));
    fprintf(f, "    \"diskFormat\": \"qcow2\",\n    \"checkpointName\": %s,\n", quote(name, m->checkpoint));
    fprintf(f, "    \"compressed\": false,\n    \"compressionMethod\": \"lz4\",\n    \"parentCheckpoint\": %s,\n",
            quote(name, m->parent));
    fprintf(f, "    \"incremental\": %s,\n    \"streamVersion\": %u", m->incremental ? "true" : "false", VERSION);
    put_id(f, "qcbmId", m->has_id, m->id);
    put_id(f, "qcbmParentId", m->has_parent_id, m->parent_id);
    fprintf(f, "\n}");
}

char *qcbmi_vnb_meta_text(const struct qcbmi_vnb_meta *m, struct qcbm_error *err)
{
    char *text = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&text, &len);
    bool failed;

    if (f)
        put_members(f, m);
    failed = !f || ferror(f);
    if ((f && fclose(f) != 0) || failed) {
        free(text);
        qcbmi_fail_nomem(err);
        return NULL;
    }
    return text;
}
