/* extents_read_csi.c - extents in the messages of the CSI snapshot metadata service, in JSON
 * SPDX-License-Identifier: MIT
 *
 * As the lister of that project prints them, or as the JSON of protocol buffers has it: other names, numbers as
 * strings. What is 0 may be left out. A message may have any number of extents, so they are read as they come. */
#include <inttypes.h>
#include <string.h>

#include "extents_fields.h"
#include "extents_reader.h"

enum { TYPE, CAPACITY, LIST, N_NAMES, PROTO = N_NAMES };

static const struct field message_rows[] = {
    { "block_metadata_type", FIELD_TEXT },
    { "volume_capacity_bytes", FIELD_NUMBER_OR_TEXT },
    { "block_metadata", FIELD_TEXT },
    { "blockMetadataType", FIELD_TEXT },
    { "volumeCapacityBytes", FIELD_NUMBER_OR_TEXT },
    { "blockMetadata", FIELD_TEXT },
};
static const struct field tuple_rows[] = {
    { "byte_offset", FIELD_NUMBER_OR_TEXT },
    { "size_bytes", FIELD_NUMBER_OR_TEXT },
    { "byteOffset", FIELD_NUMBER_OR_TEXT },
    { "sizeBytes", FIELD_NUMBER_OR_TEXT },
};

struct stream {
    struct extents_reader *r;
    unsigned type; /* of all messages; 0: none was met yet */
};

/* ---- one extent ---------------------------------------------------------------------------------------- */

static int read_tuple(struct extents_reader *r)
{
    struct fields f = { .rows = tuple_rows, .n = 4, .what = "an extent" };
    struct qcbm_extent e = { .dirty = true };
    int ret = fields_read(&r->text, &f);

    if (ret == 0)
        ret = fields_check(&r->text, &f, f.given);
    if (ret < 0)
        return ret;
    if ((f.given & 5) == 5 || (f.given & 10) == 10)
        return text_in_fail(&r->text, "an extent with two names of one member");
    if (!(f.given & 10))
        return text_in_fail(&r->text, "an extent without size_bytes");
    e.offset = f.given & 5 ? f.values[f.given & 1 ? 0 : 2].number : 0;
    e.length = f.values[f.given & 2 ? 1 : 3].number;
    return extents_reader_give(r, &e);
}

static int read_tuples(struct extents_reader *r)
{
    bool first = true;
    int ret = json_in_open(&r->text, '[');

    while (ret == 0 && (ret = json_in_next(&r->text, ']', &first)) == 1)
        ret = read_tuple(r);
    return ret;
}

/* ---- one message --------------------------------------------------------------------------------------- */

/* FIXED_LENGTH or VARIABLE_LENGTH, by number or name; the same in all messages. */
static int check_type(struct stream *s, const struct json_in_value *v)
{
    bool named = v->kind == JSON_IN_STRING;
    unsigned type = 0;

    if (named ? strcmp(v->text, "FIXED_LENGTH") == 0 : v->kind == JSON_IN_WHOLE && v->number == 1)
        type = 1;
    if (named ? strcmp(v->text, "VARIABLE_LENGTH") == 0 : v->kind == JSON_IN_WHOLE && v->number == 2)
        type = 2;
    if (type == 0)
        return text_in_fail(&s->r->text, "a message with a block_metadata_type that is not known");
    if (s->type && type != s->type)
        return text_in_fail(&s->r->text, "messages of two types");
    s->type = type;
    return 0;
}

static int check_capacity(struct stream *s, const struct json_in_value *v)
{
    uint64_t size = s->r->from->size;

    if (v->number / 512 * 512 == size)
        return 0;
    return text_in_fail(&s->r->text, "the extents are of a disk of %" PRIu64 " bytes, this one has %" PRIu64, v->number,
                        size);
}

static int check_message(struct stream *s, struct fields *f)
{
    unsigned old = f->given & 7, proto = f->given >> PROTO, all = old | proto;
    int ret;

    if (old & proto)
        return text_in_fail(&s->r->text, "a message with two names of one member");
    if (!(all & 1u << TYPE) || !(all & 1u << CAPACITY))
        return text_in_fail(&s->r->text, "a message without %s", message_rows[all & 1u << TYPE ? CAPACITY : TYPE].name);
    ret = check_type(s, &f->values[old & 1u << TYPE ? TYPE : PROTO + TYPE]);
    if (ret == 0)
        ret = fields_check(&s->r->text, f, 1u << CAPACITY | 1u << (PROTO + CAPACITY));
    return ret < 0 ? ret : check_capacity(s, &f->values[old & 1u << CAPACITY ? CAPACITY : PROTO + CAPACITY]);
}

static int read_member(struct stream *s, struct fields *f, const struct json_in_value *name)
{
    struct text_in *t = &s->r->text;
    unsigned i = fields_find(f, name);
    int ret;

    if (i == f->n)
        return text_in_fail(t, "a message with %s, which is not known here", name->text);
    ret = fields_note(t, f, i);
    if (ret < 0)
        return ret;
    if (i % PROTO == LIST)
        return read_tuples(s->r);
    return json_in_value(t, &f->values[i]);
}

static int read_message(struct stream *s)
{
    struct fields f = { .rows = message_rows, .n = 2 * N_NAMES, .what = "a message" };
    struct json_in_value name;
    bool first = true;
    int ret = json_in_open(&s->r->text, '{');

    while (ret == 0 && (ret = json_in_member(&s->r->text, &first, &name)) == 1)
        ret = read_member(s, &f, &name);
    return ret < 0 ? ret : check_message(s, &f);
}

/* ---- all messages -------------------------------------------------------------------------------------- */

int extents_read_csi(struct extents_reader *r)
{
    struct stream s = { .r = r };
    bool first = true;
    int ret = json_in_open(&r->text, '[');

    while (ret == 0 && (ret = json_in_next(&r->text, ']', &first)) == 1)
        ret = read_message(&s);
    return ret < 0 ? ret : text_in_end(&r->text);
}

/* Nothing at all is what a lister that failed leaves behind, too. */
int extents_read_csi_lines(struct extents_reader *r)
{
    struct stream s = { .r = r };
    bool first = true;
    int ret = 0;

    while (ret == 0 && (ret = json_in_line(&r->text, &first)) == 1)
        ret = read_message(&s);
    return ret == 0 && s.type == 0 ? text_in_fail(&r->text, "no message at all") : ret;
}
