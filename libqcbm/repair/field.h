/* field.h - single fields of an image, changed by hand: what is asked for, where it lies, and what it makes of the
 * image
 * SPDX-License-Identifier: MIT
 *
 * All fields of one call are found, and their old values compared, in the image as it is; then all of them are set. */
#ifndef QCBMI_FIELD_H
#define QCBMI_FIELD_H

#include "dump/dump.h"
#include "image/image.h"
#include "image/problems.h"

enum qcbmi_field_kind {
    QCBMI_FIELD_HEADER,
    QCBMI_FIELD_EXTENSION,
    QCBMI_FIELD_L1,
    QCBMI_FIELD_L2,
    QCBMI_FIELD_SUBCLUSTERS,
    QCBMI_FIELD_REFCOUNT,
    QCBMI_FIELD_REFCOUNT_TABLE,
    QCBMI_FIELD_SNAPSHOT,
    QCBMI_FIELD_BITMAPS,
    QCBMI_FIELD_BITMAP,
    QCBMI_FIELD_BITMAP_TABLE
};

struct qcbmi_word { /* borrowed */
    const char *at;
    size_t len;
};

struct qcbmi_field {
    enum qcbmi_field_kind kind;
    struct qcbmi_word text;  /* the field as it was written, for messages */
    struct qcbmi_word whose; /* the bitmap, by name or index */
    struct qcbmi_word name;  /* of a header or an entry */
    uint64_t index;          /* of an entry, a snapshot, a cluster; guest offset */
    bool has_old;
    uint64_t old_value, new_value;
};

/* Where it lies: @bits bits of the big-endian number of @length bytes at @offset, from bit @shift on. */
struct qcbmi_field_place {
    uint64_t offset;
    uint32_t length, shift, bits;
    uint64_t value; /* that it has */
    char what[128]; /* one line, e.g. "entry 3 of the L2 table at 0x50000" */
};

/* field_parse.c: "FIELD: OLD=NEW" or "FIELD=NEW"; @out points into @text. QCBM_E_ARG. */
int qcbmi_field_parse(const char *text, struct qcbmi_field *out, struct qcbm_error *err);
/* A number that is all of @word, decimal or with 0x. */
bool qcbmi_word_number(struct qcbmi_word word, uint64_t *out);
bool qcbmi_word_is(struct qcbmi_word word, const char *text);

/* field_find.c: in the image that @d looks at. QCBM_E_ARG (no such field), QCBM_E_NOTFOUND (not in this image),
 * QCBM_E_CORRUPT (what leads to it is damaged), QCBM_E_IO, QCBM_E_NOMEM. */
int qcbmi_field_find(struct qcbm_dump *d, const struct qcbmi_field *f, struct qcbmi_field_place *out,
                     struct qcbm_error *err);
/* The largest value that it can have; its @value put into its @length bytes at @bytes. */
uint64_t qcbmi_field_max(const struct qcbmi_field_place *p);
void qcbmi_field_store(const struct qcbmi_field_place *p, uint8_t *bytes, uint64_t value);

/* One of those that are asked for at once. */
struct qcbmi_field_edit {
    const char *text;
    struct qcbmi_field field;
    struct qcbmi_field_place place;
};

/* field_said.c: what of @before nobody asked to change and @after does not have any more: extensions, the name of the
 * backing file, snapshots, bitmaps, the size. QCBM_E_UNSAFE for the first, into @why; else 0. */
struct qcbm_image;
int qcbmi_field_said(const struct qcbm_image *before, const struct qcbm_image *after,
                     const struct qcbmi_field_edit *edits, size_t n, struct qcbm_error *why);

/* field_judge.c: what a plan makes of an image that may not open before it, or behind it. */
struct qcbmi_plan;
struct qcbmi_field_judge {
    struct qcbmi_image *img; /* opened loosely; read alone */
    const struct qcbmi_field_edit *edits;
    size_t n;
    uint64_t memory; /* as in qcbm_check_options */
    const struct qcbm_progress *progress;
    qcbm_check_fn *made; /* called for each finding of the image behind the plan that it has not now */
    void *opaque;
    bool opens_before, opens_after;
    struct qcbm_check_result before, after; /* zeros where it does not open */
    struct qcbm_error worst;                /* why it should not be, QCBM_E_UNSAFE; code 0: nothing is against it */
};
int qcbmi_field_judge(struct qcbmi_field_judge *j, const struct qcbmi_plan *plan, struct qcbm_error *err);

#endif
