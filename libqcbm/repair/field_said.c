/* field_said.c - what an image says of itself, before an edit and behind it: nothing may vanish that the edit does not
 * name
 * SPDX-License-Identifier: MIT
 *
 * No check finds it: an image without a backing format, or with fewer bitmaps, is sound. A field that leads to others,
 * as the length of the header or of an extension, takes them along. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "bitmap/bitmap_list.h"
#include "repair/field.h"

struct said {
    const struct qcbmi_field_edit *edits;
    size_t n;
    struct qcbm_error *why;
};

static bool names_header(const struct said *s, const char *field)
{
    for (size_t i = 0; i < s->n; i++)
        if (s->edits[i].field.kind == QCBMI_FIELD_HEADER && qcbmi_word_is(s->edits[i].field.name, field))
            return true;
    return false;
}

static bool names_extension(const struct said *s, const struct q2_extensions *exts, size_t index)
{
    for (size_t i = 0; i < s->n; i++) {
        const struct qcbmi_field *f = &s->edits[i].field;

        if (f->kind == QCBMI_FIELD_EXTENSION && f->index == index)
            return true;
    }
    return exts->list[index].type == Q2_EXT_PADDING; /* of which nobody has any use */
}

static bool names_bitmaps(const struct said *s)
{
    for (size_t i = 0; i < s->n; i++)
        if (s->edits[i].field.kind == QCBMI_FIELD_BITMAPS || s->edits[i].field.kind == QCBMI_FIELD_BITMAP)
            return true;
    return names_header(s, "autoclear_features");
}

static int gone(const struct said *s, const char *what)
{
    return qcbmi_fail(s->why, QCBM_E_UNSAFE, QCBM_NO_OFFSET, "the image would lose %s, which no edit names", what);
}

/* ---- extensions ---- */

/* What is said of bitmaps has rules of its own, and fields. */
static bool is_same(const struct q2_extension *a, const struct q2_extension *b)
{
    return a->type == b->type &&
           (a->type == Q2_EXT_BITMAPS || (a->len == b->len && memcmp(a->data, b->data, a->len) == 0));
}

static int lost_extension(const struct said *s, const struct q2_extension *e)
{
    char what[128], text[64];

    switch (e->type) {
    case Q2_EXT_BACKING_FORMAT:
        snprintf(what, sizeof(what), "the format of the backing file, '%s'",
                 qcbmi_printable(text, sizeof(text), (const char *)e->data, e->len));
        return gone(s, what);
    case Q2_EXT_DATA_FILE:
        return gone(s, "the name of the data file");
    case Q2_EXT_BITMAPS:
        return gone(s, "the bitmaps extension");
    case Q2_EXT_FEATURE_TABLE:
        return gone(s, "the names of features");
    case Q2_EXT_IDENTITY:
        return gone(s, "the identity, by which a delta knows its place");
    case Q2_EXT_TAG:
        return gone(s, "its tag, by which records name it");
    default:
        snprintf(what, sizeof(what), "a header extension of type 0x%08" PRIx32, e->type);
        return gone(s, what);
    }
}

/* In file order: each finds its like behind that of the one before it. */
static int compare_extensions(const struct said *s, const struct q2_extensions *before,
                              const struct q2_extensions *after)
{
    size_t at = 0;

    for (size_t i = 0; i < before->n; i++) {
        size_t k = at;

        if (names_extension(s, before, i))
            continue;
        while (k < after->n && !is_same(&before->list[i], &after->list[k]))
            k++;
        if (k == after->n)
            return lost_extension(s, &before->list[i]);
        at = k + 1;
    }
    return 0;
}

/* ---- the rest ---- */

static bool is_other(const char *before, const char *after)
{
    return before && (!after || strcmp(before, after) != 0);
}

static bool names_backing(const struct said *s)
{
    return names_header(s, "backing_file_offset") || names_header(s, "backing_file_size");
}

int qcbmi_field_said(const struct qcbm_image *before, const struct qcbm_image *after,
                     const struct qcbmi_field_edit *edits, size_t n, struct qcbm_error *why)
{
    struct said s = { edits, n, why };
    const struct qcbmi_image *a = before->image, *b = after->image;

    if (compare_extensions(&s, &a->exts, &b->exts) < 0)
        return QCBM_E_UNSAFE;
    if (is_other(a->backing_file, b->backing_file) && !names_backing(&s))
        return gone(&s, "the name of its backing file");
    if (b->h.n_snapshots < a->h.n_snapshots && !names_header(&s, "nb_snapshots"))
        return gone(&s, "snapshots");
    if (after->bitmaps->n < before->bitmaps->n && !names_bitmaps(&s))
        return gone(&s, "bitmaps");
    if (b->h.size < a->h.size && !names_header(&s, "size"))
        return gone(&s, "a part of the disk");
    return 0;
}
