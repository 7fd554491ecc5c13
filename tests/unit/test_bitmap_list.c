/* test_bitmap_list.c - the bitmap directory as a list: what is wrong is a finding and hides nothing else
 * SPDX-License-Identifier: MIT */
#include "image_unit.h"

#include "bitmap/bitmap_list.h"

/* 64 KiB; "a", "bb", "ccc" with clean tables. */
static void build_abc(struct image_builder *b)
{
    struct build_options opt = { .size = KIB(64) };

    build_start(b, &opt);
    build_bitmap(b, "a", 9, 0, NULL, 0);
    build_bitmap(b, "bb", 12, 2, NULL, 0);
    build_bitmap(b, "ccc", 16, 2, NULL, 0);
    build_finish(b);
}

/* "a bb!ccc": names in order, '!' behind one that cannot be used */
static void assert_names(const struct qcbm_image *img, const char *want)
{
    char got[256] = "";

    for (uint32_t i = 0; i < bitmap_count(img); i++) {
        struct qcbm_bitmap_info m;
        size_t n = strlen(got);

        qcbm_bitmap_get(img, i, &m, sizeof(m));
        snprintf(got + n, sizeof(got) - n, "%s%s%s", n ? " " : "", m.name, m.usable ? "" : "!");
    }
    assert_string_equal(got, want);
}

static void assert_one_finding(const struct qcbm_image *img, const char *code, uint64_t offset, uint32_t bitmap)
{
    struct qcbm_finding f;

    assert_int_equal(qcbm_finding_count(img), 1);
    qcbm_finding_get(img, 0, &f, sizeof(f));
    assert_string_equal(f.problem->code, code);
    assert_int_equal(f.offset, offset);
    assert_int_equal(f.bitmap, bitmap);
    assert_true(f.message[0] != '\0');
}

static void entries_come_in_file_order_with_their_places(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct qcbm_image *img;

    build_abc(b);
    img = bench_image(state, 0);
    assert_names(img, "a bb ccc");
    assert_findings(img, "");
    for (uint32_t i = 0; i < 3; i++) {
        struct qcbm_bitmap_info m;

        qcbm_bitmap_get(img, i, &m, sizeof(m));
        assert_int_equal(m.entry_offset, b->bitmaps[i].entry);
        assert_int_equal(m.table_offset, b->bitmaps[i].table);
        assert_int_equal(m.table_entries, 1);
        assert_int_equal(m.granularity, UINT64_C(1) << b->bitmaps[i].gran_bits);
        assert_int_equal(m.name_len, i + 1);
        assert_int_equal(m.enabled, i > 0);
        assert_false(m.in_use);
        assert_ptr_equal(qcbmi_bitmap_find(img->bitmaps, b->bitmaps[i].name), &img->bitmaps->list[i]);
    }
    assert_null(qcbmi_bitmap_find(img->bitmaps, "b"));
    assert_null(qcbmi_bitmap_find(img->bitmaps, ""));
}

static void without_an_extension_the_list_is_empty(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct build_options opt = { .size = KIB(64) };
    struct qcbm_image *img;

    build_start(b, &opt);
    build_finish(b);
    img = build_open(b, 0);
    assert_int_equal(bitmap_count(img), 0);
    assert_false(img->bitmaps->has_ext);
    assert_findings(img, "");
    qcbm_close(img);
    be64_store(b->bytes + 88, 1);
    img = build_open(b, 0);
    assert_one_finding(img, "bitmaps-autoclear-alone", 88, UINT32_MAX);
    qcbm_close(img);
}

static void a_stale_extension_is_not_looked_into(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct build_options opt = { .size = KIB(64), .stale_bitmaps = true };
    struct qcbm_image *img;
    struct qcbm_image_info info;

    build_start(b, &opt);
    build_bitmap(b, "a", 9, 0, NULL, 0);
    build_finish(b);
    be64_store(b->bytes + b->exts[0].offset + 24, UINT64_MAX); /* the directory would lie nowhere */
    img = bench_image(state, 0);
    qcbm_image_get_info(img, &info, sizeof(info));
    assert_true(info.bitmaps_stale);
    assert_int_equal(info.bitmap_count, 0);
    assert_one_finding(img, "bitmaps-stale", b->exts[0].offset, UINT32_MAX);
}

