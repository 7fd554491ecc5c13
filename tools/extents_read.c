/* extents_read.c - extents of a bitmap in JSON, as nbdinfo and qcbm print them, read back
 * SPDX-License-Identifier: MIT
 *
 * As much of JSON as such a list has: objects of known members, whole numbers, short strings without escapes. */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include "extents_out.h"
#include "extents_read.h"

struct reader {
    FILE *in;
    uint64_t at; /* bytes read */
    int next;    /* the character that comes next, or EOF */
    struct qcbm_error *err;
};

static int fail(struct reader *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static int fail(struct reader *r, const char *fmt, ...)
{
    va_list args;

    if (ferror(r->in)) {
        *r->err = (struct qcbm_error){ .code = QCBM_E_IO, .sys_errno = errno, .offset = QCBM_NO_OFFSET };
        snprintf(r->err->message, sizeof r->err->message, "could not read the extents: %s", strerror(errno));
        return QCBM_E_IO;
    }
    *r->err = (struct qcbm_error){ .code = QCBM_E_CORRUPT, .offset = r->at - (r->next != EOF) };
    va_start(args, fmt);
    vsnprintf(r->err->message, sizeof r->err->message, fmt, args);
    va_end(args);
    return QCBM_E_CORRUPT;
}

/* ---- characters and words ------------------------------------------------------------------------------ */

static void advance(struct reader *r)
{
    r->next = getc(r->in);
    r->at += r->next != EOF;
}

static void skip_space(struct reader *r)
{
    while (r->next == ' ' || r->next == '\t' || r->next == '\n' || r->next == '\r')
        advance(r);
}

/* Is @wanted what comes next? Then it is taken. */
static bool take(struct reader *r, char wanted)
{
    skip_space(r);
    if (r->next != wanted)
        return false;
    advance(r);
    return true;
}

static int need(struct reader *r, char wanted)
{
    return take(r, wanted) ? 0 : fail(r, "no list of extents in JSON: '%c' is expected", wanted);
}

static int read_string(struct reader *r, char *to, size_t size)
{
    size_t n = 0;
    int ret = need(r, '"');

    if (ret < 0)
        return ret;
    for (; r->next != '"'; advance(r)) {
        if (r->next == EOF || r->next < 0x20 || r->next == '\\' || n + 1 == size)
            return fail(r, "no list of extents in JSON: a string that does not belong here");
        to[n++] = (char)r->next;
    }
    to[n] = '\0';
    advance(r);
    return 0;
}

static int read_number(struct reader *r, uint64_t *out)
{
    bool zero;

    skip_space(r);
    if (r->next < '0' || r->next > '9')
        return fail(r, "no list of extents in JSON: a whole number is expected");
    zero = r->next == '0';
    for (*out = 0; r->next >= '0' && r->next <= '9'; advance(r))
        if (__builtin_mul_overflow(*out, UINT64_C(10), out) ||
            __builtin_add_overflow(*out, (uint64_t)(r->next - '0'), out) || (zero && *out > 0))
            return fail(r, "no list of extents in JSON: a number that is too large, or begins with 0");
    if (r->next == '.' || r->next == 'e' || r->next == 'E')
        return fail(r, "no list of extents in JSON: a whole number is expected");
    return 0;
}

/* ---- extents ------------------------------------------------------------------------------------------- */

enum { HAS_OFFSET = 1, HAS_LENGTH = 2, HAS_TYPE = 4, HAS_DESCRIPTION = 8 };

struct raw_extent {
    uint64_t offset, length, type;
    char description[16];
    unsigned has;
};

static int read_member(struct reader *r, struct raw_extent *e)
{
    static const char *const names[] = { "offset", "length", "type", "description" };
    uint64_t *const numbers[] = { &e->offset, &e->length, &e->type };
    char key[16];
    unsigned k = 0;
    int ret = read_string(r, key, sizeof key);

    if (ret == 0)
        ret = need(r, ':');
    if (ret < 0)
        return ret;
    while (k < 4 && strcmp(names[k], key) != 0)
        k++;
    if (k == 4 || (e->has & 1u << k))
        return fail(r, "no list of extents: an unknown member, or one that comes twice");
    e->has |= 1u << k;
    return k < 3 ? read_number(r, numbers[k]) : read_string(r, e->description, sizeof e->description);
}

static int read_object(struct reader *r, struct raw_extent *e)
{
    int ret = need(r, '{');

    do {
        if (ret == 0)
            ret = read_member(r, e);
    } while (ret == 0 && take(r, ','));
    return ret < 0 ? ret : need(r, '}');
}

/* The description keeps out lists of other things, whose types mean something else. */
static int check(struct reader *r, const struct raw_extent *e, uint64_t end, uint64_t size)
{
    if ((e->has & (HAS_OFFSET | HAS_LENGTH | HAS_TYPE)) != (HAS_OFFSET | HAS_LENGTH | HAS_TYPE))
        return fail(r, "an extent must have offset, length and type");
    if (e->type >= N_EXTENT_TYPES ||
        ((e->has & HAS_DESCRIPTION) && strcmp(e->description, extent_descriptions[e->type]) != 0))
        return fail(r, "the extent at %" PRIu64 " is not of a dirty bitmap: type %" PRIu64 "%s%s", e->offset, e->type,
                    e->has & HAS_DESCRIPTION ? ", " : "", e->description);
    if (e->offset != end)
        return fail(r, "the extent at %" PRIu64 " does not begin where the last one ends, at %" PRIu64, e->offset, end);
    if (e->length == 0 || e->length > size - end)
        return fail(r, "the extent at %" PRIu64 " has %" PRIu64 " bytes, the disk has %" PRIu64, e->offset, e->length,
                    size);
    return 0;
}

int extents_read(FILE *in, uint64_t size, extents_read_fn *fn, void *opaque, struct qcbm_error *err)
{
    struct reader r = { .in = in, .err = err };
    uint64_t end = 0;
    int ret;

    advance(&r);
    ret = need(&r, '[');
    do {
        struct raw_extent e = { 0 };

        if (ret == 0)
            ret = read_object(&r, &e);
        if (ret == 0)
            ret = check(&r, &e, end, size);
        if (ret == 0)
            ret = fn(opaque, &(struct qcbm_extent){ e.offset, e.length, e.type & 1, e.type & 2 }, err);
        end += e.length;
    } while (ret == 0 && take(&r, ','));
    if (ret == 0)
        ret = need(&r, ']');
    skip_space(&r);
    if (ret == 0 && r.next != EOF)
        ret = fail(&r, "something follows the list of extents");
    if (ret == 0 && end != size)
        ret = fail(&r, "the extents end at %" PRIu64 ", the disk has %" PRIu64 " bytes", end, size);
    return ret;
}
