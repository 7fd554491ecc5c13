/* json_text.c - JSON of a known length in memory: objects and lists member by member; text escaped
 * SPDX-License-Identifier: MIT */
#include "format/json_text.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/checked.h"
#include "base/error.h"

int qcbmi_json_fail(struct qcbmi_json *j, const char *fmt, ...)
{
    char text[160];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return qcbmi_fail(j->err, QCBM_E_CORRUPT, j->base + j->at, "%s: %s", j->what, text);
}

/* -1 at the end. */
static int peek(const struct qcbmi_json *j)
{
    return j->at < j->len ? (unsigned char)j->text[j->at] : -1;
}

static bool take(struct qcbmi_json *j, char wanted)
{
    bool there = peek(j) == (unsigned char)wanted;

    j->at += there;
    return there;
}

static void pass_space(struct qcbmi_json *j)
{
    while (peek(j) == ' ' || peek(j) == '\t' || peek(j) == '\n' || peek(j) == '\r')
        j->at++;
}

static bool is_digit(int c)
{
    return c >= '0' && c <= '9';
}

/* ---- characters ---------------------------------------------------------------------------------------- */

/* The character of UTF-8 that begins at @p, of which @len bytes are there: its length and its number; 0 if it is
 * none. */
static size_t utf8_take(const unsigned char *p, size_t len, uint32_t *code)
{
    static const uint32_t least[5] = { 0, 0, 0x80, 0x800, 0x10000 };
    size_t n = p[0] < 0x80 ? 1 : (p[0] & 0xe0) == 0xc0 ? 2 : (p[0] & 0xf0) == 0xe0 ? 3 : (p[0] & 0xf8) == 0xf0 ? 4 : 0;
    uint32_t v = n == 1 ? p[0] : n == 0 ? 0 : p[0] & (0xffu >> (n + 1));

    if (n == 0 || n > len)
        return 0;
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
        v = v << 6 | (p[i] & 0x3fu);
    }
    *code = v;
    return v < least[n] || v > 0x10ffff || (v >= 0xd800 && v < 0xe000) ? 0 : n;
}

static size_t utf8_put(char to[4], uint32_t v)
{
    size_t n = v < 0x80 ? 1 : v < 0x800 ? 2 : v < 0x10000 ? 3 : 4;
    static const unsigned char first[5] = { 0, 0, 0xc0, 0xe0, 0xf0 };

    for (size_t i = n; i-- > 1; v >>= 6)
        to[i] = (char)(0x80 | (v & 0x3f));
    to[0] = (char)(first[n] | v);
    return n;
}

/* Four hex digits. */
static bool take_unit(const char *p, uint32_t *unit)
{
    static const char digits[] = "0123456789abcdef0123456789ABCDEF";

    *unit = 0;
    for (unsigned i = 0; i < 4; i++) {
        const char *digit = p[i] ? strchr(digits, p[i]) : NULL;

        if (!digit)
            return false;
        *unit = *unit << 4 | ((uint32_t)(digit - digits) & 15);
    }
    return true;
}

/* The escape that begins at @p, a backslash, of which @len characters are there: its length, 0 if it is none. Two units
 * of UTF-16 that belong together are one; a single one of such two is none. */
