/* json_squeeze.c - a JSON value as it comes, made one line
 * SPDX-License-Identifier: MIT
 */
#include "json_squeeze.h"

static void open_one(struct json_squeeze *s, char c)
{
    s->wrong |= s->ended || s->depth == JSON_SQUEEZE_DEPTH;
    if (s->wrong)
        return;
    s->objects &= ~(UINT64_C(1) << s->depth);
    s->objects |= (uint64_t)(c == '{') << s->depth;
    s->depth++;
    s->begun = true;
}

static void close_one(struct json_squeeze *s, char c)
{
    s->wrong |= s->depth == 0 || (s->objects >> (s->depth - 1) & 1) != (c == '}');
    if (s->wrong)
        return;
    s->depth--;
    s->ended = s->depth == 0;
}

static void outside(struct json_squeeze *s, char c)
{
    if (c == '{' || c == '[')
        open_one(s, c);
    else if (c == '}' || c == ']')
        close_one(s, c);
    else
        s->wrong |= s->depth == 0 || (unsigned char)c <= ' ' || (unsigned char)c >= 0x7F;
    s->in_string = c == '"';
}

static void inside(struct json_squeeze *s, char c)
{
    s->wrong |= (unsigned char)c < ' ';
    if (s->escaped)
        s->escaped = false;
    else if (c == '\\')
        s->escaped = true;
    else
        s->in_string = c != '"';
}

size_t json_squeeze(struct json_squeeze *s, const char *from, size_t len, char *to)
{
    size_t n = 0;

    for (size_t i = 0; i < len && !s->wrong; i++) {
        if (s->in_string)
            inside(s, from[i]);
        else if (from[i] == ' ' || from[i] == '\n' || from[i] == '\t' || from[i] == '\r')
            continue;
        else
            outside(s, from[i]);
        to[n++] = from[i];
    }
    return n;
}

bool json_squeeze_is_whole(const struct json_squeeze *s)
{
    return s->ended && !s->wrong;
}
