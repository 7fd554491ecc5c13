/* fuzz_cli_json.c - what the command prints of bytes that nobody has checked: legal JSON, and harmless text
 * SPDX-License-Identifier: MIT
 *
 * The input is a program: a byte chooses a call, some calls take a length byte and that many bytes. What comes out is
 * read by a strict little parser. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "json_write.h"
#include "qemu_text.h"
#include "rows.h"
#include "utf8.h"

#define MAX_DEPTH 60u

/* ---- a strict JSON reader ---- */

struct reader {
    const char *at, *end;
};

static _Noreturn void bad(const char *why)
{
    fuzz_fail("JSON", why);
}

static void skip_blanks(struct reader *r)
{
    while (r->at < r->end && (*r->at == ' ' || *r->at == '\n'))
        r->at++;
}

static bool take(struct reader *r, char c)
{
    skip_blanks(r);
    if (r->at == r->end || *r->at != c)
        return false;
    r->at++;
    return true;
}

static unsigned read_hex4(struct reader *r)
{
    unsigned value = 0;

    for (int i = 0; i < 4; i++, r->at++) {
        char digit = r->at < r->end ? *r->at : '\0';
        bool decimal = digit >= '0' && digit <= '9';

        if (!decimal && !(digit >= 'A' && digit <= 'F'))
            bad("\\u without four digits");
        value = value << 4 | (unsigned)(decimal ? digit - '0' : digit - 'A' + 10);
    }
    return value;
}

static void read_escape(struct reader *r)
{
    unsigned high;

    if (r->at == r->end || !strchr("\"\\bfnrtu", *r->at))
        bad("unknown escape");
    if (*r->at++ != 'u')
        return;
    high = read_hex4(r);
    if (high >= 0xDC00 && high <= 0xDFFF)
        bad("a low surrogate alone");
    if (high < 0xD800 || high > 0xDBFF)
        return;
    if (r->end - r->at < 2 || r->at[0] != '\\' || r->at[1] != 'u')
        bad("a high surrogate alone");
    r->at += 2;
    high = read_hex4(r);
    if (high < 0xDC00 || high > 0xDFFF)
        bad("a high surrogate without a low one");
}

static void read_string(struct reader *r)
{
    if (!take(r, '"'))
        bad("no string");
    while (r->at < r->end && *r->at != '"') {
        unsigned char c = (unsigned char)*r->at++;

        if (c < 0x20 || c >= 0x7f)
            bad("a control or non-ASCII character in a string");
        if (c == '\\')
            read_escape(r);
    }
    if (!take(r, '"'))
        bad("a string without end");
}

static void read_scalar(struct reader *r)
{
    size_t n = strspn(r->at, "-0123456789.eE+");

    if (n == 0)
        n = strspn(r->at, "truefalsn"); /* true, false, null: compared below */
    if (n == 0 ||
        (r->at[0] > '9' && strncmp(r->at, "true", n) && strncmp(r->at, "false", n) && strncmp(r->at, "null", n)))
        bad("neither number nor word");
    if (r->at[0] == '0' && n > 1 && r->at[1] != '.')
        bad("a number with a leading zero");
    r->at += n;
}

static void read_value(struct reader *r)
{
    char close[MAX_DEPTH + 2] = { 0 };
    unsigned depth = 0;

    do {
        skip_blanks(r);
        if (depth && close[depth] == '}' && r->at < r->end && *r->at != '}') {
            read_string(r);
            if (!take(r, ':'))
                bad("a key without a value");
            skip_blanks(r);
        }
        if (r->at < r->end && (*r->at == '{' || *r->at == '[')) {
            if (depth == MAX_DEPTH + 1)
                bad("too deep");
            close[++depth] = *r->at++ == '{' ? '}' : ']';
            skip_blanks(r);
            if (r->at < r->end && *r->at != close[depth])
                continue;
        } else if (r->at < r->end && *r->at == '"') {
            read_string(r);
        } else {
            read_scalar(r);
        }
        while (depth && take(r, close[depth]))
            depth--;
        if (depth && !take(r, ','))
            bad("no comma between two values");
    } while (depth);
}

/* ---- the program ---- */

struct program {
    const uint8_t *at, *end;
    char text[256];
    size_t len;
};

static uint8_t next(struct program *p)
{
    return p->at < p->end ? *p->at++ : 0;
}

static void next_text(struct program *p)
{
    size_t n = next(p);

    p->len = n < (size_t)(p->end - p->at) ? n : (size_t)(p->end - p->at);
    if (p->len)
        memcpy(p->text, p->at, p->len);
    p->text[p->len] = 0;
    p->at += p->len;
}