static size_t take_escape(const char *p, size_t len, uint32_t *code)
{
    static const char letters[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
    const char *letter = len > 1 && p[1] ? strchr(letters, p[1]) : NULL;
    uint32_t low;

    if (letter) {
        *code = (unsigned char)meanings[letter - letters];
        return 2;
    }
    if (len < 6 || p[1] != 'u' || !take_unit(p + 2, code))
        return 0;
    if (*code < 0xd800 || *code >= 0xe000)
        return 6;
    if (*code >= 0xdc00 || len < 12 || p[6] != '\\' || p[7] != 'u' || !take_unit(p + 8, &low) || low < 0xdc00 ||
        low >= 0xe000)
        return 0;
    *code = 0x10000 + ((*code - 0xd800) << 10) + (low - 0xdc00);
    return 12;
}

/* The next character of a string; its length in the text, 0 if there is none. */
static size_t take_character(const char *p, size_t len, uint32_t *code)
{
    if (p[0] == '\\')
        return take_escape(p, len, code);
    return (unsigned char)p[0] < 0x20 ? 0 : utf8_take((const unsigned char *)p, len, code);
}

/* ---- values -------------------------------------------------------------------------------------------- */

/* Behind its first quote. */
static int take_string(struct qcbmi_json *j, struct qcbmi_json_value *v)
{
    uint32_t code;
    size_t n;

    v->kind = QCBMI_JSON_STRING;
    v->text = j->text + j->at;
    while (peek(j) != '"') {
        if (peek(j) < 0)
            return qcbmi_json_fail(j, "it ends within a string");
        n = take_character(j->text + j->at, j->len - j->at, &code);
        if (n == 0)
            return qcbmi_json_fail(j, "a string that is no text in UTF-8, or an escape that is none");
        j->at += n;
    }
    v->text_len = (size_t)(j->text + j->at - v->text);
    j->at++;
    return 0;
}

static bool pass_digits(struct qcbmi_json *j)
{
    bool any = is_digit(peek(j));

    while (is_digit(peek(j)))
        j->at++;
    return any;
}

static int take_number(struct qcbmi_json *j, struct qcbmi_json_value *v)
{
    bool whole = !take(j, '-'), fits = true, fine;
    size_t start = j->at;

    fine = pass_digits(j) && (j->text[start] != '0' || j->at == start + 1);
    for (size_t i = start; i < j->at; i++)
        fits =
            fits && u64_mul(v->number, 10, &v->number) && u64_add(v->number, (uint64_t)(j->text[i] - '0'), &v->number);
    if (fine && take(j, '.')) {
        whole = false;
        fine = pass_digits(j);
    }
    if (fine && (take(j, 'e') || take(j, 'E'))) {
        whole = false;
        if (!take(j, '+'))
            take(j, '-');
        fine = pass_digits(j);
    }
    v->kind = whole && fits ? QCBMI_JSON_WHOLE : QCBMI_JSON_NUMBER;
    return fine ? 0 : qcbmi_json_fail(j, "a number that is none");
}

static int take_word(struct qcbmi_json *j, struct qcbmi_json_value *v)
{
    int c = peek(j);
    const char *word = c == 't' ? "true" : c == 'f' ? "false" : "null";

    v->kind = c == 'n' ? QCBMI_JSON_NULL : QCBMI_JSON_BOOL;
    v->truth = c == 't';
    for (; *word; word++)
        if (!take(j, *word))
            return qcbmi_json_fail(j, "a value is expected");
    return 0;
}

int qcbmi_json_value(struct qcbmi_json *j, struct qcbmi_json_value *out)
{
    *out = (struct qcbmi_json_value){ .kind = QCBMI_JSON_NULL };
    pass_space(j);
    if (take(j, '"'))
        return take_string(j, out);
    if (peek(j) == '-' || is_digit(peek(j)))
        return take_number(j, out);
    if (peek(j) != '[' && peek(j) != '{')
        return take_word(j, out);
    out->kind = peek(j) == '[' ? QCBMI_JSON_LIST : QCBMI_JSON_OBJECT;
    j->at++;
    return 0;
}

/* ---- lists and objects --------------------------------------------------------------------------------- */

static int next(struct qcbmi_json *j, char close, bool *first)
{
    bool was_first = *first;

    *first = false;
    pass_space(j);
    if (take(j, close))
        return 0;
    if (!was_first && !take(j, ','))
        return qcbmi_json_fail(j, "'%c' is missing", close);
    return 1;
}

int qcbmi_json_next(struct qcbmi_json *j, bool *first)
{
    return next(j, ']', first);
}

int qcbmi_json_member(struct qcbmi_json *j, bool *first, struct qcbmi_json_value *name)
{
    int ret = next(j, '}', first);

    if (ret <= 0)
        return ret;
    ret = qcbmi_json_value(j, name);
    if (ret < 0)
        return ret;
    pass_space(j);
    if (name->kind != QCBMI_JSON_STRING || !take(j, ':'))
        return qcbmi_json_fail(j, "the name of a member and ':' are expected");
    return 1;
}

int qcbmi_json_skip(struct qcbmi_json *j, const struct qcbmi_json_value *v)
{
    bool object[QCBMI_JSON_MAX_DEPTH], first = true;
    struct qcbmi_json_value inner = *v;
    unsigned depth = 0;
    int ret = 0;

    do {
        if (inner.kind >= QCBMI_JSON_LIST && depth == QCBMI_JSON_MAX_DEPTH)
            return qcbmi_json_fail(j, "more than %d values in each other", QCBMI_JSON_MAX_DEPTH);
        if (inner.kind >= QCBMI_JSON_LIST) {
            object[depth++] = inner.kind == QCBMI_JSON_OBJECT;
            first = true;
        }
        inner.kind = QCBMI_JSON_NULL;
        if (depth > 0)
            ret = object[depth - 1] ? qcbmi_json_member(j, &first, &inner) : qcbmi_json_next(j, &first);
        if (depth > 0 && ret > 0)
            ret = qcbmi_json_value(j, &inner);
        else if (depth > 0 && ret == 0)
            depth--;
        if (ret < 0)
            return ret;
    } while (depth > 0);
    return 0;
}

int qcbmi_json_end(struct qcbmi_json *j)
{
    pass_space(j);
    return peek(j) < 0 ? 0 : qcbmi_json_fail(j, "something follows the end");
}

/* ---- text ---------------------------------------------------------------------------------------------- */

bool qcbmi_json_is(const struct qcbmi_json_value *v, const char *text)
{
    return v->kind == QCBMI_JSON_STRING && v->text_len == strlen(text) && memcmp(v->text, text, v->text_len) == 0;
}

bool qcbmi_json_string(const struct qcbmi_json_value *v, char *to, size_t size)
{
    size_t n = 0, step;

    for (size_t at = 0; at < v->text_len; at += step) {
        char bytes[4];
        uint32_t code = 0;
        size_t len;

        step = take_character(v->text + at, v->text_len - at, &code);
        len = utf8_put(bytes, code);
        if (step == 0 || code == 0 || n + len >= size)
            return false;
        memcpy(to + n, bytes, len);
        n += len;
    }
    if (size == 0)
        return false;
    to[n] = '\0';
    return true;
}

/* One character, or one unit of UTF-16, as it stands in a string. */
static size_t quote_unit(char *to, uint32_t v)
{
    if (v == '"' || v == '\\')
        return (size_t)sprintf(to, "\\%c", (char)v);
    if (v >= 0x20 && v < 0x7f)
        return (size_t)sprintf(to, "%c", (char)v);
    if (v < 0x10000)
        return (size_t)sprintf(to, "\\u%04x", (unsigned)v);
    v -= 0x10000;
    return (size_t)sprintf(to, "\\u%04x\\u%04x", (unsigned)(0xd800 + (v >> 10 & 0x3ff)),
                           (unsigned)(0xdc00 + (v & 0x3ff)));
}

size_t qcbmi_json_quote(char *to, size_t room, const char *text)
{
    size_t len = strlen(text), n = 1;

    if (room)
        to[0] = '"';
    for (size_t at = 0, step; at < len; at += step) {
        uint32_t code = 0;
        char piece[13];
        size_t add;

        step = utf8_take((const unsigned char *)text + at, len - at, &code);
        if (step == 0) {
            step = 1;
            code = 0xfffd;
        }
        add = quote_unit(piece, code);
        if (n <= room && add <= room - n)
            memcpy(to + n, piece, add);
        n += add;
    }
    if (n < room)
        to[n] = '"';
    return n + 1;
}
