/* edit_unit.h - what the unit tests of edits share: an image of three bitmaps, what it has afterwards
 * SPDX-License-Identifier: MIT */
#ifndef EDIT_UNIT_H
#define EDIT_UNIT_H

#include "image_unit.h"

#include "bitmap/bitmap_list.h"

#define IN_USE 1u
#define AUTO 2u

/* 64 KiB, 512 bytes per cluster; "a": 512 per bit, bit 3 set; "b": 4096 per bit, disabled, bit 2 set; "c": in use. */
static inline void build_abc(struct image_builder *b)
{
    struct build_options opt = { .size = KIB(64) };
    uint64_t data;

    build_start(b, &opt);
    build_data(b, 0);
    data = build_clusters(b, 1);
    b->bytes[data] = 0x08;
    build_bitmap(b, "a", 9, AUTO, &data, 1);
    data = build_clusters(b, 1);
    b->bytes[data] = 0x04;
    build_bitmap(b, "b", 12, 0, &data, 1);
    build_bitmap(b, "c", 9, IN_USE | AUTO, NULL, 0);
    build_finish(b);
}

static inline struct qcbm_edit *begin(struct session *s)
{
    struct qcbm_error err = { 0 };
    struct qcbm_edit *edit;

    assert_ok(qcbm_edit_begin(s->img, &edit, &err), &err);
    return edit;
}

static inline void commit(struct qcbm_edit *edit)
{
    struct qcbm_error err = { 0 };

    assert_ok(qcbm_edit_commit(edit, NULL, 0, &err), &err);
    qcbm_edit_free(edit);
}

/* Names and flags of all bitmaps, "a2 b0 c3". */
static inline void assert_bitmaps(const struct qcbm_image *img, const char *want)
{
    char got[256] = "";

    for (uint32_t i = 0; i < bitmap_count(img); i++) {
        struct qcbm_bitmap_info m;
        size_t n = strlen(got);

        qcbm_bitmap_get(img, i, &m, sizeof(m));
        snprintf(got + n, sizeof(got) - n, "%s%s%u", n ? " " : "", m.name, (unsigned)m.flags);
    }
    assert_string_equal(got, want);
}

/* The same through a second opening of what was written. */
static inline void assert_stored(const struct session *s, const char *want)
{
    struct session again;
    size_t len;
    const uint8_t *bytes = session_bytes(s, &len);

    assert_bitmaps(s->img, want);
    session_on(&again, bytes, len, 0);
    assert_bitmaps(again.img, want);
    session_close(&again);
}

#endif
