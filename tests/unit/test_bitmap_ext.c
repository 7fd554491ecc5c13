/* test_bitmap_ext.c - the bitmaps extension put into every layout of the first cluster, switched, taken out
 * SPDX-License-Identifier: MIT
 *
 * Each plan is carried out sector by sector: within a stage in every order that a disk may choose, torn writes
 * included. In every state the header must parse, name the same backing file and foreign extensions, and show the
 * bitmaps of before or after, or none where there were none. */
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

static void build(struct image_builder *b, const struct layout *l)
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

static enum view view_of(const struct q2_header *h, const struct q2_extensions *exts)
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
static void show(const uint8_t *cluster, size_t len, struct shown *s, struct q2_header *h)
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
static size_t foreign_bytes(const struct shown *s, const struct q2_header *h, const uint8_t *cluster, uint8_t *to)
{
    size_t n = 0;

    for (size_t i = 0; i < s->exts.n; i++) {
        const struct q2_extension *e = &s->exts.list[i];

        if (e->type == Q2_EXT_BITMAPS || e->type == Q2_EXT_PADDING)
            continue;
        be32_store(to + n, e->type);
        memcpy(to + n + 4, e->data, e->len);
        n += 4 + e->len;
    }
    memcpy(to + n, cluster + h->backing_offset, h->backing_size);
    return n + h->backing_size;
}

static void check_state(const uint8_t *before, const uint8_t *now, size_t len, enum view *view)
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

/* ---- every state on the way ---- */

struct piece {
    uint64_t off, len;
    const uint8_t *bytes;
};

static size_t split(const struct qcbmi_plan_stage *stage, struct piece *pieces, size_t max)
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
static void run_plan(const struct qcbmi_plan *plan, uint8_t *cluster, size_t len, unsigned allowed, enum view last)
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

static unsigned allowed_on_set(const struct layout *l)
{
    if (l->bitmap && !l->opt.stale_bitmaps)
        return 1u << VIEW_OLD | 1u << VIEW_NEW;
    return 1u << VIEW_STALE | 1u << VIEW_NEW | (l->bitmap ? 0 : 1u << VIEW_NONE);
}

static unsigned stages_with_writes(const struct qcbmi_plan *plan)
{
    unsigned n = 0;

    for (size_t i = 0; i < plan->n; i++)
        n += plan->stages[i].n > 0;
    return n;
}

static void start_plan(struct qcbmi_plan *plan, const struct qcbm_image *img)
{
    memset(plan, 0, sizeof(*plan));
    assert_int_equal(qcbmi_plan_header_init(plan, img->image->cluster0, img->image->g.cluster_size, NULL), 0);
    assert_int_equal(qcbmi_plan_stage(plan, "prepare", false, NULL), 0);
}

static void check_set(const struct layout *l, struct shown *after)
{
    struct image_builder b;
    struct qcbmi_plan plan;
    struct qcbm_error err = { 0 };
    struct qcbm_image *img;
    struct q2_header h;
    int ret;

    build(&b, l);
    img = build_open(&b, QCBM_OPEN_WRITE);
    start_plan(&plan, img);
    ret = qcbmi_ext_plan_set(img, &plan, 0, &new_ext, &err);
    if (ret != l->code)
        fail_msg("END at %llu: got %d: %s", (unsigned long long)b.end_ext, ret, err.message);
    if (ret == 0) {
        run_plan(&plan, b.bytes, b.cluster_size, allowed_on_set(l), VIEW_NEW);
        show(b.bytes, b.cluster_size, after, &h);
        assert_int_equal(after->at, l->at);
        assert_int_equal(after->n_bitmap_exts, 1);
        assert_true(l->straddles || (after->at % SECTOR <= SECTOR - 8 && (after->at + 8) % SECTOR <= SECTOR - 24));
        assert_int_equal(stages_with_writes(&plan), l->n_stages);
        q2_extensions_free(&after->exts);
    } else {
        assert_int_equal(err.code, l->code);
        assert_true(err.message[0] != '\0');
    }
    qcbmi_plan_free(&plan);
    qcbm_close(img);
    build_free(&b);
}

