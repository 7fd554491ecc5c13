/* bitmap_ext_unit.h - a first cluster with extensions, and what a reader sees of it in each state
 * SPDX-License-Identifier: MIT */
#ifndef BITMAP_EXT_UNIT_H
#define BITMAP_EXT_UNIT_H

#include "image_unit.h"

#include "bitmap/bitmap_ext.h"

#define SECTOR 512u
#define FOREIGN UINT32_C(0x1234abcd)
#define OLD_COUNT 1u /* bitmaps in the directory that the image has ... */
#define NEW_COUNT 7u /* ... and in the one that it gets */

enum view {
    VIEW_NONE,  /* no extension, no bit */
    VIEW_STALE, /* an extension without the bit: QEMU warns and ignores it */
    VIEW_OLD,
    VIEW_NEW,
    VIEW_BAD, /* the bit alone, or bytes that nobody wrote */
};

struct layout {
    struct build_options opt;
    uint32_t front;  /* data bytes + 1 of a foreign extension in front */
    uint32_t behind; /* and behind the bitmaps extension, or behind padding */
    bool bitmap;     /* there is a bitmap */
    bool twice;      /* ... and an unused instance of its extension in front */
    bool padding;    /* a gap that fits the extension */
    bool straddles;  /* its payload may lie in two sectors afterwards */
    /* wanted */
    int code;
    uint64_t at; /* of the extension afterwards */
    unsigned n_stages;
};

struct shown {
    enum view view;
    uint64_t at, name_at;
    unsigned n_bitmap_exts, n_paddings;
    struct q2_extensions exts;
};

static const struct q2_bitmaps_ext new_ext = { NEW_COUNT, 0, 200, 0x10000 };

static inline void build(struct image_builder *b, const struct layout *l)
{
    uint8_t fill[512];

    for (size_t i = 0; i < sizeof(fill); i++)
        fill[i] = (uint8_t)(i % 251);
    build_start(b, &l->opt);
    if (l->front)
        build_extension(b, FOREIGN, fill, l->front - 1);
    if (l->twice)
        build_extension(b, Q2_EXT_BITMAPS, fill, 24);
    if (l->padding)
        build_extension(b, Q2_EXT_PADDING, fill, 24);
    if (l->bitmap) {
        build_bitmap(b, "b", 16, 0, NULL, 0);
        build_extension(b, Q2_EXT_BITMAPS, NULL, 0);
    }
    if (l->behind)
        build_extension(b, FOREIGN + 1, fill, l->behind - 1);
    build_finish(b);
}

static inline enum view view_of(const struct q2_header *h, const struct q2_extensions *exts)
{
    const struct q2_extension *e = q2_extension_find(exts, Q2_EXT_BITMAPS);
    struct q2_bitmaps_ext ext;

    if (!(h->autoclear & QCBM_AUTOCLEAR_BITMAPS))
        return e ? VIEW_STALE : VIEW_NONE;
    if (!e)
        return VIEW_BAD;
    q2_bitmaps_ext_parse(e->data, &ext);
    if (ext.n_bitmaps == OLD_COUNT)
        return VIEW_OLD;
    return memcmp(&ext, &new_ext, sizeof(ext)) == 0 ? VIEW_NEW : VIEW_BAD;
}

/* Parse a first cluster; free s->exts. */
static inline void show(const uint8_t *cluster, size_t len, struct shown *s, struct q2_header *h)
{
    const struct q2_extension *e;

    memset(s, 0, sizeof(*s));
    assert_int_equal(q2_header_parse(cluster, len, h, NULL), 0);
    assert_int_equal(q2_extensions_parse(cluster, len, h, &s->exts, NULL), 0);
    s->view = view_of(h, &s->exts);
    s->name_at = h->backing_offset;
    e = q2_extension_find(&s->exts, Q2_EXT_BITMAPS);
    s->at = e ? e->offset : 0;
    for (size_t i = 0; i < s->exts.n; i++) {
        s->n_bitmap_exts += s->exts.list[i].type == Q2_EXT_BITMAPS;
        s->n_paddings += s->exts.list[i].type == Q2_EXT_PADDING;
    }
}

