/* test_snapshot_view.c - snapshots by what a user calls them, and the image as it was then
 * SPDX-License-Identifier: MIT */
#include "image_unit.h"

#include "base/bytes.h"
#include "image/snapshot_view.h"

static void build_three(struct image_builder *b)
{
    struct build_options opt = { .size = KIB(64) };

    build_start(b, &opt);
    build_data(b, 0);
    build_snapshot(b, "1", "a");
    build_data(b, KIB(32));
    build_snapshot(b, "2", "b");
    build_snapshot(b, "3", "2");
    build_snapshot(b, "4", "b");
    build_snapshot(b, "5", "5");
    build_finish(b);
}

static void they_are_found_by_id_and_name(void **state)
{
    static const struct {
        const char *words;
        int code;
        uint32_t index;
        const char *text;
    } cases[] = {
        { "1", 0, 0, NULL },
        { "a", 0, 0, NULL },
        { "id:2", 0, 1, NULL },
        { "name:2", 0, 2, NULL },
        { "5", 0, 4, NULL }, /* both of one snapshot */
        { "2", QCBM_E_ARG, 0, "'2' fits several snapshots (2 'b', 3 '2')" },
        { "b", QCBM_E_ARG, 0, "(2 'b', 4 'b'): say id:ID or name:NAME" },
        { "name:b", QCBM_E_ARG, 0, "several" },
        { "id:a", QCBM_E_NOTFOUND, 0, "there are: 1 'a', 2 'b', 3 '2', 4 'b', 5 '5'" },
        { "", QCBM_E_NOTFOUND, 0, "no snapshot ''" },
        { "name:", QCBM_E_NOTFOUND, 0, "no snapshot" },
        { "aa", QCBM_E_NOTFOUND, 0, "no snapshot 'aa'" },
    };
    struct qcbm_image *img;

    build_three(bench_builder(state));
    img = bench_image(state, 0);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct qcbm_error err = { 0 };
        uint32_t index = 99;
        int ret = qcbmi_snapshot_find(img->image, cases[i].words, &index, &err);

        if (cases[i].code)
            assert_failure(ret, &err, cases[i].code, QCBM_NO_OFFSET, cases[i].text);
        else
            assert_ok(ret, &err);
        assert_int_equal(index, cases[i].code ? 99 : cases[i].index);
    }
}

static void where_there_are_none_that_is_told(void **state)
{
    static const struct build_options cases[] = { { .size = KIB(64) }, { .size = KIB(64), .data_file = "d" } };
    static const char *const texts[] = { "nor any other", "data file" };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct qcbm_error err = { 0 };
        struct image_builder b;
        struct qcbm_image *img;
        uint32_t index;

        build_start(&b, &cases[i]);
        build_finish(&b);
        img = build_open(&b, 0);
        assert_failure(qcbmi_snapshot_find(img->image, "s", &index, &err), &err,
                       i ? QCBM_E_UNSUPPORTED : QCBM_E_NOTFOUND, QCBM_NO_OFFSET, texts[i]);
        qcbm_close(img);
        build_free(&b);
    }
}

static void a_view_has_the_size_and_the_tables_of_the_snapshot(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct qcbmi_snapshot_view v;
    struct qcbm_error err = { 0 };
    struct qcbm_image *img;
    uint32_t i;

    build_three(b);
    be64_store(b->bytes + b->snapshots[0].entry + 48, KIB(33));
    img = bench_image(state, 0);
    assert_ok(qcbmi_snapshot_find(img->image, "a", &i, &err), &err);
    assert_ok(qcbmi_snapshot_view_init(&v, img->image, i, &err), &err);
    assert_int_equal(v.img.g.size, KIB(33));
    assert_int_equal(v.img.g.l1_used, 2);
    assert_int_equal(v.img.h.l1_offset, b->snapshots[0].l1);
    assert_string_equal(v.label, "snapshot 1 'a'");
    assert_memory_equal(v.img.l1, b->bytes + b->snapshots[0].l1, 16);
    assert_int_equal(img->image->g.size, KIB(64)); /* and the image is what it was */
    qcbmi_snapshot_view_free(&v);
    qcbmi_snapshot_view_free(&v);
}

static void a_snapshot_that_cannot_be_walked_is_refused(void **state)
{
    static const struct {
        uint64_t l1;
        uint32_t entries;
        uint64_t size;
        const char *text;
    } cases[] = {
        { UINT64_C(1) << 40, 2, KIB(64), "snapshot 1 'a': its L1 table" },
        { 0, 2, KIB(64), "L1 table" },
        { 1024 + 8, 2, KIB(64), "not cluster-aligned" },
        { 1024, 0x7fffffff, KIB(64), "too large" },
        { 1024, 2, UINT64_C(1) << 63, "is none" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct qcbmi_snapshot_view v;
        struct qcbm_error err = { 0 };
        struct image_builder b;
        struct qcbm_image *img;
        uint32_t index;

        build_three(&b);
        be64_store(b.bytes + b.snapshots[0].entry, cases[i].l1);
        be32_store(b.bytes + b.snapshots[0].entry + 8, cases[i].entries);
        be64_store(b.bytes + b.snapshots[0].entry + 48, cases[i].size);
        img = build_open(&b, 0);
        assert_ok(qcbmi_snapshot_find(img->image, "a", &index, &err), &err);
        assert_failure(qcbmi_snapshot_view_init(&v, img->image, index, &err), &err, QCBM_E_CORRUPT, b.snapshot_table,
                       cases[i].text);
        qcbmi_snapshot_view_free(&v);
        qcbm_close(img);
        build_free(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        image_test(they_are_found_by_id_and_name),
        cmocka_unit_test(where_there_are_none_that_is_told),
        image_test(a_view_has_the_size_and_the_tables_of_the_snapshot),
        cmocka_unit_test(a_snapshot_that_cannot_be_walked_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