static void check_all(const struct layout *layouts, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct shown after;

        check_set(&layouts[i], &after);
    }
}

#define LONG_NAME_16 "0123456789abcdef"
#define LONG_NAME_64 LONG_NAME_16 LONG_NAME_16 LONG_NAME_16 LONG_NAME_16
#define LONG_NAME_368 LONG_NAME_256 LONG_NAME_64 LONG_NAME_16 LONG_NAME_16 LONG_NAME_16
#define LONG_NAME_256 LONG_NAME_64 LONG_NAME_64 LONG_NAME_64 LONG_NAME_64

/* The extension goes where END stands: at 112 + 8 + the data of the foreign extension in front. */
static void room_behind_the_last_extension(void **state)
{
    static const struct layout layouts[] = {
        { .opt = { .size = 65536 }, .at = 112, .n_stages = 2 },
        { .opt = { .size = 65536, .header_length = 104 }, .at = 104, .n_stages = 2 },
        { .opt = { .size = 65536, .cluster_bits = 12 }, .at = 112, .n_stages = 2 },
        /* as QEMU makes it: END at 504, the payload in the second sector */
        { .opt = { .size = 65536, .cluster_bits = 16 }, .front = 385, .at = 504, .n_stages = 2 },
        /* END in the second sector: the extension first, then the bit */
        { .opt = { .size = 65536, .cluster_bits = 16 }, .front = 401, .at = 520, .n_stages = 3 },
        { .opt = { .size = 65536, .cluster_bits = 16, .backing = "b", .backing_at = 4096 }, .at = 112, .n_stages = 2 },
        { .opt = { .size = 65536, .cluster_bits = 12, .data_file = "d", .raw_data_file = true },
          .at = 128,
          .n_stages = 2 },
        { .opt = { .size = 65536, .autoclear = 1u << 5 }, .at = 112, .n_stages = 2 },
    };

    (void)state;
    check_all(layouts, ARRAY_LEN(layouts));
}

/* A payload at 496 or 504 of a sector would straddle: a padding extension of 8 or 16 bytes stands in front. */
static void the_payload_never_straddles_a_sector(void **state)
{
    static const struct layout layouts[] = {
        { .opt = { .size = 65536, .cluster_bits = 12 }, .front = 361, .at = 480, .n_stages = 2 },
        { .opt = { .size = 65536, .cluster_bits = 12 }, .front = 369, .at = 504, .n_stages = 2 },
        { .opt = { .size = 65536, .cluster_bits = 12 }, .front = 377, .at = 504, .n_stages = 2 },
        { .opt = { .size = 65536, .cluster_bits = 12 }, .front = 385, .at = 504, .n_stages = 2 },
        { .opt = { .size = 65536, .cluster_bits = 12 }, .front = 393, .at = 512, .n_stages = 3 },
    };
    static const unsigned paddings[] = { 0, 1, 1, 0, 0 };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(layouts); i++) {
        struct shown after;

        check_set(&layouts[i], &after);
        assert_int_equal(after.n_paddings, paddings[i]);
    }
}

static void a_name_in_the_way_moves_first(void **state)
{
    static const struct layout layouts[] = {
        /* all in the first sector: one write does everything */
        { .opt = { .size = 65536, .backing = "base" }, .at = 112, .n_stages = 1 },
        { .opt = { .size = 65536, .cluster_bits = 16, .backing = "base", .backing_format = "raw" },
          .at = 128,
          .n_stages = 1 },
        /* the new place of the name would end past the sector */
        { .opt = { .size = 65536, .cluster_bits = 12, .backing = LONG_NAME_368 }, .at = 112, .n_stages = 3 },
        /* no room from the next sector on, but right behind the name, which does not end at a multiple of 8 */
        { .opt = { .size = 65536, .cluster_bits = 10, .backing = LONG_NAME_368 LONG_NAME_64 "abc" },
          .at = 112,
          .n_stages = 3 },
        /* as QEMU makes an overlay: END at 520, name at 528 */
        { .opt = { .size = 65536, .cluster_bits = 16, .backing = "base.qcow2", .backing_format = "qcow2" },
          .front = 385,
          .at = 520,
          .n_stages = 4 },
        /* END and the payload in two sectors */
        { .opt = { .size = 65536, .cluster_bits = 16, .backing = "base.qcow2" },
          .front = 385,
          .at = 504,
          .n_stages = 4 },
        /* the name stands close behind, not at END */
        { .opt = { .size = 65536, .cluster_bits = 12, .backing = LONG_NAME_368, .backing_at = 144 },
          .at = 112,
          .n_stages = 3 },
        /* a name of no bytes */
        { .opt = { .size = 65536, .cluster_bits = 12, .backing = "" }, .at = 112, .n_stages = 1 },
    };

    (void)state;
    check_all(layouts, ARRAY_LEN(layouts));
}

