/* json_in.c - JSON of any length, read as it comes: lists, objects and their members one by one
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "json_in.h"
#include "utf8.h"

/* ---- strings ------------------------------------------------------------------------------------------- */

static void put(struct json_in_value *v, size_t *n, unsigned char c)
{
    v->longer |= *n == JSON_IN_TEXT - 1;
    if (*n < JSON_IN_TEXT - 1)
        v->text[(*n)++] = (char)c;
}

/* The four digits behind \u. */
static int read_unit(struct text_in *t, unsigned *unit)
{
    *unit = 0;
    for (unsigned i = 0; i < 4; i++) {
        int c = text_in_peek(t);
        static const char digits[] = "0123456789abcdef";
        const char *digit = c > 0 ? strchr(digits, c >= 'A' && c <= 'F' ? c + 'a' - 'A' : c) : NULL;

        if (!digit)
            return text_in_fail_form(t, "\\u without four digits");
        *unit = 16 * *unit + (unsigned)(digit - digits);
        text_in_pass(t);
    }
    return 0;
}

static int read_escape(struct text_in *t, struct json_in_value *v, size_t *n)
{
    static const char letters[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
    int c = text_in_peek(t);
    const char *letter = c > 0 ? strchr(letters, c) : NULL;
    unsigned unit;

    if (!letter && c != 'u')
        return text_in_fail_form(t, "an escape that is none");
    text_in_pass(t);
    if (letter)
        put(v, n, (unsigned char)meanings[letter - letters]);
    else if (read_unit(t, &unit) < 0)
        return t->err->code;
    else
        put(v, n, unit > 0 && unit < 0x80 ? (unsigned char)unit : 0xff);
    return 0;
}

/* A character of more than one byte, which must be one. */
static int read_wide(struct text_in *t, struct json_in_value *v, size_t *n)
{
    unsigned char bytes[4];
    uint32_t code;
    size_t len = 0;

    do {
        bytes[len++] = (unsigned char)text_in_peek(t);
        text_in_pass(t);
    } while (len < 4 && text_in_peek(t) >= 0 && (text_in_peek(t) & 0xc0) == 0x80);
    if (utf8_next(bytes, len, &code) != len || code == UTF8_INVALID)
        return text_in_fail_form(t, "a string that is no UTF-8");
    put(v, n, 0xff);
    return 0;
}

/* Behind its first quote. */
static int read_string(struct text_in *t, struct json_in_value *v)
{
    size_t n = 0;
    int ret = 0;

    v->kind = JSON_IN_STRING;
    v->longer = false;
    while (ret == 0 && !text_in_take(t, '"')) {
        int c = text_in_peek(t);

        if (c < 0)
            return text_in_fail_form(t, "it ends within a string");
        if (c < 0x20)
            return text_in_fail_form(t, "a control character in a string");
        if (c >= 0x80) {
            ret = read_wide(t, v, &n);
            continue;
        }
        text_in_pass(t);
        if (c == '\\')
            ret = read_escape(t, v, &n);
        else
            put(v, &n, (unsigned char)c);
    }
    v->text[n] = '\0';
    return ret;
}

/* ---- numbers and words --------------------------------------------------------------------------------- */

static int read_digits(struct text_in *t)
{
    if (!text_is_digit(text_in_peek(t)))
        return text_in_fail_form(t, "a number is expected");
    while (text_is_digit(text_in_peek(t)))
        text_in_pass(t);
    return 0;
}

static int read_number(struct text_in *t, struct json_in_value *v)
{
    bool negative = text_in_take(t, '-');
    int ret = text_in_u64(t, &v->number);

    v->kind = negative ? JSON_IN_NUMBER : JSON_IN_WHOLE;
    if (ret == 0 && text_in_take(t, '.')) {
        v->kind = JSON_IN_NUMBER;
        ret = read_digits(t);
    }
    if (ret == 0 && (text_in_take(t, 'e') || text_in_take(t, 'E'))) {
        v->kind = JSON_IN_NUMBER;
        if (!text_in_take(t, '+'))
            text_in_take(t, '-');
        ret = read_digits(t);
    }
    return ret;
}

static int read_word(struct text_in *t, struct json_in_value *v)
{
    int c = text_in_peek(t);
    const char *word = c == 't' ? "true" : c == 'f' ? "false" : "null";

    v->kind = c == 'n' ? JSON_IN_NULL : JSON_IN_BOOL;
    v->truth = c == 't';
    for (; *word; word++) {
        if (!text_in_take(t, *word))
            return text_in_fail_form(t, "a value is expected");
    }
    return 0;
}

static int read_scalar(struct text_in *t, struct json_in_value *v)
{
    int c = text_in_peek(t);

    if (c == '-' || text_is_digit(c))
        return read_number(t, v);
    if (text_in_take(t, '"'))
        return read_string(t, v);
    return read_word(t, v);
}

/* ---- lists and objects --------------------------------------------------------------------------------- */

int json_in_open(struct text_in *t, char bracket)
{
    text_in_space(t);
    return text_in_take(t, bracket) ? 0 : text_in_fail_missing(t, bracket);
}

int json_in_next(struct text_in *t, char close, bool *first)
{
    bool was_first = *first;

    *first = false;
    text_in_space(t);
    if (text_in_take(t, close))
        return 0;
    if (!was_first && !text_in_take(t, ','))
        return text_in_fail_missing(t, close);
    return 1;
}

int json_in_member(struct text_in *t, bool *first, struct json_in_value *name)
{
    int ret = json_in_next(t, '}', first);

    if (ret <= 0)
        return ret;
    ret = json_in_open(t, '"');
    if (ret == 0)
        ret = read_string(t, name);
    if (ret < 0)
        return ret;
    text_in_space(t);
    return text_in_take(t, ':') ? 1 : text_in_fail_missing(t, ':');
}

/* Lists and objects in each other, of which the brackets are kept: behind the first one, to the one that closes it. */
static int pass_nested(struct text_in *t, char bracket)
{
    char close[JSON_IN_MAX_DEPTH];
    bool first = true;
    unsigned depth = 0;

    close[depth++] = bracket == '[' ? ']' : '}';
    while (depth > 0) {
        struct json_in_value v;
        bool list = close[depth - 1] == ']';
        int ret = list ? json_in_next(t, ']', &first) : json_in_member(t, &first, &v);

        if (ret < 0)
            return ret;
        if (ret == 0) {
            depth--; /* what it lay in goes on behind it, so first is false there */
            continue;
        }
        text_in_space(t);
        first = text_in_peek(t) == '[' || text_in_peek(t) == '{';
        if (first && depth == JSON_IN_MAX_DEPTH)
            return text_in_fail_form(t, "nesting too deep");
        if (first)
            close[depth++] = text_in_peek(t) == '[' ? ']' : '}';
        if (first)
            text_in_pass(t);
        else if (read_scalar(t, &v) < 0)
            return t->err->code;
    }
    return 0;
}

int json_in_value(struct text_in *t, struct json_in_value *out)
{
    char bracket;

    text_in_space(t);
    bracket = text_in_peek(t) == '[' ? '[' : '{';
    if (!text_in_take(t, bracket))
        return read_scalar(t, out);
    out->kind = JSON_IN_NESTED;
    return pass_nested(t, bracket);
}

int json_in_line(struct text_in *t, bool *first)
{
    bool new_line = *first;

    *first = false;
    text_in_blanks(t);
    new_line |= text_in_peek(t) == '\n';
    text_in_space(t);
    if (text_in_peek(t) < 0 && !ferror(t->in))
        return new_line ? 0 : text_in_fail_form(t, "the last line has no end");
    return new_line ? 1 : text_in_fail_form(t, "more than one object in a line");
}
