/* extents_read_thin.c - extents in the XML of thin_delta: what differs between two thin volumes of LVM
 * SPDX-License-Identifier: MIT
 *
 * Elements and attributes, and nothing else that XML knows: no declarations, comments, entities or text. */
#include <inttypes.h>
#include <string.h>

#include "extents_reader.h"

enum { WORD = 32, MAX_BLOCK = 1 << 21 /* sectors: 1 GiB, the kernel's limit */ };

/* Of an element only these attributes matter; the others are read and passed over. */
enum { BLOCK_SIZE, BEGIN, LENGTH, N_ATTRIBUTES };
static const char *const attribute_names[N_ATTRIBUTES] = { "data_block_size", "begin", "length" };

struct tag {
    char name[WORD];
    bool closing;      /* </name> */
    bool self_closing; /* <name/> */
    unsigned given;    /* bits */
    uint64_t values[N_ATTRIBUTES];
};

/* ---- tags ---------------------------------------------------------------------------------------------- */

static int read_word(struct text_in *t, char word[WORD])
{
    size_t n = 0;
    int c;

    for (c = text_in_peek(t); (c >= 'a' && c <= 'z') || c == '_' || (n > 0 && text_is_digit(c)); c = text_in_peek(t)) {
        if (n == WORD - 1)
            return text_in_fail_form(t, "a name of more than %d letters", WORD - 1);
        word[n++] = (char)c;
        text_in_pass(t);
    }
    word[n] = '\0';
    return n > 0 ? 0 : text_in_fail_form(t, "a name is expected");
}

/* The value of attribute @i, in quotes; of N_ATTRIBUTES whatever it is. */
static int read_value(struct text_in *t, struct tag *tag, unsigned i)
{
    int ret = 0;

    if (!text_in_take(t, '"'))
        return text_in_fail_missing(t, '"');
    if (i < N_ATTRIBUTES)
        ret = text_in_u64(t, &tag->values[i]);
    for (int c = text_in_peek(t); ret == 0 && i == N_ATTRIBUTES && c >= ' ' && c != '"' && c != '<';
         c = text_in_peek(t))
        text_in_pass(t);
    if (ret == 0 && !text_in_take(t, '"'))
        ret = text_in_fail_missing(t, '"');
    return ret;
}

static int read_attribute(struct text_in *t, struct tag *tag)
{
    char word[WORD];
    unsigned i = 0;
    int ret = read_word(t, word);

    if (ret < 0)
        return ret;
    while (i < N_ATTRIBUTES && strcmp(word, attribute_names[i]) != 0)
        i++;
    if (i < N_ATTRIBUTES && (tag->given & 1u << i))
        return text_in_fail(t, "an element with an attribute that comes twice: %s", word);
    tag->given |= 1u << i;
    return text_in_take(t, '=') ? read_value(t, tag, i) : text_in_fail_missing(t, '=');
}

static int read_tag(struct text_in *t, struct tag *tag)
{
    int ret;

    *tag = (struct tag){ .given = 0 };
    text_in_space(t);
    if (!text_in_take(t, '<'))
        return text_in_fail_missing(t, '<');
    tag->closing = text_in_take(t, '/');
    ret = read_word(t, tag->name);
    for (;;) {
        uint64_t at = t->at;

        text_in_space(t);
        if (ret < 0 || text_in_take(t, '>'))
            return ret;
        tag->self_closing = !tag->closing && text_in_take(t, '/');
        if (tag->self_closing)
            return text_in_take(t, '>') ? 0 : text_in_fail_missing(t, '>');
        if (tag->closing || t->at == at)
            return text_in_fail_missing(t, '>');
        ret = read_attribute(t, tag);
    }
}

static int read_opening(struct text_in *t, struct tag *tag, const char *name)
{
    int ret = read_tag(t, tag);

    if (ret < 0)
        return ret;
    return strcmp(tag->name, name) == 0 && !tag->closing && !tag->self_closing
               ? 0
               : text_in_fail_form(t, "<%s> is expected", name);
}

static int read_closing(struct text_in *t, const char *name)
{
    struct tag tag;
    int ret = read_tag(t, &tag);

    if (ret < 0)
        return ret;
    return tag.closing && strcmp(tag.name, name) == 0 ? 0 : text_in_fail_form(t, "</%s> is expected", name);
}

/* ---- blocks -------------------------------------------------------------------------------------------- */

struct blocks {
    struct extents_reader *r;
    uint64_t size; /* of one, bytes */
    uint64_t end;  /* of the last range, in blocks */
};

/* A range of blocks, of which what is past the end of the disk is left out: the volume may be larger. */
static int give(struct blocks *b, uint64_t begin, uint64_t length, bool dirty)
{
    uint64_t disk = b->r->from->size, max = disk / b->size + (disk % b->size > 0);
    struct qcbm_extent e = { .offset = begin * b->size, .dirty = true };

    if (!dirty || begin >= max)
        return 0;
    e.length = (length >= max - begin ? disk : (begin + length) * b->size) - e.offset;
    return extents_reader_give(b->r, &e);
}

/* Dirty is all but what is the same. */
static int read_range(struct blocks *b, const struct tag *tag)
{
    static const char *const kinds[] = { "same", "different", "left_only", "right_only" };
    uint64_t begin = tag->values[BEGIN], length = tag->values[LENGTH];
    struct text_in *t = &b->r->text;
    unsigned kind = 0;

    while (kind < 4 && strcmp(tag->name, kinds[kind]) != 0)
        kind++;
    if (kind == 4 || tag->closing)
        return text_in_fail_form(t, "<%s%s> is not expected", tag->closing ? "/" : "", tag->name);
    if (!tag->self_closing)
        return text_in_fail_form(t, "<%s> has something in it, as with --verbose", tag->name);
    if (!(tag->given & 1u << BEGIN) || !(tag->given & 1u << LENGTH))
        return text_in_fail(t, "a range without %s", attribute_names[tag->given & 1u << BEGIN ? LENGTH : BEGIN]);
    if (begin < b->end)
        return text_in_fail(t, "the range at block %" PRIu64 " begins before the last one ends, at %" PRIu64, begin,
                            b->end);
    if (length == 0 || length > UINT64_MAX - 1 - begin)
        return text_in_fail(t, "the range at block %" PRIu64 " has %" PRIu64 " blocks", begin, length);
    b->end = begin + length;
    return give(b, begin, length, kind > 0);
}

static int read_ranges(struct blocks *b)
{
    struct tag tag;
    int ret;

    do {
        ret = read_tag(&b->r->text, &tag);
        if (ret == 0 && tag.closing && strcmp(tag.name, "diff") == 0)
            return 0;
        if (ret == 0)
            ret = read_range(b, &tag);
    } while (ret == 0);
    return ret;
}

int extents_read_thin_delta(struct extents_reader *r)
{
    struct blocks b = { .r = r };
    struct tag tag;
    int ret = read_opening(&r->text, &tag, "superblock");

    if (ret < 0)
        return ret;
    if (tag.values[BLOCK_SIZE] == 0 || tag.values[BLOCK_SIZE] > MAX_BLOCK)
        return text_in_fail(&r->text, "the superblock has no data_block_size from 1 to %d", MAX_BLOCK);
    b.size = 512 * tag.values[BLOCK_SIZE];
    ret = read_opening(&r->text, &tag, "diff");
    if (ret == 0)
        ret = read_ranges(&b);
    if (ret == 0)
        ret = read_closing(&r->text, "superblock");
    return ret < 0 ? ret : text_in_end(&r->text);
}