static void a_bad_entry_hides_no_other(void **state)
{
    static const struct {
        unsigned at, len; /* in the entry of "bb" */
        uint64_t value;
    } cases[] = {
        { 0, 8, 0 },           { 0, 8, 0x201 }, { 8, 4, 0 },  { 8, 4, 2 },  { 12, 4, 4 },
        { 12, 4, 0x80000000 }, { 16, 1, 0 },    { 16, 1, 2 }, { 17, 1, 8 }, { 17, 1, 32 },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct image_builder b;
        struct qcbm_image *img;
        struct qcbm_error err = { 0 };
        uint64_t entry;

        build_abc(&b);
        entry = b.bitmaps[1].entry;
        for (unsigned k = 0; k < cases[i].len; k++)
            b.bytes[entry + cases[i].at + k] = (uint8_t)(cases[i].value >> (8 * (cases[i].len - 1 - k)));
        img = build_open(&b, 0);
        assert_names(img, "a bb! ccc");
        assert_one_finding(img, "bitmap-entry-constraint", entry + cases[i].at, 1);
        assert_failure(qcbmi_bitmap_check_entry(img->image, &img->bitmaps->list[1], true, &err), &err, QCBM_E_CORRUPT,
                       entry + cases[i].at, "doesn't satisfy the constraints");
        assert_dirty(img, "ccc", "");
        qcbm_close(img);
        build_free(&b);
    }
}

static void of_two_entries_with_one_name_the_first_has_no_finding(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct build_options opt = { .size = KIB(64) };
    struct qcbm_image *img;

    build_start(b, &opt);
    build_bitmap(b, "x", 9, 0, NULL, 0);
    build_bitmap(b, "xy", 9, 0, NULL, 0); /* begins alike */
    build_bitmap(b, "w", 9, 0, NULL, 0);
    build_bitmap(b, "x", 12, 0, NULL, 0);
    build_bitmap(b, "x", 13, 0, NULL, 0);
    build_finish(b);
    img = bench_image(state, 0);
    assert_names(img, "x xy w x! x!");
    assert_int_equal(qcbm_finding_count(img), 2);
    for (uint32_t i = 0; i < 2; i++) {
        struct qcbm_finding f;

        qcbm_finding_get(img, i, &f, sizeof(f));
        assert_string_equal(f.problem->code, "bitmap-name-duplicate");
        assert_int_equal(f.bitmap, 3 + i);
        assert_int_equal(f.offset, b->bitmaps[3 + i].entry);
    }
    assert_ptr_equal(qcbmi_bitmap_find(img->bitmaps, "x"), &img->bitmaps->list[0]);
}

static void overlapping_tables_are_found(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct qcbm_image *img;

    build_abc(b);
    be64_store(b->bytes + b->bitmaps[2].entry, b->bitmaps[0].table);
    img = bench_image(state, 0);
    assert_names(img, "a bb ccc!");
    assert_one_finding(img, "bitmap-table-shared", b->bitmaps[2].entry, 2);
}

static void bitmaps_in_use_are_listed_whatever_their_table(void **state)
{
    static const uint64_t entries[] = { 0, 0, 0 };
    struct image_builder *b = bench_builder(state);
    struct build_options opt = { .size = KIB(64) };
    struct qcbm_image *img;
    struct qcbm_error err = { 0 };
    struct qcbm_bitmap_info m;

    build_start(b, &opt);
    build_bitmap(b, "a", 9, 3, NULL, 0);
    build_bitmap(b, "long", 9, 1, entries, 3);
    build_finish(b);
    img = bench_image(state, 0);
    assert_names(img, "a! long!");
    assert_int_equal(qcbm_finding_count(img), 2);
    qcbm_bitmap_get(img, 0, &m, sizeof(m));
    assert_true(m.in_use && m.enabled && !m.usable);
    assert_failure(qcbmi_bitmap_check_entry(img->image, &img->bitmaps->list[0], false, &err), &err, QCBM_E_INUSE,
                   QCBM_NO_OFFSET, "is inconsistent");
    assert_int_equal(qcbmi_bitmap_check_entry(img->image, &img->bitmaps->list[0], true, &err), 0);
    assert_failure(qcbmi_bitmap_check_entry(img->image, &img->bitmaps->list[1], true, &err), &err, QCBM_E_CORRUPT,
                   b->bitmaps[1].entry, "has 3 entries, 1 are needed");
}

