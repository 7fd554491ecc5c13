/* sidecar.c - the identity of a delta in a file beside it: PATH.json (docs/delta-format.md)
 * SPDX-License-Identifier: MIT
 *
 * The members are those of struct qcbmi_delta_meta. "check" is the digest of what the identity is as bytes: a file that
 * was changed by hand or by accident is told from one that was not. */
#include "delta/sidecar.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "format/json_text.h"

#define FORMAT 1u

static void check_of(const struct qcbmi_delta_meta *m, uint8_t *scratch, uint8_t out[QCBMI_DIGEST_BYTES])
{
    qcbmi_delta_meta_store(scratch, m);
    qcbmi_digest(scratch, qcbmi_delta_meta_len(m), out);
}

/* ---- writing ---- */

struct text {
    char *bytes;
    size_t len, size;
};

static void add(struct text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void add(struct text *t, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    t->len += (size_t)vsnprintf(t->bytes + t->len, t->size - t->len, fmt, args);
    va_end(args);
}

static void add_hex(struct text *t, const char *name, const uint8_t bytes[QCBMI_DIGEST_BYTES], const char *behind)
{
    char hex[2 * QCBMI_DIGEST_BYTES + 1];

    qcbmi_identity_text(bytes, hex);
    add(t, "\"%s\": \"%s\"%s", name, hex, behind);
}

static void add_string(struct text *t, const char *name, const char *value)
{
    add(t, "  \"%s\": ", name);
    t->len += qcbmi_json_quote(t->bytes + t->len, t->size - t->len, value);
    add(t, ",\n");
}

static void add_probes(struct text *t, const struct qcbmi_delta_meta *m)
{
    add(t, "  \"probes\": [");
    for (uint32_t i = 0; i < m->n_probes; i++) {
        add(t, "%s\n    { \"offset\": %" PRIu64 ", \"length\": %" PRIu64 ", ", i ? "," : "", m->probes[i].offset,
            m->probes[i].length);
        add_hex(t, "digest", m->probes[i].digest, " }");
    }
    add(t, "%s],\n", m->n_probes ? "\n  " : "");
}

static void compose(struct text *t, const struct qcbmi_delta_meta *m, const char *form, uint8_t *scratch)
{
    uint8_t check[QCBMI_DIGEST_BYTES];

    add(t, "{\n  \"format\": %u,\n  \"form\": \"%s\",\n  ", FORMAT, form);
    add_hex(t, "id", m->id, ",\n");
    if (m->has_parent) {
        add(t, "  ");
        add_hex(t, "parent-id", m->parent, ",\n");
    }
    add(t, "  \"created\": %" PRId64 ",\n", m->created);
    if (*m->bitmap)
        add_string(t, "bitmap", m->bitmap);
    if (*m->note)
        add_string(t, "note", m->note);
    if (m->size_before != UINT64_MAX)
        add(t, "  \"size-before\": %" PRIu64 ",\n", m->size_before);
    if (m->has_zeros_from)
        add(t, "  \"zeros-from\": %" PRIu64 ",\n", m->zeros_from);
    add(t, "  \"size-after\": %" PRIu64 ",\n  \"granularity\": %u,\n", m->size_after, m->granularity);
    if (m->has_digest) {
        add(t, "  ");
        add_hex(t, "digest", m->digest, ",\n");
    }
    add_probes(t, m);
    check_of(m, scratch, check);
    add(t, "  ");
    add_hex(t, "check", check, "\n}\n");
}

int qcbmi_sidecar_write(struct qcbmi_io *io, const struct qcbmi_delta_meta *m, const char *form, struct qcbm_error *err)
{
    struct text t = { .size = QCBMI_SIDECAR_MAX };
    uint8_t *scratch = qcbmi_alloc_array(QCBMI_DELTA_META_MAX, 1, err);
    int ret = QCBM_E_NOMEM;

    t.bytes = scratch ? qcbmi_alloc_array(t.size, 1, err) : NULL;
    if (t.bytes) {
        compose(&t, m, form, scratch);
        ret = qcbmi_io_write(io, 0, t.bytes, t.len, err);
    }
    free(t.bytes);
    free(scratch);
    return ret;
}

/* ---- reading ---- */

static int take_u64(struct qcbmi_json *j, uint64_t *out)
{
    struct qcbmi_json_value v;
    int ret = qcbmi_json_value(j, &v);

    if (ret == 0 && v.kind != QCBMI_JSON_WHOLE)
        ret = qcbmi_json_fail(j, "no whole number");
    if (ret == 0)
        *out = v.number;
    return ret;
}

static int take_u32(struct qcbmi_json *j, uint32_t *out)
{
    uint64_t v = 0;
    int ret = take_u64(j, &v);

    *out = (uint32_t)v;
    return ret == 0 && v > UINT32_MAX ? qcbmi_json_fail(j, "too large") : ret;
}

static int take_text(struct qcbmi_json *j, char *to, size_t size)
{
    struct qcbmi_json_value v;
    int ret = qcbmi_json_value(j, &v);

    if (ret == 0 && (v.kind != QCBMI_JSON_STRING || !qcbmi_json_string(&v, to, size)))
        ret = qcbmi_json_fail(j, "no string, or too long a one");
    return ret;
}

static int take_hex(struct qcbmi_json *j, uint8_t out[QCBMI_DIGEST_BYTES])
{
    char text[2 * QCBMI_DIGEST_BYTES + 1] = "";
    int ret = take_text(j, text, sizeof(text));

    if (ret == 0 && (strlen(text) != sizeof(text) - 1 || !qcbmi_identity_parse(text, out)))
        ret = qcbmi_json_fail(j, "not 32 hex digits");
    return ret;
}

/* @which is a bit of its own for each member of an object, 0 if there is no such member: none may come twice. */
static int note(struct qcbmi_json *j, unsigned *seen, unsigned which)
{
    if (which == 0 || (*seen & which))
        return qcbmi_json_fail(j, which ? "the same member twice" : "a member that is not known");
    *seen |= which;
    return 0;
}

enum { PROBE_OFFSET = 1, PROBE_LENGTH = 2, PROBE_DIGEST = 4 };

static unsigned probe_member(const struct qcbmi_json_value *name)
{
    return qcbmi_json_is(name, "offset")   ? PROBE_OFFSET
           : qcbmi_json_is(name, "length") ? PROBE_LENGTH
           : qcbmi_json_is(name, "digest") ? PROBE_DIGEST
                                           : 0;
}

static int take_probe(struct qcbmi_json *j, struct qcbmi_delta_probe *p)
{
    struct qcbmi_json_value v;
    bool first = true;
    unsigned seen = 0;
    int ret = qcbmi_json_value(j, &v);

    if (ret == 0 && v.kind != QCBMI_JSON_OBJECT)
        ret = qcbmi_json_fail(j, "no object");
    while (ret == 0 && (ret = qcbmi_json_member(j, &first, &v)) == 1) {
        unsigned which = probe_member(&v);

        ret = note(j, &seen, which);
        if (ret == 0)
            ret = which == PROBE_DIGEST ? take_hex(j, p->digest)
                                        : take_u64(j, which == PROBE_OFFSET ? &p->offset : &p->length);
    }
    if (ret == 0 && seen != (PROBE_OFFSET | PROBE_LENGTH | PROBE_DIGEST))
        ret = qcbmi_json_fail(j, "a probe lacks a member");
    return ret;
}

static int take_probes(struct qcbmi_json *j, struct qcbmi_delta_meta *m)
{
    struct qcbmi_json_value v;
    bool first = true;
    int ret = qcbmi_json_value(j, &v);

    if (ret == 0 && v.kind != QCBMI_JSON_LIST)
        ret = qcbmi_json_fail(j, "no list");
    while (ret == 0 && (ret = qcbmi_json_next(j, &first)) == 1) {
        if (m->n_probes == QCBMI_DELTA_MAX_PROBES)
            return qcbmi_json_fail(j, "too many probes");
        ret = take_probe(j, &m->probes[m->n_probes++]);
    }
    return ret;
}

struct side {
    struct qcbmi_delta_meta m;
    uint64_t format;
    char form[16];
    uint8_t check[QCBMI_DIGEST_BYTES];
};

enum {
    IN_FORMAT = 1 << 0,
    IN_FORM = 1 << 1,
    IN_ID = 1 << 2,
    IN_PARENT = 1 << 3,
    IN_CREATED = 1 << 4,
    IN_BITMAP = 1 << 5,
    IN_NOTE = 1 << 6,
    IN_BEFORE = 1 << 7,
    IN_AFTER = 1 << 8,
    IN_GRANULARITY = 1 << 9,
    IN_DIGEST = 1 << 10,
    IN_PROBES = 1 << 11,
    IN_CHECK = 1 << 12,
    IN_ZEROS_FROM = 1 << 13,
    IN_NEEDED = IN_FORMAT | IN_FORM | IN_ID | IN_CREATED | IN_AFTER | IN_GRANULARITY | IN_DIGEST | IN_PROBES | IN_CHECK
};

static const struct member {
    const char *name;
    unsigned which;
} members[] = {
    { "format", IN_FORMAT },
    { "form", IN_FORM },
    { "id", IN_ID },
    { "parent-id", IN_PARENT },
    { "created", IN_CREATED },
    { "bitmap", IN_BITMAP },
    { "note", IN_NOTE },
    { "size-before", IN_BEFORE },
    { "zeros-from", IN_ZEROS_FROM },
    { "size-after", IN_AFTER },
    { "granularity", IN_GRANULARITY },
    { "digest", IN_DIGEST },
    { "probes", IN_PROBES },
    { "check", IN_CHECK },
};

static unsigned member_named(const struct qcbmi_json_value *name)
{
    for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++)
        if (qcbmi_json_is(name, members[i].name))
            return members[i].which;
    return 0;
}