static void without_room_nothing_is_planned(void **state)
{
    static const struct layout layouts[] = {
        /* the cluster is full */
        { .opt = { .size = 65536 }, .front = 361, .code = QCBM_E_NOSPACE },
        { .opt = { .size = 65536 }, .front = 385, .code = QCBM_E_NOSPACE },
        /* the name cannot be copied: it fills what is left */
        { .opt = { .size = 65536, .backing = LONG_NAME_368 }, .code = QCBM_E_NOSPACE },
        { .opt = { .size = 65536, .backing = LONG_NAME_368, .backing_at = 144 }, .code = QCBM_E_NOSPACE },
        /* there is room for a copy, but over the name itself */
        { .opt = { .size = 65536, .cluster_bits = 10, .backing = LONG_NAME_368 LONG_NAME_256, .backing_at = 144 },
          .code = QCBM_E_NOSPACE },
        /* a header of 104 bytes leaves room, the one of 112 that QEMU writes does not */
        { .opt = { .size = 65536, .header_length = 104 }, .front = 361, .code = QCBM_E_NOSPACE },
        /* no END: the extensions fill their area */
        { .opt = { .size = 65536, .cluster_bits = 12, .backing = "base", .no_end = true },
          .front = 9,
          .code = QCBM_E_NOSPACE },
        /* a name inside the header: no area at all */
        { .opt = { .size = 65536, .cluster_bits = 12, .backing = "b", .backing_at = 106 }, .code = QCBM_E_NOSPACE },
        /* a payload that straddles, and nowhere to go */
        { .opt = { .size = 65536, .cluster_bits = 12, .backing = "base", .no_end = true },
          .front = 369,
          .bitmap = true,
          .code = QCBM_E_NOSPACE },
        /* nothing behind such a header would be aligned */
        { .opt = { .size = 65536, .header_length = 108 }, .code = QCBM_E_UNSUPPORTED },
    };

    (void)state;
    check_all(layouts, ARRAY_LEN(layouts));
}

static void an_extension_that_is_there_is_switched_by_one_write(void **state)
{
    static const struct layout layouts[] = {
        { .opt = { .size = 65536 }, .bitmap = true, .at = 112, .n_stages = 1 },
        { .opt = { .size = 65536, .backing = "base" }, .bitmap = true, .at = 112, .n_stages = 1 },
        { .opt = { .size = 65536, .cluster_bits = 12 }, .front = 385, .bitmap = true, .at = 504, .n_stages = 1 },
        { .opt = { .size = 65536, .cluster_bits = 12 }, .bitmap = true, .behind = 33, .at = 112, .n_stages = 1 },
        /* no END, no room, and none is needed */
        { .opt = { .size = 65536, .cluster_bits = 12, .backing = "base", .no_end = true },
          .bitmap = true,
          .at = 112,
          .n_stages = 1 },
    };

    (void)state;
    check_all(layouts, ARRAY_LEN(layouts));
}

static void of_two_instances_the_unused_one_becomes_padding(void **state)
{
    static const struct layout layouts[] = {
        { .opt = { .size = 65536 }, .twice = true, .bitmap = true, .at = 144, .n_stages = 2 },
        { .opt = { .size = 65536, .cluster_bits = 12 },
          .front = 1,
          .twice = true,
          .bitmap = true,
          .behind = 1,
          .at = 152,
          .n_stages = 2 },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(layouts); i++) {
        struct shown after;

        check_set(&layouts[i], &after);
        assert_int_equal(after.n_paddings, 1);
    }
}

