/* json_list.c - an array of objects in JSON, read one object at a time
 * SPDX-License-Identifier: MIT
 *
 * json-c keeps what it has read until all is there, and a list may be longer than memory. So brackets and commas of the
 * list are read here, and json-c gets one object after the other. */
#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "json_list.h"

int json_list_fail(struct json_list *list, const char *fmt, ...)
{
    va_list args;

    if (ferror(list->in)) {
        *list->err = (struct qcbm_error){ .code = QCBM_E_IO, .sys_errno = errno, .offset = QCBM_NO_OFFSET };
        snprintf(list->err->message, sizeof list->err->message, "could not read the list: %s", strerror(errno));
        return QCBM_E_IO;
    }
    *list->err = (struct qcbm_error){ .code = QCBM_E_CORRUPT, .offset = list->at };
    va_start(args, fmt);
    vsnprintf(list->err->message, sizeof list->err->message, fmt, args);
    va_end(args);
    return QCBM_E_CORRUPT;
}

/* ---- between the objects ------------------------------------------------------------------------------- */

/* Are there bytes to be looked at? Not at the end, or if reading failed. */
static bool fill(struct json_list *list)
{
    if (list->next == list->len) {
        list->next = 0;
        list->len = fread(list->bytes, 1, sizeof list->bytes, list->in);
    }
    return list->next < list->len;
}

static void skip_space(struct json_list *list)
{
    for (; fill(list) && strchr(" \t\r\n", list->bytes[list->next]) && list->bytes[list->next]; list->at++)
        list->next++;
}

/* Is @wanted what comes next? */
static bool see(struct json_list *list, char wanted)
{
    skip_space(list);
    return fill(list) && list->bytes[list->next] == wanted;
}

static bool take(struct json_list *list, char wanted)
{
    if (!see(list, wanted))
        return false;
    list->next++;
    list->at++;
    return true;
}

static int fail_missing(struct json_list *list, char wanted)
{
    return json_list_fail(list, "no list of objects in JSON: '%c' is expected", wanted);
}

/* ---- an object ----------------------------------------------------------------------------------------- */

/* What json-c does not tell: strings in single quotes, which are no JSON, and how many members there are, of which it
 * keeps the last one of each name. */
struct scan {
    size_t text, commas;
    unsigned depth;
    bool in_string, escaped, single;
};

static void scan_byte(struct scan *s, char c)
{
    if (s->in_string) {
        s->in_string = s->escaped || c != '"';
        s->escaped = !s->escaped && c == '\\';
        return;
    }
    s->in_string = c == '"';
    s->single |= c == '\'';
    s->depth += c == '{' || c == '[';
    s->depth -= c == '}' || c == ']';
    s->commas += c == ',' && s->depth == 1;
}

/* What json-c has taken of the bytes that are here. */
static void scan_taken(struct json_list *list, struct scan *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        scan_byte(s, list->bytes[list->next + i]);
    s->text += n;
    list->next += n;
    list->at += n;
}

static int check_object(struct json_list *list, const struct scan *s)
{
    size_t members = s->text > 2 ? s->commas + 1 : 0, names = (size_t)json_object_object_length(list->object);

    if (s->single)
        return json_list_fail(list, "no list of objects in JSON: a string in single quotes");
    if (s->text > JSON_LIST_MAX_TEXT)
        return json_list_fail(list, "an object of more than %d bytes", JSON_LIST_MAX_TEXT);
    if (names > 0 && names < members)
        return json_list_fail(list, "an object with a member that comes twice");
    return 1;
}

static int read_object(struct json_list *list)
{
    enum json_tokener_error state = json_tokener_continue;
    struct scan s = { 0 };

    json_tokener_reset(list->tokener);
    while (state == json_tokener_continue && s.text <= JSON_LIST_MAX_TEXT && fill(list)) {
        list->object = json_tokener_parse_ex(list->tokener, list->bytes + list->next, (int)(list->len - list->next));
        state = json_tokener_get_error(list->tokener);
        scan_taken(list, &s, json_tokener_get_parse_end(list->tokener));
    }
    if (state == json_tokener_success)
        return check_object(list, &s);
    if (state == json_tokener_continue && s.text > JSON_LIST_MAX_TEXT)
        return json_list_fail(list, "an object of more than %d bytes", JSON_LIST_MAX_TEXT);
    if (state == json_tokener_continue)
        return json_list_fail(list, "no list of objects in JSON: it ends within an object");
    return json_list_fail(list, "no list of objects in JSON: %s", json_tokener_error_desc(state));
}

/* ---- the list ------------------------------------------------------------------------------------------ */

int json_list_begin(struct json_list *list, FILE *in, struct qcbm_error *err)
{
    memset(list, 0, sizeof *list);
    list->in = in;
    list->err = err;
    list->tokener = json_tokener_new_ex(JSON_LIST_MAX_DEPTH);
    if (!list->tokener) {
        *err = (struct qcbm_error){ .code = QCBM_E_NOMEM, .offset = QCBM_NO_OFFSET, .message = "no memory" };
        return QCBM_E_NOMEM;
    }
    json_tokener_set_flags(list->tokener,
                           JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8 | JSON_TOKENER_ALLOW_TRAILING_CHARS);
    return take(list, '[') ? 0 : fail_missing(list, '[');
}

void json_list_end(struct json_list *list)
{
    json_object_put(list->object);
    if (list->tokener)
        json_tokener_free(list->tokener);
    memset(list, 0, sizeof *list);
}

int json_list_next(struct json_list *list, struct json_object **out)
{
    bool first = !list->object;
    int ret;

    json_object_put(list->object);
    list->object = NULL;
    if (take(list, ']')) {
        skip_space(list);
        return fill(list) || ferror(list->in) ? json_list_fail(list, "something follows the list") : 0;
    }
    if (!first && !take(list, ','))
        return fail_missing(list, ']');
    if (!see(list, '{'))
        return fail_missing(list, '{');
    ret = read_object(list);
    *out = list->object;
    return ret;
}