/* Foreign extensions of @cluster, one after the other, and the name. */
static inline size_t foreign_bytes(const struct shown *s, const struct q2_header *h, const uint8_t *cluster,
                                   uint8_t *to)
{
    size_t n = 0;

    for (size_t i = 0; i < s->exts.n; i++) {
        const struct q2_extension *e = &s->exts.list[i];

        if (e->type == Q2_EXT_BITMAPS || e->type == Q2_EXT_PADDING || e->type == Q2_EXT_TAG)
            continue;
        be32_store(to + n, e->type);
        memcpy(to + n + 4, e->data, e->len);
        n += 4 + e->len;
    }
    memcpy(to + n, cluster + h->backing_offset, h->backing_size);
    return n + h->backing_size;
}

static inline void check_state(const uint8_t *before, const uint8_t *now, size_t len, enum view *view)
{
    uint8_t old_foreign[4096], now_foreign[4096];
    struct q2_header h0, h1;
    struct shown s0, s1;
    size_t n0, n1;

    show(before, len, &s0, &h0);
    show(now, len, &s1, &h1);
    n0 = foreign_bytes(&s0, &h0, before, old_foreign);
    n1 = foreign_bytes(&s1, &h1, now, now_foreign);
    assert_int_equal(n0, n1);
    assert_memory_equal(old_foreign, now_foreign, n0);
    assert_memory_equal(before + 16, now + 16, 88 - 16); /* sizes, tables, features: as they were */
    assert_int_equal(h1.autoclear & QCBM_AUTOCLEAR_RAW_DATA_FILE, h0.autoclear & QCBM_AUTOCLEAR_RAW_DATA_FILE);
    *view = s1.view;
    q2_extensions_free(&s0.exts);
    q2_extensions_free(&s1.exts);
}

struct piece {
    uint64_t off, len;
    const uint8_t *bytes;
};

static inline size_t split(const struct qcbmi_plan_stage *stage, struct piece *pieces, size_t max)
{
    size_t n = 0;

    for (size_t i = 0; i < stage->n; i++) {
        const struct qcbmi_plan_write *w = &stage->writes[i];

        for (uint64_t at = w->off, end; at < w->off + w->len; at = end) {
            end = (at / SECTOR + 1) * SECTOR;
            end = end < w->off + w->len ? end : w->off + w->len;
            assert_true(n < max);
            pieces[n++] = (struct piece){ at, end - at, w->source.bytes + (at - w->off) };
        }
    }
    return n;
}

/* Carry the plan out on @cluster; @allowed is a mask of views. */
static inline void run_plan(const struct qcbmi_plan *plan, uint8_t *cluster, size_t len, unsigned allowed,
                            enum view last)
{
    uint8_t *before = exact_copy(cluster, len), *now = exact_copy(cluster, len);
    bool switched = false;
    enum view view = VIEW_BAD;

    for (size_t i = 0; i < plan->n; i++) {
        struct piece pieces[12];
        size_t n = split(&plan->stages[i], pieces, ARRAY_LEN(pieces));

        for (unsigned set = 0; set < 1u << n; set++) {
            memcpy(now, cluster, len);
            for (size_t k = 0; k < n; k++)
                if (set >> k & 1)
                    memcpy(now + pieces[k].off, pieces[k].bytes, (size_t)pieces[k].len);
            check_state(before, now, len, &view);
            if (!(allowed >> view & 1))
                fail_msg("stage %zu, pieces 0x%x of %zu: view %d", i, set, n, view);
            assert_true(!switched || view == last); /* no way back */
        }
        memcpy(cluster, now, len);
        switched |= view == last && last != VIEW_NONE;
    }
    assert_int_equal(view, last);
    assert_memory_equal(plan->header, cluster, len);
    free(before);
    free(now);
}

static inline unsigned stages_with_writes(const struct qcbmi_plan *plan)
{
    unsigned n = 0;

    for (size_t i = 0; i < plan->n; i++)
        n += plan->stages[i].n > 0;
    return n;
}

static inline void start_plan(struct qcbmi_plan *plan, const struct qcbm_image *img)
{
    memset(plan, 0, sizeof(*plan));
    assert_int_equal(qcbmi_plan_header_init(plan, img->image->cluster0, img->image->g.cluster_size, NULL), 0);
    assert_int_equal(qcbmi_plan_stage(plan, "prepare", false, NULL), 0);
}

#endif
