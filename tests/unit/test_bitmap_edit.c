/* test_bitmap_edit.c - edits of bitmaps: every refusal, several changes in one commit, merges
 * SPDX-License-Identifier: MIT */
#include "edit_unit.h"

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
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