/* ---- a directory that breaks off ---- */

static void a_broken_tail_leaves_what_stands_before_it(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct qcbm_image *img;

    build_abc(b);
    be16_store(b->bytes + b->bitmaps[2].entry + 18, 60000); /* a name past the end */
    img = bench_image(state, 0);
    assert_names(img, "a bb");
    assert_true(img->bitmaps->broken);
    assert_one_finding(img, "bitmap-directory-broken", b->bitmaps[2].entry, UINT32_MAX);
}

static void count_and_size_must_agree(void **state)
{
    static const struct {
        uint32_t n;
        int grow; /* of the size */
        const char *names;
    } cases[] = {
        { 2, 0, "a bb" },     /* more bytes than entries */
        { 4, 0, "a bb ccc" }, /* fewer */
        { 3, 8, "a bb ccc" }, /* bytes left over */
        { 65535, 0, "a bb ccc" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct image_builder b;
        struct qcbm_image *img;
        uint8_t *payload;

        build_abc(&b);
        payload = b.bytes + b.exts[0].offset + 8;
        be32_store(payload, cases[i].n);
        be64_store(payload + 8, b.directory_len + (uint64_t)cases[i].grow);
        img = build_open(&b, 0);
        assert_names(img, cases[i].names);
        assert_one_finding(img, "bitmap-directory-broken", b.directory, UINT32_MAX);
        qcbm_close(img);
        build_free(&b);
    }
}

static void a_directory_that_cannot_be_read_is_one_finding(void **state)
{
    static const struct {
        unsigned at, len; /* in the payload of the extension */
        uint64_t value;
        unsigned found_at;
    } cases[] = {
        { 0, 4, 0, 0 },
        { 0, 4, 65536, 0 },
        { 4, 4, 1, 4 },
        { 8, 8, 0, 8 },
        { 8, 8, 67107841, 8 },
        { 16, 8, 0, 16 },
        { 16, 8, 0x201, 16 },
        { 16, 8, UINT64_C(1) << 62, 8 }, /* past the end of the file: size and offset, from 8 on */
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct image_builder b;
        struct qcbm_image *img;
        uint64_t payload;

        build_abc(&b);
        payload = b.exts[0].offset + 8;
        for (unsigned k = 0; k < cases[i].len; k++)
            b.bytes[payload + cases[i].at + k] = (uint8_t)(cases[i].value >> (8 * (cases[i].len - 1 - k)));
        img = build_open(&b, 0);
        assert_int_equal(bitmap_count(img), 0);
        assert_true(img->bitmaps->broken);
        assert_one_finding(img, "bitmap-directory-broken", payload + cases[i].found_at, UINT32_MAX);
        qcbm_close(img);
        build_free(&b);
    }
}

static void a_name_that_is_not_found_may_be_behind_the_break(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct qcbm_image *img;
    struct extent_text text = { "" };
    struct qcbm_error err = { 0 };

    build_abc(b);
    be16_store(b->bytes + b->bitmaps[2].entry + 18, 60000);
    img = bench_image(state, 0);
    assert_dirty(img, "bb", "");
    assert_failure(qcbm_bitmap_extents(img, "ccc", 0, add_extent_text, &text, &err), &err, QCBM_E_CORRUPT,
                   b->bitmaps[2].entry, "not among the readable entries");
}

static void free_takes_null(void **state)
{
    (void)state;
    qcbmi_bitmap_list_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        image_test(entries_come_in_file_order_with_their_places),
        image_test(without_an_extension_the_list_is_empty),
        image_test(a_stale_extension_is_not_looked_into),
        cmocka_unit_test(a_bad_entry_hides_no_other),
        image_test(of_two_entries_with_one_name_the_first_has_no_finding),
        image_test(overlapping_tables_are_found),
        image_test(bitmaps_in_use_are_listed_whatever_their_table),
        image_test(a_broken_tail_leaves_what_stands_before_it),
        cmocka_unit_test(count_and_size_must_agree),
        cmocka_unit_test(a_directory_that_cannot_be_read_is_one_finding),
        image_test(a_name_that_is_not_found_may_be_behind_the_break),
        cmocka_unit_test(free_takes_null),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