static void a_live_payload_that_straddles_gets_a_second_place(void **state)
{
    static const struct layout layouts[] = {
        { .opt = { .size = 65536, .cluster_bits = 12 }, .front = 369, .bitmap = true, .at = 520, .n_stages = 4 },
        { .opt = { .size = 65536, .cluster_bits = 12 }, .front = 377, .bitmap = true, .at = 528, .n_stages = 4 },
        { .opt = { .size = 65536, .cluster_bits = 12 },
          .front = 377,
          .bitmap = true,
          .behind = 17,
          .at = 552,
          .n_stages = 4 },
        /* with the name in the way of the second place */
        { .opt = { .size = 65536, .cluster_bits = 12, .backing = "base" },
          .front = 369,
          .bitmap = true,
          .at = 520,
          .n_stages = 5 },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(layouts); i++) {
        struct shown after;

        check_set(&layouts[i], &after);
        assert_int_equal(after.n_paddings, 1);
    }
}

static void a_stale_extension_is_written_then_believed(void **state)
{
    static const struct layout layouts[] = {
        { .opt = { .size = 65536, .stale_bitmaps = true }, .bitmap = true, .at = 112, .n_stages = 1 },
        { .opt = { .size = 65536, .stale_bitmaps = true, .cluster_bits = 12 },
          .front = 385,
          .bitmap = true,
          .at = 504,
          .n_stages = 2 },
        { .opt = { .size = 65536, .stale_bitmaps = true, .cluster_bits = 12 },
          .front = 369,
          .bitmap = true,
          .straddles = true,
          .at = 488,
          .n_stages = 2 },
        { .opt = { .size = 65536, .stale_bitmaps = true, .backing = "base" },
          .bitmap = true,
          .behind = 9,
          .at = 112,
          .n_stages = 1 },
    };

    (void)state;
    check_all(layouts, ARRAY_LEN(layouts));
}

static void padding_of_the_right_size_is_used_again(void **state)
{
    static const struct layout layouts[] = {
        { .opt = { .size = 65536 }, .padding = true, .at = 112, .n_stages = 2 },
        { .opt = { .size = 65536, .cluster_bits = 12, .backing = "base" },
          .padding = true,
          .behind = 100,
          .at = 112,
          .n_stages = 2 },
        { .opt = { .size = 65536, .cluster_bits = 12 }, .front = 393, .padding = true, .at = 512, .n_stages = 3 },
        /* its payload would straddle: a new place behind it */
        { .opt = { .size = 65536, .cluster_bits = 12 }, .front = 369, .padding = true, .at = 520, .n_stages = 3 },
    };

    (void)state;
    check_all(layouts, ARRAY_LEN(layouts));
}

/* ---- removal ---- */

static void check_remove(const struct layout *l, unsigned want_paddings)
{
    struct image_builder b;
    struct qcbmi_plan plan;
    struct qcbm_image *img;
    struct q2_header h;
    struct shown after;

    build(&b, l);
    img = build_open(&b, QCBM_OPEN_WRITE);
    start_plan(&plan, img);
    assert_int_equal(qcbmi_ext_plan_remove(img, &plan, NULL), l->code);
    if (l->code == 0) {
        run_plan(&plan, b.bytes, b.cluster_size, 1u << VIEW_OLD | 1u << VIEW_STALE | 1u << VIEW_NONE, VIEW_NONE);
        show(b.bytes, b.cluster_size, &after, &h);
        assert_int_equal(after.n_bitmap_exts, 0);
        assert_int_equal(after.n_paddings, want_paddings);
        assert_int_equal(stages_with_writes(&plan), l->n_stages);
        q2_extensions_free(&after.exts);
    }
    qcbmi_plan_free(&plan);
    qcbm_close(img);
    build_free(&b);
}

