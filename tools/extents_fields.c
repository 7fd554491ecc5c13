/* extents_fields.c - an object in JSON whose members are known
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "extents_fields.h"

unsigned fields_find(const struct fields *f, const struct json_in_value *name)
{
    unsigned i = 0;

    while (i < f->n && (name->longer || strcmp(name->text, f->rows[i].name) != 0))
        i++;
    return i;
}

int fields_note(struct text_in *t, struct fields *f, unsigned i)
{
    if (f->given & 1u << i)
        return text_in_fail(t, "an object with a member that comes twice: %s", f->rows[i].name);
    f->given |= 1u << i;
    return 0;
}

static int read_member(struct text_in *t, struct fields *f, const struct json_in_value *name)
{
    unsigned i = fields_find(f, name);
    struct json_in_value skipped;
    int ret;

    if (i == f->n)
        return f->others ? json_in_value(t, &skipped)
                         : text_in_fail(t, "%s with %s, which is not known here", f->what, name->text);
    ret = fields_note(t, f, i);
    return ret < 0 ? ret : json_in_value(t, &f->values[i]);
}

int fields_read(struct text_in *t, struct fields *f)
{
    struct json_in_value name;
    bool first = true;
    int ret = json_in_open(t, '{');

    f->given = 0;
    while (ret == 0 && (ret = json_in_member(t, &first, &name)) == 1)
        ret = read_member(t, f, &name);
    return ret;
}

/* ---- values -------------------------------------------------------------------------------------------- */

/* The digits of a string as a number. */
static bool take_digits(struct json_in_value *v)
{
    const char *at = v->text;

    if (v->kind != JSON_IN_STRING || v->longer || !text_is_digit(*at) || (at[0] == '0' && at[1]))
        return false;
    for (v->number = 0; text_is_digit(*at); at++) {
        unsigned digit = (unsigned)(*at - '0');

        v->number = v->number > (UINT64_MAX - digit) / 10 ? UINT64_MAX : 10 * v->number + digit;
    }
    return !*at;
}

static int check_number(struct text_in *t, const struct fields *f, const struct field *row, struct json_in_value *v)
{
    if (v->kind != JSON_IN_WHOLE && !(row->kind == FIELD_NUMBER_OR_TEXT && take_digits(v)))
        return text_in_fail(t, "%s of %s is not a whole number", row->name, f->what);
    if (v->number == UINT64_MAX)
        return text_in_fail(t, "%s of %s is too large", row->name, f->what);
    return 0;
}

static int check_value(struct text_in *t, const struct fields *f, const struct field *row, struct json_in_value *v)
{
    if (row->kind == FIELD_BOOL && v->kind != JSON_IN_BOOL)
        return text_in_fail(t, "%s of %s is neither true nor false", row->name, f->what);
    if (row->kind == FIELD_TEXT && v->kind != JSON_IN_STRING)
        return text_in_fail(t, "%s of %s is no string", row->name, f->what);
    return row->kind == FIELD_BOOL || row->kind == FIELD_TEXT ? 0 : check_number(t, f, row, v);
}

int fields_check(struct text_in *t, struct fields *f, unsigned which)
{
    int ret = 0;

    for (unsigned i = 0; ret == 0 && i < f->n; i++) {
        if (f->given & which & 1u << i)
            ret = check_value(t, f, &f->rows[i], &f->values[i]);
    }
    return ret;
}
