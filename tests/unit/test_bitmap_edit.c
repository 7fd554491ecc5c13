/* test_bitmap_edit.c - edits of bitmaps: every refusal, several changes in one commit, what is written and what is not
 * SPDX-License-Identifier: MIT */
#include "image_unit.h"

#include "bitmap/bitmap_list.h"

#define IN_USE 1u
#define AUTO 2u

/* 64 KiB, 512 bytes per cluster; "a": 512 per bit, bit 3 set; "b": 4096 per bit, disabled, bit 2 set; "c": in use. */
static void build_abc(struct image_builder *b)
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

static struct qcbm_edit *begin(struct session *s)
{
    struct qcbm_error err = { 0 };
    struct qcbm_edit *edit;

    assert_ok(qcbm_edit_begin(s->img, &edit, &err), &err);
    return edit;
}

static void commit(struct qcbm_edit *edit)
{
    struct qcbm_error err = { 0 };

    assert_ok(qcbm_edit_commit(edit, NULL, 0, &err), &err);
    qcbm_edit_free(edit);
}

/* Names and flags of all bitmaps, "a2 b0 c3". */
static void assert_bitmaps(const struct qcbm_image *img, const char *want)
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
static void assert_stored(const struct session *s, const char *want)
{
    struct session again;
    size_t len;
    const uint8_t *bytes = session_bytes(s, &len);

    assert_bitmaps(s->img, want);
    session_on(&again, bytes, len, 0);
    assert_bitmaps(again.img, want);
    session_close(&again);
}

/* ---- refusals ---- */

static int do_add(struct qcbm_edit *e, const char *name, uint64_t granularity, struct qcbm_error *err)
{
    return qcbm_edit_add(e, name, granularity, 0, err);
}

static int do_remove(struct qcbm_edit *e, const char *name, uint64_t granularity, struct qcbm_error *err)
{
    (void)granularity;
    return qcbm_edit_remove(e, name, err);
}

static int do_clear(struct qcbm_edit *e, const char *name, uint64_t granularity, struct qcbm_error *err)
{
    (void)granularity;
    return qcbm_edit_clear(e, name, err);
}

static int do_enable(struct qcbm_edit *e, const char *name, uint64_t granularity, struct qcbm_error *err)
{
    (void)granularity;
    return qcbm_edit_enable(e, name, err);
}

static int do_disable(struct qcbm_edit *e, const char *name, uint64_t granularity, struct qcbm_error *err)
{
    (void)granularity;
    return qcbm_edit_disable(e, name, err);
}

static int do_merge_into(struct qcbm_edit *e, const char *name, uint64_t granularity, struct qcbm_error *err)
{
    (void)granularity;
    return qcbm_edit_merge(e, name, NULL, "a", err);
}

static int do_merge_from(struct qcbm_edit *e, const char *name, uint64_t granularity, struct qcbm_error *err)
{
    (void)granularity;
    return qcbm_edit_merge(e, "a", NULL, name, err);
}

typedef int verb(struct qcbm_edit *e, const char *name, uint64_t granularity, struct qcbm_error *err);