static void removal_never_leaves_the_bit_alone(void **state)
{
    static const struct {
        struct layout l;
        unsigned paddings;
    } cases[] = {
        { { .opt = { .size = 65536 }, .bitmap = true, .n_stages = 1 }, 0 },
        { { .opt = { .size = 65536, .backing = "base" }, .bitmap = true, .n_stages = 1 }, 0 },
        /* the header of the extension ends with the first sector */
        { { .opt = { .size = 65536, .cluster_bits = 12 }, .front = 385, .bitmap = true, .n_stages = 1 }, 0 },
        /* it stands in the second one: the bit first */
        { { .opt = { .size = 65536, .cluster_bits = 12 }, .front = 401, .bitmap = true, .n_stages = 2 }, 0 },
        /* others behind it stay where they are */
        { { .opt = { .size = 65536 }, .bitmap = true, .behind = 20, .n_stages = 1 }, 1 },
        { { .opt = { .size = 65536, .cluster_bits = 12 }, .front = 401, .bitmap = true, .behind = 20, .n_stages = 2 },
          1 },
        { { .opt = { .size = 65536, .autoclear = 1u << 9 }, .bitmap = true, .n_stages = 1 }, 0 },
        { { .opt = { .size = 65536 }, .twice = true, .bitmap = true, .n_stages = 2 }, 1 },
        { { .opt = { .size = 65536, .cluster_bits = 12, .backing = "base", .no_end = true },
            .bitmap = true,
            .n_stages = 1 },
          0 },
        { { .opt = { .size = 65536, .header_length = 108 }, .bitmap = true, .code = QCBM_E_UNSUPPORTED }, 0 },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        check_remove(&cases[i].l, cases[i].paddings);
}

static void unknown_autoclear_bits_go_and_known_ones_stay(void **state)
{
    static const struct {
        uint64_t stored, want;
    } cases[] = {
        { UINT64_C(1) << 63 | 1u << 2, 0 },
        { UINT64_C(0xfffffffffffffffc), 0 },
    };

    (void)state;
    for (unsigned i = 0; i < 2 * ARRAY_LEN(cases); i++) {
        struct layout l = { .opt = { .size = 65536, .autoclear = cases[i / 2].stored }, .bitmap = i % 2 };
        struct image_builder b;
        struct qcbmi_plan plan;
        struct qcbm_image *img;

        build(&b, &l);
        img = build_open(&b, QCBM_OPEN_WRITE);
        start_plan(&plan, img);
        assert_int_equal(qcbmi_ext_plan_clear_unknown(img->image, &plan, NULL), 0);
        assert_int_equal(plan.stages[0].n, 1);
        assert_int_equal(plan.stages[0].writes[0].off, 88);
        assert_int_equal(plan.stages[0].writes[0].len, 8);
        assert_int_equal(be64_load(plan.stages[0].writes[0].source.bytes), cases[i / 2].want | (i % 2));
        qcbmi_plan_free(&plan);
        qcbm_close(img);
        build_free(&b);
    }
}

static void without_unknown_bits_nothing_is_written(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct layout l = { .opt = { .size = 65536, .data_file = "d", .raw_data_file = true }, .bitmap = true };
    struct qcbmi_plan plan;
    struct qcbm_image *img;

    build(b, &l);
    img = bench_image(state, QCBM_OPEN_WRITE);
    start_plan(&plan, img);
    assert_int_equal(qcbmi_ext_plan_clear_unknown(img->image, &plan, NULL), 0);
    assert_int_equal(plan.stages[0].n, 0);
    qcbmi_plan_free(&plan);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(room_behind_the_last_extension),
        cmocka_unit_test(the_payload_never_straddles_a_sector),
        cmocka_unit_test(a_name_in_the_way_moves_first),
        cmocka_unit_test(without_room_nothing_is_planned),
        cmocka_unit_test(an_extension_that_is_there_is_switched_by_one_write),
        cmocka_unit_test(of_two_instances_the_unused_one_becomes_padding),
        cmocka_unit_test(a_live_payload_that_straddles_gets_a_second_place),
        cmocka_unit_test(a_stale_extension_is_written_then_believed),
        cmocka_unit_test(padding_of_the_right_size_is_used_again),
        cmocka_unit_test(removal_never_leaves_the_bit_alone),
        cmocka_unit_test(unknown_autoclear_bits_go_and_known_ones_stay),
        image_test(without_unknown_bits_nothing_is_written),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
