/* field_parse.c - "l2 0x10000: 0x8000000000050000=0x1": an edit as it is written
 * SPDX-License-Identifier: MIT
 *
 * Values stand at the end, so that it is read from there: a name of a bitmap may have anything in it. */
#include <stdlib.h>
#include <string.h>

#include "repair/field.h"

/* What stands behind the first word: the name of a field, a number, an offset, a name and a number, or a bitmap in
 * front of either. */
enum rest { REST_NAME, REST_INDEX, REST_OFFSET, REST_INDEX_NAME, REST_WHOSE_NAME, REST_WHOSE_INDEX };

static const struct {
    const char *word;
    enum qcbmi_field_kind kind;
    enum rest rest;
} kinds[] = {
    { "header", QCBMI_FIELD_HEADER, REST_NAME },
    { "extension", QCBMI_FIELD_EXTENSION, REST_INDEX_NAME },
    { "l1", QCBMI_FIELD_L1, REST_INDEX },
    { "l2", QCBMI_FIELD_L2, REST_OFFSET },
    { "subclusters", QCBMI_FIELD_SUBCLUSTERS, REST_OFFSET },
    { "refcount", QCBMI_FIELD_REFCOUNT, REST_INDEX },
    { "refcount_table", QCBMI_FIELD_REFCOUNT_TABLE, REST_INDEX },
    { "snapshot", QCBMI_FIELD_SNAPSHOT, REST_INDEX_NAME },
    { "bitmaps", QCBMI_FIELD_BITMAPS, REST_NAME },
    { "bitmap", QCBMI_FIELD_BITMAP, REST_WHOSE_NAME },
    { "bitmap_table", QCBMI_FIELD_BITMAP_TABLE, REST_WHOSE_INDEX },
};

static struct qcbmi_word trim(const char *begin, const char *end)
{
    while (begin < end && *begin == ' ')
        begin++;
    while (begin < end && end[-1] == ' ')
        end--;
    return (struct qcbmi_word){ begin, (size_t)(end - begin) };
}

static const char *last_of(struct qcbmi_word w, char c)
{
    const char *at = w.at + w.len;

    while (at > w.at)
        if (*--at == c)
            return at;
    return NULL;
}

bool qcbmi_word_is(struct qcbmi_word word, const char *text)
{
    return strlen(text) == word.len && memcmp(word.at, text, word.len) == 0;
}

static int digit(char c, unsigned base)
{
    int v = c >= '0' && c <= '9'   ? c - '0'
            : c >= 'a' && c <= 'f' ? c - 'a' + 10
            : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                   : 16;

    return v < (int)base ? v : -1;
}

bool qcbmi_word_number(struct qcbmi_word word, uint64_t *out)
{
    bool hex = word.len > 2 && word.at[0] == '0' && (word.at[1] | 0x20) == 'x';
    uint64_t value = 0;

    for (size_t i = hex ? 2 : 0; i < word.len; i++) {
        int d = digit(word.at[i], hex ? 16 : 10);

        if (d < 0 || __builtin_mul_overflow(value, hex ? 16 : 10, &value) ||
            __builtin_add_overflow(value, (uint64_t)d, &value))
            return false;
    }
    *out = value;
    return word.len > 0;
}

/* A number, or a whole one of the units that sizes have. */
static bool word_offset(struct qcbmi_word word, uint64_t *out)
{
    static const char units[] = "kMGTPE";
    const char *unit = word.len > 1 ? strchr(units, word.at[word.len - 1] == 'K' ? 'k' : word.at[word.len - 1]) : NULL;
    unsigned shift = unit ? 10 * (unsigned)(unit - units + 1) : 0;

    if (!unit || *unit == '\0' || (word.len > 2 && (word.at[1] | 0x20) == 'x')) /* E is a digit there */
        return qcbmi_word_number(word, out);
    word.len--;
    return qcbmi_word_number(word, out) && !__builtin_mul_overflow(*out, UINT64_C(1) << shift, out);
}

static int fail(const char *text, const char *why, struct qcbm_error *err)
{
    char shown[160];

    return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET, "'%s': %s",
                      qcbmi_printable(shown, sizeof(shown), text, strlen(text)), why);
}

/* The last word of @rest into *@last, what is before it stays. False if there is only one. */
static bool split_last(struct qcbmi_word *rest, struct qcbmi_word *last)
{
    const char *space = last_of(*rest, ' ');

    if (!space)
        return false;
    *last = trim(space, rest->at + rest->len);
    *rest = trim(rest->at, space);
    return rest->len > 0;
}

static bool parse_rest(struct qcbmi_word rest, enum rest how, struct qcbmi_field *f)
{
    struct qcbmi_word last = { NULL, 0 };

    if (how == REST_INDEX)
        return qcbmi_word_number(rest, &f->index);
    if (how == REST_OFFSET)
        return word_offset(rest, &f->index);
    f->name = rest;
    if (how == REST_NAME)
        return rest.len > 0 && !last_of(rest, ' ');
    if (!split_last(&rest, &last))
        return false;
    f->name = last;
    f->whose = rest;
    if (how == REST_INDEX_NAME)
        return qcbmi_word_number(rest, &f->index);
    return how == REST_WHOSE_NAME || qcbmi_word_number(last, &f->index);
}

/* Why what stands behind the first word is not what belongs there. */
static const char *why_not(struct qcbmi_word rest, enum rest how, bool has_old)
{
    if (rest.len == 0 || (how != REST_INDEX && how != REST_OFFSET))
        return "the field is not named in full: l2 GUEST-OFFSET, header NAME, bitmap BITMAP NAME ...";
    if (!has_old && last_of(rest, ' '))
        return "there is no ':' between the field and the old number: an edit is 'FIELD: OLD=NEW'";
    return how == REST_OFFSET
               ? "the offset is no number: decimal, with k, M, G, T, P or E behind it, or hexadecimal behind 0x"
               : "the index is no number: decimal, or hexadecimal behind 0x";
}

static int parse_field(const char *text, struct qcbmi_field *f, struct qcbm_error *err)
{
    const char *end = f->text.at + f->text.len, *space = memchr(f->text.at, ' ', f->text.len);
    struct qcbmi_word rest, first = { f->text.at, space ? (size_t)(space - f->text.at) : f->text.len };

    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (!qcbmi_word_is(first, kinds[i].word))
            continue;
        f->kind = kinds[i].kind;
        rest = trim(space ? space : end, end);
        return parse_rest(rest, kinds[i].rest, f) ? 0 : fail(text, why_not(rest, kinds[i].rest, f->has_old), err);
    }
    return fail(text,
                "no such field: there are header, extension, l1, l2, subclusters, refcount, refcount_table, snapshot, "
                "bitmaps, bitmap and bitmap_table",
                err);
}

int qcbmi_field_parse(const char *text, struct qcbmi_field *out, struct qcbm_error *err)
{
    struct qcbmi_field f = { 0 };
    struct qcbmi_word all = { text, strlen(text) }, old;
    const char *equals = last_of(all, '='), *colon;

    if (!equals || !qcbmi_word_number(trim(equals + 1, text + all.len), &f.new_value))
        return fail(text, "an edit is 'FIELD: OLD=NEW', with numbers that are decimal or begin with 0x", err);
    f.text = trim(text, equals);
    colon = last_of(f.text, ':');
    if (colon) {
        old = trim(colon + 1, equals);
        f.has_old = qcbmi_word_number(old, &f.old_value);
        if (f.has_old)
            f.text = trim(text, colon);
    }
    if (parse_field(text, &f, err) < 0)
        return QCBM_E_ARG;
    *out = f;
    return 0;
}
