/* image_json.c - the JSON of an image name, as strictly as QEMU reads it
 * SPDX-License-Identifier: MIT
 *
 * What is opened is perhaps written to, so a text that others could read otherwise is refused. json-c takes the last of
 * two members of one name, and ends a name or a value at a NUL. Strings in single quotes are QEMU's own, and are kept.
 */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "image_json.h"

/* The text in double quotes alone, and how many members its objects have. */
struct plain {
    char *text;
    size_t len, members;
    bool nul; /* written as an escape */
};

static void put(struct plain *p, const char *bytes, size_t n)
{
    memcpy(p->text + p->len, bytes, n);
    p->len += n;
}

/* Takes the string that begins at @from with a quote, up to its end or that of the text; returns what is behind it. */
static const char *put_string(struct plain *p, const char *from)
{
    const char quote = *from++;

    put(p, "\"", 1);
    for (; *from && *from != quote; from++) {
        p->nul |= strncmp(from, "\\u0000", 6) == 0;
        if (*from == '\\' && from[1] == '\'')
            put(p, ++from, 1);
        else if (*from == '\\' && from[1])
            put(p, from++, 2);
        else if (*from == '"')
            put(p, "\\\"", 2);
        else
            put(p, from, 1);
    }
    if (*from)
        put(p, "\"", 1);
    return *from ? from + 1 : from;
}

static bool make_plain(struct plain *p, const char *text)
{
    p->text = malloc(2 * strlen(text) + 2);
    if (!p->text)
        return false;
    while (*text) {
        if (*text == '"' || *text == '\'') {
            text = put_string(p, text);
        } else {
            p->members += *text == ':';
            put(p, text++, 1);
        }
    }
    p->text[p->len] = '\0';
    return true;
}

static size_t count_members(struct json_object *value)
{
    size_t n = 0;

    if (json_object_is_type(value, json_type_array)) {
        for (size_t i = 0; i < json_object_array_length(value); i++)
            n += count_members(json_object_array_get_idx(value, i));
    } else if (json_object_is_type(value, json_type_object)) {
        json_object_object_foreach(value, name, inner)
        {
            (void)name;
            n += 1 + count_members(inner);
        }
    }
    return n;
}

static struct json_object *parse(const struct plain *p, const char **why)
{
    struct json_tokener *tok = json_tokener_new();
    struct json_object *object = NULL;

    if (!tok) {
        *why = "no memory";
        return NULL;
    }
    json_tokener_set_flags(tok, JSON_TOKENER_STRICT);
    object = json_tokener_parse_ex(tok, p->text, (int)p->len + 1);
    if (json_tokener_get_error(tok) != json_tokener_success)
        *why = json_tokener_error_desc(json_tokener_get_error(tok));
    json_tokener_free(tok);
    return object;
}

struct json_object *image_json_parse(const char *text, const char **why)
{
    struct plain p = { 0 };
    struct json_object *object = NULL;

    *why = NULL;
    if (strlen(text) > 1 << 20)
        *why = "it is too long";
    else if (!make_plain(&p, text))
        *why = "no memory";
    else if (p.nul)
        *why = "JSON parse error, a string has a NUL in it";
    else
        object = parse(&p, why);
    if (object && count_members(object) != p.members)
        *why = "JSON parse error, duplicate key";
    free(p.text);
    if (*why) {
        json_object_put(object);
        return NULL;
    }
    return object;
}