static uint64_t next_u64(struct program *p)
{
    uint64_t v = 0;

    for (int i = 0; i < 8; i++)
        v = v << 8 | next(p);
    return v;
}

static void one_scalar(struct json_writer *w, struct program *p, uint8_t what, const char *key)
{
    switch (what % 6) {
    case 0:
        next_text(p);
        json_bytes(w, key, p->text, p->len);
        break;
    case 1:
        next_text(p);
        json_string(w, key, p->text);
        break;
    case 2:
        next_text(p);
        json_hex(w, key, (const uint8_t *)p->text, p->len);
        break;
    case 3:
        json_u64(w, key, next_u64(p));
        break;
    case 4:
        json_fixed(w, key, (double)next_u64(p) / 7, what >> 5);
        break;
    default:
        if (what & 64)
            json_null(w, key);
        else
            json_bool(w, key, what & 128);
    }
}

static void write_json(struct program *p, FILE *out)
{
    struct json_writer w = JSON_WRITER_INIT(out);
    bool object[MAX_DEPTH + 1] = { 0 };

    json_begin_array(&w, NULL);
    while (p->at < p->end) {
        uint8_t what = next(p);
        char key[256];

        if (what % 4 == 1 && w.depth > 1) {
            object[w.depth - 1] ? json_end_object(&w) : json_end_array(&w);
            continue;
        }
        if (object[w.depth - 1]) {
            next_text(p);
            memcpy(key, p->text, sizeof(key));
        }
        if (what % 4 == 2 && w.depth < MAX_DEPTH) {
            bool begin_object = what & 16;
            const char *k = object[w.depth - 1] ? key : NULL;

            object[w.depth] = begin_object;
            begin_object ? json_begin_object(&w, k) : json_begin_array(&w, k);
        } else {
            one_scalar(&w, p, what / 4, object[w.depth - 1] ? key : NULL);
        }
    }
    while (w.depth > 0)
        object[w.depth - 1] && w.depth > 1 ? json_end_object(&w) : json_end_array(&w);
    json_finish(&w);
}

static void check_json(const uint8_t *data, size_t size)
{
    struct program p = { .at = data, .end = data + size };
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    struct reader r;

    if (!out)
        abort();
    write_json(&p, out);
    fclose(out);
    r = (struct reader){ text, text + len };
    read_value(&r);
    fuzz_require(r.at + 1 == r.end && *r.at == '\n', "JSON", "does not end with one newline");
    free(text);
}

/* ---- text ---- */

static void check_escaped(const char *text, size_t len)
{
    for (size_t at = 0; at < len;) {
        uint32_t code;
        size_t taken = utf8_next((const unsigned char *)text + at, len - at, &code);

        fuzz_require(taken >= 1 && taken <= len - at, "UTF-8", "takes more than there is");
        fuzz_require(code != UTF8_INVALID, "escaped text", "is not UTF-8");
        fuzz_require(code >= 0x20 && (code < 0x7f || code > 0x9f), "escaped text", "has a control character");
        fuzz_require(code < 0x202a || code > 0x202e, "escaped text", "turns the direction of writing");
        at += taken;
    }
}

static char *as_string(const uint8_t *data, size_t size)
{
    char *copy = malloc(size + 1);

    if (!copy)
        abort();
    if (size)
        memcpy(copy, data, size);
    copy[size] = 0;
    return copy;
}

static void check_text(const uint8_t *data, size_t size)
{
    const char *bytes = (const char *)data;
    char *text = NULL, *copy;
    size_t len = 0, printed;
    FILE *out = open_memstream(&text, &len);
    uint64_t value;

    if (!out)
        abort();
    printed = print_escaped(out, bytes, size);
    fclose(out);
    fuzz_require(printed == len, "escaped text", "another length than was told");
    fuzz_require(escaped_columns(bytes, size) <= printed, "escaped text", "more columns than bytes");
    check_escaped(text, len);
    free(text);
    copy = as_string(data, size);
    if (size_parse(copy, &value) == SIZE_OK)
        fuzz_require(value <= INT64_MAX, "size", "above 2^63 - 1");
    free(copy);
}

/* A row of text is one line, whatever the value. */
static void check_row(const uint8_t *data, size_t size)
{
    char *text = NULL, *copy = as_string(data, size);
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    struct rows rows = ROWS_TEXT(out, 1);

    if (!out)
        abort();
    rows_string(&rows, "file-name", copy);
    fclose(out);
    fuzz_require(len > 0 && strchr(text, '\n') == text + len - 1, "row", "is not one line");
    free(text);
    free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    check_json(data, size);
    check_text(data, size);
    check_row(data, size);
    return 0;
}