static int take_created(struct qcbmi_json *j, int64_t *out)
{
    uint64_t v = 0;
    int ret = take_u64(j, &v);

    *out = (int64_t)v;
    return ret == 0 && v > INT64_MAX ? qcbmi_json_fail(j, "no time") : ret;
}

static int take_member(struct qcbmi_json *j, unsigned which, struct side *s)
{
    struct qcbmi_delta_meta *m = &s->m;

    m->has_parent |= which == IN_PARENT;
    m->has_digest |= which == IN_DIGEST;
    m->has_zeros_from |= which == IN_ZEROS_FROM;
    switch (which) {
    case IN_FORMAT:
        return take_u64(j, &s->format);
    case IN_FORM:
        return take_text(j, s->form, sizeof(s->form));
    case IN_ID:
        return take_hex(j, m->id);
    case IN_PARENT:
        return take_hex(j, m->parent);
    case IN_CREATED:
        return take_created(j, &m->created);
    case IN_BITMAP:
        return take_text(j, m->bitmap, sizeof(m->bitmap));
    case IN_NOTE:
        return take_text(j, m->note, sizeof(m->note));
    case IN_BEFORE:
        return take_u64(j, &m->size_before);
    case IN_ZEROS_FROM:
        return take_u64(j, &m->zeros_from);
    case IN_AFTER:
        return take_u64(j, &m->size_after);
    case IN_GRANULARITY:
        return take_u32(j, &m->granularity);
    case IN_DIGEST:
        return take_hex(j, m->digest);
    case IN_PROBES:
        return take_probes(j, m);
    default:
        return take_hex(j, s->check);
    }
}

