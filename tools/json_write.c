/* json_write.c - a small JSON writer that streams, laid out as qemu-img lays it out
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "json_write.h"
#include "text_out.h"
#include "utf8.h"

/* \uXXXX. A name may be made of such characters alone: fprintf() is slow. */
static void put_unit(struct json_writer *w, uint32_t unit)
{
    static const char hex[] = "0123456789ABCDEF";

    putc_unlocked('\\', w->out);
    putc_unlocked('u', w->out);
    for (int shift = 12; shift >= 0; shift -= 4)
        putc_unlocked(hex[unit >> shift & 15], w->out);
}

static void put_char(struct json_writer *w, uint32_t code)
{
    static const char named[] = "\"\"\\\\\bb\ff\nn\rr\tt"; /* pairs: character, letter after the backslash */

    for (const char *p = named; *p; p += 2) {
        if (code == (unsigned char)*p) {
            fprintf(w->out, "\\%c", p[1]);
            return;
        }
    }
    if (code >= 0x20 && code < 0x7F)
        fputc((int)code, w->out);
    else if (code > 0xFFFF) {
        put_unit(w, 0xD800 + ((code - 0x10000) >> 10));
        put_unit(w, 0xDC00 + (code & 0x3FF));
    } else
        put_unit(w, code);
}

/* Bytes at the start that stand for themselves. */
static size_t plain_run(const unsigned char *at, size_t len)
{
    size_t n = 0;

    while (n < len && at[n] >= 0x20 && at[n] < 0x7F && at[n] != '"' && at[n] != '\\')
        n++;
    return n;
}

static void put_text(struct json_writer *w, const char *text, size_t len)
{
    const unsigned char *at = (const unsigned char *)text;

    fputc('"', w->out);
    while (len > 0) {
        size_t taken = plain_run(at, len);
        uint32_t code;

        fwrite(at, 1, taken, w->out);
        at += taken;
        len -= taken;
        if (len == 0)
            break;
        taken = utf8_next(at, len, &code);
        put_char(w, code == UTF8_INVALID ? 0xFFFD : code);
        at += taken;
        len -= taken;
    }
    fputc('"', w->out);
}

static void new_line(struct json_writer *w)
{
    fprintf(w->out, "\n%*s", (int)(w->depth * 4), "");
}

/* Comma, line and key before a value. */
static void start_value(struct json_writer *w, const char *key)
{
    if (w->depth > 0) {
        uint64_t bit = UINT64_C(1) << (w->depth - 1);

        if (w->filled & bit)
            fputc(',', w->out);
        w->filled |= bit;
        new_line(w);
    }
    if (key) {
        put_text(w, key, strlen(key));
        fputs(": ", w->out);
    }
}

static void begin(struct json_writer *w, const char *key, char bracket)
{
    start_value(w, key);
    fputc(bracket, w->out);
    w->filled &= ~(UINT64_C(1) << w->depth++);
}

static void end(struct json_writer *w, char bracket)
{
    w->depth--;
    new_line(w); /* in empty ones, too */
    fputc(bracket, w->out);
}

void json_begin_object(struct json_writer *w, const char *key)
{
    begin(w, key, '{');
}

void json_end_object(struct json_writer *w)
{
    end(w, '}');
}

void json_begin_array(struct json_writer *w, const char *key)
{
    begin(w, key, '[');
}

void json_end_array(struct json_writer *w)
{
    end(w, ']');
}

void json_string(struct json_writer *w, const char *key, const char *value)
{
    json_bytes(w, key, value, strlen(value));
}

void json_bytes(struct json_writer *w, const char *key, const char *value, size_t len)
{
    start_value(w, key);
    put_text(w, value, len);
}

void json_hex(struct json_writer *w, const char *key, const uint8_t *value, size_t len)
{
    start_value(w, key);
    fputc('"', w->out);
    for (size_t i = 0; i < len; i++)
        fprintf(w->out, "%02x", value[i]);
    fputc('"', w->out);
}

void json_u64(struct json_writer *w, const char *key, uint64_t value)
{
    char digits[TEXT_NUMBER];
    const char *end = text_u64(digits, value);

    start_value(w, key);
    fwrite(digits, 1, (size_t)(end - digits), w->out);
}

void json_fixed(struct json_writer *w, const char *key, double value, int digits)
{
    start_value(w, key);
    fprintf(w->out, "%.*f", digits, value);
}

void json_bool(struct json_writer *w, const char *key, bool value)
{
    start_value(w, key);
    fputs(value ? "true" : "false", w->out);
}

void json_null(struct json_writer *w, const char *key)
{
    start_value(w, key);
    fputs("null", w->out);
}

void json_finish(struct json_writer *w)
{
    fputc('\n', w->out);
}