static void every_refusal_of_a_verb(void **state)
{
    static const struct {
        verb *fn;
        const char *name;
        uint64_t granularity;
        int code;
        const char *text;
    } cases[] = {
        { do_add, "a", 0, QCBM_E_EXISTS, "Bitmap already exists: a" },
        { do_add, "c", 0, QCBM_E_EXISTS, "Bitmap already exists: c" },
        { do_add, "", 0, QCBM_E_ARG, "Bitmap name cannot be empty" },
        { do_add, "n", 256, QCBM_E_ARG, "Granularity must be power of 2 and at least 512" },
        { do_add, "n", 1536, QCBM_E_ARG, "Granularity must be power of 2 and at least 512" },
        { do_add, "n", GIB(4), QCBM_E_ARG, "Granularity must be at most 2 GiB" },
        { do_remove, "n", 0, QCBM_E_NOTFOUND, "Dirty bitmap 'n' not found" },
        { do_clear, "n", 0, QCBM_E_NOTFOUND, "Dirty bitmap 'n' not found" },
        { do_enable, "n", 0, QCBM_E_NOTFOUND, "Dirty bitmap 'n' not found" },
        { do_disable, "", 0, QCBM_E_NOTFOUND, "Dirty bitmap '' not found" },
        { do_merge_into, "n", 0, QCBM_E_NOTFOUND, "Dirty bitmap 'n' not found" },
        { do_merge_from, "n", 0, QCBM_E_NOTFOUND, "Dirty bitmap 'n' not found" },
        { do_clear, "c", 0, QCBM_E_INUSE, "Bitmap 'c' is inconsistent and cannot be used" },
        { do_enable, "c", 0, QCBM_E_INUSE, "Bitmap 'c' is inconsistent and cannot be used" },
        { do_disable, "c", 0, QCBM_E_INUSE, "Bitmap 'c' is inconsistent and cannot be used" },
        { do_merge_into, "c", 0, QCBM_E_INUSE, "Bitmap 'c' is inconsistent and cannot be used" },
        { do_merge_from, "c", 0, QCBM_E_INUSE, "Bitmap 'c' is inconsistent and cannot be used" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct image_builder b;
        struct session s;
        struct qcbm_error err = { 0 };
        struct qcbm_edit *edit;
        struct qcbm_plan_summary sum;

        build_abc(&b);
        session_open(&s, &b);
        edit = begin(&s);
        assert_failure(cases[i].fn(edit, cases[i].name, cases[i].granularity, &err), &err, cases[i].code,
                       QCBM_NO_OFFSET, cases[i].text);
        assert_int_equal(cases[i].fn(edit, cases[i].name, cases[i].granularity, NULL), cases[i].code);
        assert_ok(qcbm_edit_commit(edit, &sum, sizeof(sum), &err),
                  &err); /* the edit is as before: there is nothing to do */
        assert_int_equal(sum.writes, 0);
        qcbm_edit_free(edit);
        assert_untouched(&s, &b);
        session_close(&s);
        build_free(&b);
    }
}

static void add_is_limited_by_name_and_size(void **state)
{
    static const struct {
        uint64_t size, granularity;
        size_t name_len;
        int code;
        const char *text;
    } cases[] = {
        { KIB(64), 512, 1023, 0, "" },
        { KIB(64), 512, 1024, QCBM_E_LIMIT, "Name length exceeds maximum (1023 characters)" },
        { GIB(2048), 512, 3, 0, "" },
        { GIB(2048) + 512, 512, 3, QCBM_E_LIMIT, "Use larger granularity" },
        { GIB(2048) + 512, 1024, 3, 0, "" },
        { 0, 512, 3, QCBM_E_LIMIT, "size 0" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct build_options opt = { .size = cases[i].size, .cluster_bits = 16 };
        struct image_builder b;
        struct session s;
        struct qcbm_error err = { 0 };
        struct qcbm_edit *edit;
        char name[1025] = "";

        build_start(&b, &opt);
        build_finish(&b);
        session_open(&s, &b);
        edit = begin(&s);
        memset(name, 'n', cases[i].name_len);
        assert_int_equal(qcbm_edit_add(edit, name, cases[i].granularity, 0, &err), cases[i].code);
        assert_non_null(strstr(err.message, cases[i].text));
        qcbm_edit_free(edit);
        session_close(&s);
        build_free(&b);
    }
}

static void begin_refuses_images_that_must_not_be_written(void **state)
{
    static const struct {
        struct build_options opt;
        int code;
        uint64_t offset;
    } cases[] = {
        { { .size = 65536, .version = 2 }, QCBM_E_UNSUPPORTED, 4 },
        { { .size = 65536, .incompatible = QCBM_INCOMPAT_DIRTY }, QCBM_E_UNSAFE, 72 },
        { { .size = 65536, .incompatible = QCBM_INCOMPAT_CORRUPT }, QCBM_E_UNSAFE, 72 },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct image_builder b;
        struct session s;
        struct qcbm_error err = { 0 };
        struct qcbm_edit *edit = (struct qcbm_edit *)&err;

        build_start(&b, &cases[i].opt);
        build_finish(&b);
        session_open(&s, &b);
        assert_failure(qcbm_edit_begin(s.img, &edit, &err), &err, cases[i].code, cases[i].offset, "");
        assert_null(edit);
        session_close(&s);
        build_free(&b);
    }
}

static void begin_refuses_a_directory_that_cannot_be_rewritten(void **state)
{
    struct bench *t = *state;
    struct qcbm_error err = { 0 };
    struct qcbm_edit *edit;

    build_abc(&t->b);
    be32_store(t->b.bytes + t->b.bitmaps[1].entry + 20, 0xffffff); /* extra data far past the end */
    session_open(&t->s, &t->b);
    assert_failure(qcbm_edit_begin(t->s.img, &edit, &err), &err, QCBM_E_CORRUPT, t->b.bitmaps[1].entry,
                   "cannot be rewritten without losing something");
    assert_null(edit);
}

static void a_bitmap_that_qemu_refuses_can_only_be_removed(void **state)
{
    struct bench *t = *state;
    static verb *const verbs[] = { do_clear, do_enable, do_disable, do_merge_into, do_merge_from };
    struct qcbm_error err = { 0 };
    struct qcbm_edit *edit;

    build_abc(&t->b);
    t->b.bytes[t->b.bitmaps[1].entry + 16] = 9; /* type */
    session_open(&t->s, &t->b);
    edit = begin(&t->s);
    for (size_t i = 0; i < ARRAY_LEN(verbs); i++)
        assert_failure(verbs[i](edit, "b", 0, &err), &err, QCBM_E_CORRUPT, t->b.bitmaps[1].entry + 16, "type 9");
    assert_ok(qcbm_edit_add(edit, "n", 0, 0, &err), &err); /* another change, with the bad one kept */
    assert_true(qcbm_edit_commit(edit, NULL, 0, &err) < 0);
    assert_non_null(strstr(err.message, "must be removed first"));
    assert_untouched(&t->s, &t->b);
    assert_ok(qcbm_edit_remove(edit, "b", &err), &err);
    commit(edit);
    assert_stored(&t->s, "a2 c3 n2");
}

/* ---- changes ---- */

static void add_appends_a_clean_bitmap(void **state)
{
    struct bench *t = bench_open(state, build_abc);
    struct qcbm_edit *edit = begin(&t->s);
    struct qcbm_error err = { 0 };
    struct qcbm_bitmap_info m;

    assert_ok(qcbm_edit_add(edit, "n", 0, 0, &err), &err);
    assert_ok(qcbm_edit_add(edit, "m", 1024, QCBM_BITMAP_DISABLED, &err), &err);
    commit(edit);
    assert_stored(&t->s, "a2 b0 c3 n2 m0");
    qcbm_bitmap_get(t->s.img, 3, &m, sizeof(m));
    assert_int_equal(m.granularity, 4096);
    qcbm_bitmap_get(t->s.img, 4, &m, sizeof(m));
    assert_int_equal(m.granularity, 1024);
    assert_dirty(t->s.img, "n", "");
    assert_dirty(t->s.img, "a", "1536-2048");
    assert_dirty(t->s.img, "b", "8192-12288");
}

static void several_changes_are_one_commit(void **state)
{
    struct bench *t = bench_open(state, build_abc);
    struct qcbm_edit *edit = begin(&t->s);
    struct qcbm_error err = { 0 };

    assert_ok(qcbm_edit_remove(edit, "c", &err), &err);
    assert_ok(qcbm_edit_add(edit, "n", 512, 0, &err), &err);
    assert_ok(qcbm_edit_merge(edit, "n", NULL, "a", &err), &err);
    assert_ok(qcbm_edit_merge(edit, "n", NULL, "b", &err), &err);
    assert_ok(qcbm_edit_merge(edit, "b", NULL, "n", &err), &err); /* rounds outward */
    assert_ok(qcbm_edit_clear(edit, "a", &err), &err);
    assert_ok(qcbm_edit_disable(edit, "a", &err), &err);
    assert_ok(qcbm_edit_enable(edit, "b", &err), &err);
    commit(edit);
    assert_stored(&t->s, "a0 b2 n2");
    assert_dirty(t->s.img, "a", "");
    assert_dirty(t->s.img, "b", "0-4096 8192-12288");
    assert_dirty(t->s.img, "n", "1536-2048 8192-12288");
}

static void a_name_removed_can_be_added_again(void **state)
{
    struct bench *t = bench_open(state, build_abc);
    struct qcbm_edit *edit = begin(&t->s);
    struct qcbm_error err = { 0 };

    assert_ok(qcbm_edit_remove(edit, "a", &err), &err);
    assert_ok(qcbm_edit_add(edit, "a", 8192, 0, &err), &err);
    commit(edit);
    assert_stored(&t->s, "b0 c3 a2"); /* it is a new one, at the end */
    assert_dirty(t->s.img, "a", "");
}

static void removing_the_last_takes_the_extension_away(void **state)
{
    struct bench *t = *state;
    struct build_options opt = { .size = KIB(64) };
    struct session again;
    struct qcbm_error err = { 0 };
    struct qcbm_edit *edit;
    struct qcbm_image_info info;
    size_t len;
    const uint8_t *now;

    build_start(&t->b, &opt);
    build_bitmap(&t->b, "a", 9, 0, NULL, 0);
    build_finish(&t->b);
    session_open(&t->s, &t->b);
    edit = begin(&t->s);
    assert_ok(qcbm_edit_remove(edit, "a", &err), &err);
    commit(edit);
    qcbm_image_get_info(t->s.img, &info, sizeof(info));
    assert_int_equal(info.bitmap_count, 0);
    assert_int_equal(info.autoclear_features, 0);
    now = session_bytes(&t->s, &len);
    assert_int_equal(be64_load(now + 112), 0); /* END stands where the extension did */
    assert_int_equal(be16_load(now + t->b.refblock + 2 * (t->b.bitmaps[0].table / 512)), 0);
    assert_int_equal(be16_load(now + t->b.refblock + 2 * (t->b.directory / 512)), 0);
    session_on(&again, now, len, 0);
    assert_findings(again.img, "");
    session_close(&again);
}

static void a_removed_bitmap_gives_its_clusters_back(void **state)
{
    struct bench *t = bench_open(state, build_abc);
    struct qcbm_edit *edit = begin(&t->s);
    struct qcbm_error err = { 0 };
    struct qcbm_plan_summary sum;
    const uint8_t *now;
    size_t len;

    assert_ok(qcbm_edit_remove(edit, "b", &err), &err);
    assert_ok(qcbm_edit_commit(edit, &sum, sizeof(sum), &err), &err);
    qcbm_edit_free(edit);
    assert_int_equal(sum.clusters_freed, 3); /* old directory, table, data */
    assert_int_equal(sum.clusters_allocated, 1);
    now = session_bytes(&t->s, &len);
    assert_int_equal(be16_load(now + t->b.refblock + 2 * (t->b.bitmaps[1].table / 512)), 0);
    assert_int_equal(be16_load(now + t->b.refblock + 2 * (t->b.bitmaps[1].table / 512 - 1)), 0); /* data */
    assert_int_equal(be16_load(now + t->b.refblock + 2 * (t->b.bitmaps[0].table / 512)), 1);
    assert_memory_equal(now + t->b.bitmaps[0].table, t->b.bytes + t->b.bitmaps[0].table,
                        512); /* the others have not moved */
}

static void extra_data_is_kept_until_its_bitmap_goes(void **state)
{
    struct bench *t = *state;
    struct build_options opt = { .size = KIB(64) };
    struct qcbm_error err = { 0 };
    struct qcbm_edit *edit;
    struct qcbm_bitmap_info m;

    build_start(&t->b, &opt);
    build_bitmap(&t->b, "x", 9, 4, NULL, 0)->extra_len = 5;
    build_finish(&t->b);
    session_open(&t->s, &t->b);
    edit = begin(&t->s);
    assert_ok(qcbm_edit_add(edit, "n", 0, 0, &err), &err);
    commit(edit);
    assert_stored(&t->s, "x4 n2");
    qcbm_bitmap_get(t->s.img, 0, &m, sizeof(m));
    assert_int_equal(m.extra_data_size, 5);
    assert_memory_equal(m.extra_data, "\xe0\xe0\xe0\xe0\xe0", 5);
}

/* ---- merge ---- */

static void merge_takes_bits_of_another_image(void **state)
{
    struct bench *t = bench_open(state, build_abc);
    struct session from;
    struct qcbm_error err = { 0 };
    struct qcbm_edit *edit;

    session_open(&from, &t->b);
    edit = begin(&t->s);
    assert_ok(qcbm_edit_merge(edit, "a", from.img, "b", &err), &err);
    assert_ok(qcbm_edit_merge(edit, "a", from.img, "a", &err), &err); /* the same name, another image */
    commit(edit);
    assert_dirty(t->s.img, "a", "1536-2048 8192-12288");
    assert_untouched(&from, &t->b);
    session_close(&from);
}

static void merge_refuses_a_source_that_does_not_fit(void **state)
{
    static const struct {
        uint64_t size;
        uint64_t entry; /* raw table entry of the source */
        const char *name;
        int code;
        const char *text;
    } cases[] = {
        { KIB(32), 1, "x", QCBM_E_ARG,
          "Bitmaps are of different sizes (destination size is 65536, source size is 32768)" },
        { KIB(64), 1, "y", QCBM_E_NOTFOUND, "Dirty bitmap 'y' not found" },
        { KIB(64), 3, "x", QCBM_E_CORRUPT, "bitmap table entry 0" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct build_options opt = { .size = cases[i].size };
        struct image_builder b, from;
        struct session s;
        struct qcbm_image *src;
        struct qcbm_error err = { 0 };
        struct qcbm_edit *edit;

        build_abc(&b);
        build_start(&from, &opt);
        build_bitmap(&from, "x", 9, 0, &cases[i].entry, 1);
        build_finish(&from);
        src = build_open(&from, 0);
        session_open(&s, &b);
        edit = begin(&s);
        assert_int_equal(qcbm_edit_merge(edit, "a", src, cases[i].name, &err), cases[i].code);
        assert_non_null(strstr(err.message, cases[i].text));
        commit(edit);
        assert_untouched(&s, &b);
        qcbm_close(src);
        session_close(&s);
        build_free(&b);
        build_free(&from);
    }
}

static void merge_of_nothing_and_of_itself_change_nothing(void **state)
{
    struct bench *t = *state;
    struct build_options opt = { .size = KIB(64) };
    struct qcbm_error err = { 0 };
    struct qcbm_edit *edit;

    build_start(&t->b, &opt);
    build_bitmap(&t->b, "a", 9, AUTO, NULL, 0);
    build_bitmap(&t->b, "b", 9, AUTO, NULL, 0);
    build_finish(&t->b);
    session_open(&t->s, &t->b);
    edit = begin(&t->s);
    assert_ok(qcbm_edit_merge(edit, "a", NULL, "a", &err), &err);
    assert_ok(qcbm_edit_merge(edit, "a", t->s.img, "a", &err), &err);
    assert_ok(qcbm_edit_merge(edit, "a", NULL, "b", &err), &err);
    commit(edit);
    assert_untouched(&t->s, &t->b);
}

/* ---- what is written ---- */

static void a_change_of_flags_writes_4_bytes_with_one_flush(void **state)
{
    struct bench *t = bench_open(state, build_abc);
    struct qcbm_edit *edit = begin(&t->s);
    struct qcbm_error err = { 0 };
    const uint8_t *now;
    size_t len;

    assert_ok(qcbm_edit_enable(edit, "b", &err), &err);
    commit(edit);
    assert_int_equal(t->s.rec->n, 2);
    assert_int_equal(t->s.rec->events[0].kind, RECORD_WRITE);
    assert_int_equal(t->s.rec->events[0].off, t->b.bitmaps[1].entry + 12);
    assert_int_equal(t->s.rec->events[0].len, 4);
    assert_int_equal(t->s.rec->events[1].kind, RECORD_FLUSH);
    now = session_bytes(&t->s, &len);
    be32_store(t->b.bytes + t->b.bitmaps[1].entry + 12, AUTO);
    assert_int_equal(len, t->b.len);
    assert_memory_equal(now, t->b.bytes, len);
    assert_stored(&t->s, "a2 b2 c3");
}

/* A write of flags may be short and still cross a sector: torn, it would leave one of two bitmaps enabled. */
static void flags_in_one_sector_are_one_write_and_in_two_a_new_directory(void **state)
{
    static const unsigned pairs[][2] = { { 0, 5 }, { 0, 6 }, { 5, 6 } };
    struct image_builder *b = bench_builder(state);
    struct build_options opt = { .size = KIB(64), .cluster_bits = 12 };
    struct session s;
    struct qcbm_error err = { 0 };
    struct qcbm_edit *edit;
    char name[64];

    build_start(b, &opt);
    for (int i = 0; i < 8; i++) { /* 88 bytes each: 0 to 5 have their flags in the first sector */
        snprintf(name, sizeof(name), "bitmap-with-a-name-of-sixty-bytes-to-fill-the-directory-000%d", i);
        build_bitmap(b, name, 12, 0, NULL, 0);
    }
    build_finish(b);
    for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
        session_open(&s, b);
        edit = begin(&s);
        assert_ok(qcbm_edit_enable(edit, b->bitmaps[pairs[i][0]].name, &err), &err);
        assert_ok(qcbm_edit_enable(edit, b->bitmaps[pairs[i][1]].name, &err), &err);
        commit(edit);
        assert_int_equal(session_count(&s, RECORD_FLUSH) == 1, i == 0);
        assert_int_equal(session_count(&s, RECORD_WRITE) == 1, i == 0);
        for (uint32_t k = 0; k < 8; k++) {
            struct qcbm_bitmap_info m;

            qcbm_bitmap_get(s.img, k, &m, sizeof(m));
            assert_string_equal(m.name, b->bitmaps[k].name);
            assert_int_equal(m.enabled, k == pairs[i][0] || k == pairs[i][1]);
        }
        session_close(&s);
    }
}

static void changes_that_cancel_out_write_nothing(void **state)
{
    struct bench *t = bench_open(state, build_abc);
    struct qcbm_edit *edit = begin(&t->s);
    struct qcbm_error err = { 0 };

    assert_ok(qcbm_edit_enable(edit, "a", &err), &err);
    assert_ok(qcbm_edit_enable(edit, "b", &err), &err);
    assert_ok(qcbm_edit_disable(edit, "b", &err), &err);
    assert_ok(qcbm_edit_add(edit, "n", 0, 0, &err), &err);
    assert_ok(qcbm_edit_remove(edit, "n", &err), &err);
    commit(edit);
    assert_untouched(&t->s, &t->b);
}

static void unknown_autoclear_bits_go_before_the_flags(void **state)
{
    struct bench *t = *state;
    struct build_options opt = { .size = KIB(64), .autoclear = UINT64_C(1) << 40 };
    struct qcbm_error err = { 0 };
    struct qcbm_edit *edit;

    build_start(&t->b, &opt);
    build_bitmap(&t->b, "a", 9, 0, NULL, 0);
    build_finish(&t->b);
    session_open(&t->s, &t->b);
    edit = begin(&t->s);
    assert_ok(qcbm_edit_enable(edit, "a", &err), &err);
    commit(edit);
    assert_int_equal(t->s.rec->n, 4); /* write, flush, write, flush */
    assert_int_equal(t->s.rec->events[0].off, 88);
    assert_int_equal(be64_load(t->s.rec->events[0].bytes), 1);
    assert_int_equal(t->s.rec->events[1].kind, RECORD_FLUSH);
    assert_int_equal(t->s.rec->events[2].off, t->b.bitmaps[0].entry + 12);
}

/* Two stale bitmaps: "old" with a cluster of data, "empty"; before them a guest cluster. */
static void build_stale(struct image_builder *b, uint64_t *data)
{
    struct build_options opt = { .size = KIB(64), .stale_bitmaps = true };

    build_start(b, &opt);
    build_data(b, 0);
    *data = build_clusters(b, 1);
    build_bitmap(b, "old", 9, 0, data, 1);
    build_bitmap(b, "empty", 9, 0, NULL, 0);
    build_finish(b);
}

static void stale_bitmaps_are_there_to_be_told_of_only(void **state)
{
    struct bench *t = *state;
    struct qcbm_image_info info;
    struct qcbm_bitmap_info m;
    struct qcbm_edit *edit;
    uint64_t data;

    build_stale(&t->b, &data);
    session_open(&t->s, &t->b);
    qcbm_image_get_info(t->s.img, &info, sizeof(info));
    assert_true(info.bitmaps_stale);
    assert_int_equal(info.bitmap_count, 0);
    assert_int_equal(info.stale_bitmap_count, 2);
    qcbm_stale_bitmap_get(t->s.img, 0, &m, sizeof(m));
    assert_string_equal(m.name, "old");
    assert_int_equal(m.granularity, 512);
    assert_false(m.usable);
    assert_findings(t->s.img, "bitmaps-stale@112");
    edit = begin(&t->s);
    assert_int_equal(qcbm_edit_remove(edit, "old", NULL), QCBM_E_NOTFOUND);
    qcbm_edit_free(edit);
}

/* A new bitmap in the image: @freed clusters of the stale ones are given back, @kept stay. */
static void assert_stale_given_up(const char *name, const struct image_builder *b, uint64_t freed, uint64_t kept)
{
    struct qcbm_plan_summary sum;
    struct qcbm_error err = { 0 };
    struct qcbm_edit *edit;
    struct session s;

    session_open(&s, b);
    edit = begin(&s);
    assert_ok(qcbm_edit_add(edit, "n", 0, 0, &err), &err);
    assert_ok(qcbm_edit_commit(edit, &sum, sizeof(sum), &err), &err);
    qcbm_edit_free(edit);
    assert_stored(&s, "n2");
    if (sum.clusters_freed != freed || sum.stale_clusters_kept != kept || sum.stale_bitmaps != 2)
        fail_msg("%s: %llu freed, %llu kept", name, (unsigned long long)sum.clusters_freed,
                 (unsigned long long)sum.stale_clusters_kept);
    session_close(&s);
}

static void what_is_provably_a_stale_bitmaps_is_freed_with_it(void **state)
{
    struct image_builder *b = bench_builder(state);
    uint64_t data, entry;

    build_stale(b, &data);
    assert_stale_given_up("all of it", b, 4, 0);
    build_set_refcount(b, b->directory, 2);
    assert_stale_given_up("the directory may be another's, and then all is", b, 0, 1);
    build_set_refcount(b, b->directory, 0);
    assert_stale_given_up("the directory was freed", b, 0, 1);
    build_set_refcount(b, b->directory, 1);
    build_set_refcount(b, data, 2);
    assert_stale_given_up("the data may be another's", b, 3, 1);
    build_set_refcount(b, data, 1);
    build_set_refcount(b, b->bitmaps[0].table, 0);
    assert_stale_given_up("the table was freed", b, 2, 1);
    build_set_refcount(b, b->bitmaps[0].table, 1);
    be64_store(b->bytes + b->bitmaps[0].table, 3);
    assert_stale_given_up("the table is none", b, 2, 0);
    be64_store(b->bytes + b->bitmaps[0].table, data);
    /* the guest has it by now */
    entry = build_l2_entry(b, 0);
    be64_store(b->bytes + entry, data | BUILD_COPIED);
    assert_stale_given_up("the data is the guest's", b, 3, 1);
    be64_store(b->bytes + entry, b->bitmaps[0].table | BUILD_COPIED);
    assert_stale_given_up("the table is the guest's", b, 2, 1);
    be64_store(b->bytes + entry, b->directory | BUILD_COPIED);
    assert_stale_given_up("the directory is the guest's", b, 0, 1);
}

/* Whatever lies there by now: neither a finding nor in the way. */
static void a_stale_directory_that_is_none_is_not_in_the_way(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct qcbm_image_info info;
    struct qcbm_image *img;
    uint64_t data;

    build_stale(b, &data);
    memset(b->bytes + b->directory, 0xff, 64);
    img = bench_image(state, 0);
    qcbm_image_get_info(img, &info, sizeof(info));
    assert_true(info.bitmaps_stale);
    assert_int_equal(info.stale_bitmap_count, 0);
    assert_findings(img, "bitmaps-stale@112");
}

/* ---- plan and commit ---- */

struct steps {
    unsigned n, stop_at;
    uint64_t bytes;
    uint32_t last_stage;
};

static int see_step(void *opaque, const struct qcbm_plan_step *step)
{
    struct steps *t = opaque;

    assert_true(step->stage == t->last_stage || step->stage == t->last_stage + 1);
    assert_true(step->stage_name[0] != '\0' && step->what[0] != '\0' && step->length > 0);
    t->last_stage = step->stage;
    t->bytes += step->length;
    return ++t->n == t->stop_at;
}

static void the_plan_tells_every_write_of_the_commit(void **state)
{
    struct bench *t = bench_open(state, build_abc);
    struct qcbm_edit *edit = begin(&t->s);
    struct qcbm_error err = { 0 };
    struct qcbm_plan_summary sum, done;
    struct steps steps = { 0 }, stopped = { .stop_at = 2 };
    uint64_t bytes = 0;
    size_t writes = 0;

    assert_ok(qcbm_edit_clear(edit, "a", &err), &err);
    assert_ok(qcbm_edit_plan(edit, &sum, sizeof(sum), see_step, &steps, &err), &err);
    assert_untouched(&t->s, &t->b);
    assert_failure(qcbm_edit_plan(edit, NULL, 0, see_step, &stopped, &err), &err, QCBM_E_ABORTED, QCBM_NO_OFFSET,
                   "stopped");
    assert_failure(qcbm_edit_add(edit, "n", 0, 0, &err), &err, QCBM_E_ARG, QCBM_NO_OFFSET, "has been planned");
    assert_failure(qcbm_edit_clear(edit, "a", &err), &err, QCBM_E_ARG, QCBM_NO_OFFSET, "has been planned");
    assert_ok(qcbm_edit_commit(edit, &done, sizeof(done), &err), &err);
    qcbm_edit_free(edit);
    assert_memory_equal(&sum, &done, sizeof(sum));
    for (size_t i = 0; i < t->s.rec->n; i++)
        if (t->s.rec->events[i].kind == RECORD_WRITE) {
            writes++;
            bytes += t->s.rec->events[i].len;
        }
    assert_int_equal(sum.writes, writes);
    assert_int_equal(steps.n, writes);
    assert_int_equal(sum.bytes_written, bytes);
    assert_int_equal(steps.bytes, bytes);
    assert_int_equal(sum.flushes, session_count(&t->s, RECORD_FLUSH));
    assert_int_equal(sum.flushes, steps.last_stage + 1);
}

static void a_reading_handle_does_not_commit(void **state)
{
    struct bench *t = *state;
    struct qcbm_error err = { 0 };
    struct qcbm_edit *edit;

    build_abc(&t->b);
    session_on(&t->s, t->b.bytes, t->b.len, 0);
    edit = begin(&t->s);
    assert_ok(qcbm_edit_clear(edit, "a", &err), &err);
    assert_failure(qcbm_edit_commit(edit, NULL, 0, &err), &err, QCBM_E_READONLY, QCBM_NO_OFFSET, "for reading");
    qcbm_edit_free(edit);
    assert_untouched(&t->s, &t->b);
}

static void a_first_cluster_that_changed_meanwhile_stops_the_commit(void **state)
{
    struct bench *t = bench_open(state, build_abc);
    struct qcbm_edit *edit = begin(&t->s);
    struct qcbm_error err = { 0 };

    assert_ok(qcbm_edit_clear(edit, "a", &err), &err);
    t->b.bytes[511] ^= 1;
    assert_int_equal(qcbm_mem_ops()->write_at(t->s.rec->mem, 511, t->b.bytes + 511, 1, NULL), 0);
    assert_failure(qcbm_edit_commit(edit, NULL, 0, &err), &err, QCBM_E_UNSAFE, 0, "nothing was written");
    qcbm_edit_free(edit);
    assert_untouched(&t->s, &t->b);
}

/* It would repeat its writes over what came after them. */
static void a_second_commit_of_one_edit_writes_nothing(void **state)
{
    struct bench *t = *state;
    struct build_options opt = { .size = KIB(64) };
    struct qcbm_error err = { 0 };
    struct qcbm_edit *edit;
    size_t n;

    build_start(&t->b, &opt);
    build_finish(&t->b);
    session_open(&t->s, &t->b);
    assert_ok(qcbm_edit_begin(t->s.img, &edit, &err), &err);
    assert_ok(qcbm_edit_add(edit, "n", 0, 0, &err), &err);
    assert_ok(qcbm_edit_commit(edit, NULL, 0, &err), &err);
    n = t->s.rec->n;
    assert_int_equal(qcbm_edit_commit(edit, NULL, 0, &err), QCBM_E_ARG);
    assert_int_equal(t->s.rec->n, n);
    qcbm_edit_free(edit);
}

/* It knows a directory that is gone. */
static void an_edit_that_another_commit_overtook_is_refused(void **state)
{
    struct bench *t = *state;
    struct build_options opt = { .size = KIB(64) };
    struct qcbm_error err = { 0 };
    struct qcbm_edit *one, *two;

    build_start(&t->b, &opt);
    build_bitmap(&t->b, "a", 9, 2, NULL, 0);
    build_finish(&t->b);
    session_open(&t->s, &t->b);
    assert_ok(qcbm_edit_begin(t->s.img, &one, &err), &err);
    assert_ok(qcbm_edit_begin(t->s.img, &two, &err), &err);
    assert_ok(qcbm_edit_add(one, "one", 0, 0, &err), &err);
    assert_ok(qcbm_edit_add(two, "two", 0, 0, &err), &err);
    assert_ok(qcbm_edit_commit(one, NULL, 0, &err), &err);
    assert_int_equal(qcbm_edit_commit(two, NULL, 0, &err), QCBM_E_ARG);
    qcbm_edit_free(one);
    qcbm_edit_free(two);
    assert_int_equal(bitmap_count(t->s.img), 2);
}

static void without_room_in_the_first_cluster_nothing_is_written(void **state)
{
    struct bench *t = *state;
    struct build_options opt = { .size = KIB(64) };
    struct qcbm_error err = { 0 };
    struct qcbm_edit *edit;

    build_start(&t->b, &opt);
    build_extension(&t->b, 0x12345678, NULL, 360);
    build_finish(&t->b);
    session_open(&t->s, &t->b);
    edit = begin(&t->s);
    assert_ok(qcbm_edit_add(edit, "n", 0, 0, &err), &err);
    assert_failure(qcbm_edit_plan(edit, NULL, 0, NULL, NULL, &err), &err, QCBM_E_NOSPACE, t->b.end_ext, "no room");
    assert_failure(qcbm_edit_commit(edit, NULL, 0, &err), &err, QCBM_E_NOSPACE, t->b.end_ext, "nothing was written");
    qcbm_edit_free(edit);
    assert_untouched(&t->s, &t->b);
}

static void bits_in_clusters_past_the_end_go_with_their_bitmap(void **state)
{
    static const uint64_t far[] = { UINT64_C(1) << 40 };
    struct bench *t = *state;
    struct build_options opt = { .size = KIB(64) };
    struct qcbm_error err = { 0 };
    struct qcbm_edit *edit;

    build_start(&t->b, &opt);
    build_bitmap(&t->b, "lost", 9, 0, far, 1);
    build_finish(&t->b);
    session_open(&t->s, &t->b);
    edit = begin(&t->s);
    assert_ok(qcbm_edit_add(edit, "n", 0, 0, &err), &err);
    assert_int_equal(qcbm_edit_commit(edit, NULL, 0, &err),
                     QCBM_E_UNSAFE); /* growing would make clean what is not known */
    assert_untouched(&t->s, &t->b);
    assert_ok(qcbm_edit_remove(edit, "lost", &err), &err);
    commit(edit);
    assert_stored(&t->s, "n2");
}

/* Two of one name: QEMU refuses the image, so the second must not be written again. With the first gone it is good. */
static void a_namesake_is_not_kept(void **state)
{
    struct bench *t = *state;
    struct build_options opt = { .size = KIB(64) };
    struct qcbm_error err = { 0 };
    struct qcbm_edit *edit;

    build_start(&t->b, &opt);
    build_bitmap(&t->b, "a", 9, AUTO, NULL, 0);
    build_bitmap(&t->b, "a", 10, 0, NULL, 0);
    build_finish(&t->b);
    session_open(&t->s, &t->b);
    edit = begin(&t->s);
    assert_ok(qcbm_edit_add(edit, "n", 0, 0, &err), &err);
    assert_int_equal(qcbm_edit_commit(edit, NULL, 0, &err), QCBM_E_UNSAFE);
    assert_non_null(strstr(err.message, "must be removed first"));
    assert_untouched(&t->s, &t->b);
    qcbm_edit_free(edit);
    edit = begin(&t->s);
    assert_ok(qcbm_edit_remove(edit, "a", &err), &err);
    assert_ok(qcbm_edit_add(edit, "n", 0, 0, &err), &err);
    commit(edit);
    assert_stored(&t->s, "a0 n2");
}

/* A file that grows makes zeros of what its end cut off: of a bitmap that stays, those would be clean granules. */
static void bits_that_the_end_cuts_go_with_their_bitmap(void **state)
{
    struct bench *t = *state;
    struct build_options opt = { .size = KIB(64) };
    struct qcbm_error err = { 0 };
    struct qcbm_plan_summary sum;
    struct qcbm_edit *edit;
    uint64_t data;

    build_start(&t->b, &opt);
    data = build_clusters(&t->b, 2);
    build_bitmap(&t->b, "cut", 9, 0, &data, 1);
    build_finish(&t->b);
    be64_store(t->b.bytes + t->b.bitmaps[0].table,
               t->b.len); /* into a cluster behind the end, of which a part is there */
    build_set_refcount(&t->b, t->b.len, 1);
    build_resize(&t->b, t->b.len + 100);
    session_open(&t->s, &t->b);
    edit = begin(&t->s);
    assert_ok(qcbm_edit_add(edit, "n", 0, 0, &err), &err);
    assert_int_equal(qcbm_edit_commit(edit, NULL, 0, &err), QCBM_E_UNSAFE);
    assert_untouched(&t->s, &t->b);
    qcbm_edit_free(edit);
    edit = begin(&t->s);
    assert_ok(qcbm_edit_remove(edit, "cut", &err), &err);
    assert_ok(qcbm_edit_commit(edit, &sum, sizeof(sum), &err), &err);
    qcbm_edit_free(edit);
    assert_stored(&t->s, "");
    assert_int_equal(sum.clusters_freed, 3); /* directory, table, data */
}

static void free_takes_null(void **state)
{
    (void)state;
    qcbm_edit_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_refusal_of_a_verb),
        cmocka_unit_test(add_is_limited_by_name_and_size),
        cmocka_unit_test(begin_refuses_images_that_must_not_be_written),
        image_test(begin_refuses_a_directory_that_cannot_be_rewritten),
        image_test(a_bitmap_that_qemu_refuses_can_only_be_removed),
        image_test(add_appends_a_clean_bitmap),
        image_test(several_changes_are_one_commit),
        image_test(a_name_removed_can_be_added_again),
        image_test(removing_the_last_takes_the_extension_away),
        image_test(a_removed_bitmap_gives_its_clusters_back),
        image_test(extra_data_is_kept_until_its_bitmap_goes),
        image_test(merge_takes_bits_of_another_image),
        cmocka_unit_test(merge_refuses_a_source_that_does_not_fit),
        image_test(merge_of_nothing_and_of_itself_change_nothing),
        image_test(a_change_of_flags_writes_4_bytes_with_one_flush),
        image_test(flags_in_one_sector_are_one_write_and_in_two_a_new_directory),
        image_test(changes_that_cancel_out_write_nothing),
        image_test(unknown_autoclear_bits_go_before_the_flags),
        image_test(stale_bitmaps_are_there_to_be_told_of_only),
        image_test(what_is_provably_a_stale_bitmaps_is_freed_with_it),
        image_test(a_stale_directory_that_is_none_is_not_in_the_way),
        image_test(the_plan_tells_every_write_of_the_commit),
        image_test(a_reading_handle_does_not_commit),
        image_test(a_first_cluster_that_changed_meanwhile_stops_the_commit),
        image_test(a_second_commit_of_one_edit_writes_nothing),
        image_test(an_edit_that_another_commit_overtook_is_refused),
        image_test(without_room_in_the_first_cluster_nothing_is_written),
        image_test(bits_in_clusters_past_the_end_go_with_their_bitmap),
        image_test(a_namesake_is_not_kept),
        image_test(bits_that_the_end_cuts_go_with_their_bitmap),
        cmocka_unit_test(free_takes_null),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