static int parse(struct qcbmi_json *j, struct side *s)
{
    struct qcbmi_json_value v;
    bool first = true;
    unsigned seen = 0;
    int ret = qcbmi_json_value(j, &v);

    s->m.kind = QCBMI_IDENTITY_DELTA;
    s->m.size_before = UINT64_MAX;
    if (ret == 0 && v.kind != QCBMI_JSON_OBJECT)
        ret = qcbmi_json_fail(j, "no object");
    while (ret == 0 && (ret = qcbmi_json_member(j, &first, &v)) == 1) {
        unsigned which = member_named(&v);

        ret = note(j, &seen, which);
        if (ret == 0)
            ret = take_member(j, which, s);
        if (ret == 0 && which == IN_FORMAT && s->format > FORMAT)
            return qcbmi_fail(j->err, QCBM_E_UNSUPPORTED, QCBM_NO_OFFSET, "format %" PRIu64, s->format);
    }
    if (ret == 0)
        ret = qcbmi_json_end(j);
    if (ret == 0 && ((seen & IN_NEEDED) != IN_NEEDED || s->format != FORMAT))
        ret = qcbmi_json_fail(j, "it lacks a member, or has a format that there is not");
    return ret;
}

static int judge(const struct side *s, const char *form, uint8_t *scratch, struct qcbm_error *err)
{
    uint8_t check[QCBMI_DIGEST_BYTES];
    int ret = qcbmi_delta_meta_check(&s->m, err);

    if (ret < 0)
        return ret;
    if (strcmp(s->form, form) != 0)
        return qcbmi_fail(err, QCBM_E_CORRUPT, QCBM_NO_OFFSET, "it is that of a delta of form %s, and this one is %s",
                          s->form, form);
    check_of(&s->m, scratch, check);
    if (memcmp(check, s->check, sizeof(check)) != 0)
        return qcbmi_fail(err, QCBM_E_CORRUPT, QCBM_NO_OFFSET, "its \"check\" says that it has been changed");
    return 0;
}

/* @text has QCBMI_SIDECAR_MAX bytes, @scratch as many as an identity may have. */
static int read_side(struct qcbmi_io *io, const char *form, char *text, uint8_t *scratch, struct side *s,
                     struct qcbm_error *err)
{
    int ret;

    if (io->size > QCBMI_SIDECAR_MAX)
        return qcbmi_fail(err, QCBM_E_CORRUPT, QCBM_NO_OFFSET, "a sidecar file of %" PRIu64 " bytes", io->size);
    ret = qcbmi_io_read(io, 0, text, io->size, "sidecar file", err);
    if (ret == 0)
        ret = parse(&(struct qcbmi_json){ .text = text, .len = (size_t)io->size, .what = "JSON", .err = err }, s);
    return ret < 0 ? ret : judge(s, form, scratch, err);
}

int qcbmi_sidecar_read(struct qcbmi_io *io, const char *form, struct qcbmi_delta_meta *out, struct qcbm_error *err)
{
    struct side s = { .format = 0 };
    uint8_t *scratch = qcbmi_alloc_array(QCBMI_DELTA_META_MAX, 1, err);
    char *text = scratch ? qcbmi_alloc_array(QCBMI_SIDECAR_MAX, 1, err) : NULL;
    int ret = text ? read_side(io, form, text, scratch, &s, err) : QCBM_E_NOMEM;

    if (ret == 0)
        *out = s.m;
    else if (ret != QCBM_E_NOMEM)
        qcbmi_prefix(err, ret, "sidecar file (.json): ");
    free(text);
    free(scratch);
    return ret;
}
