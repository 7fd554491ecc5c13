/* test_image_api.c - open, close, and what can be asked of an open image
 * SPDX-License-Identifier: MIT */
#include "image_unit.h"

#include <fcntl.h>

static void the_info_is_what_the_header_says(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct build_options opt = {
        .size = KIB(64) + 100, .refcount_bits = 8, .backing = "base", .backing_format = "raw"
    };
    struct qcbm_image *img;
    struct qcbm_image_info i;

    opt.compatible = QCBM_COMPAT_LAZY_REFCOUNTS;
    build_start(b, &opt);
    build_bitmap(b, "a", 12, 0, NULL, 0);
    build_snapshot(b, "1", "s");
    build_finish(b);
    img = bench_image(state, 0);
    qcbm_image_get_info(img, &i, sizeof(i));
    assert_int_equal(i.version, 3);
    assert_int_equal(i.cluster_size, 512);
    assert_int_equal(i.refcount_bits, 8);
    assert_int_equal(i.crypt_method, 0);
    assert_int_equal(i.header_length, 112);
    assert_int_equal(i.virtual_size, KIB(64) + 100);
    assert_int_equal(i.file_size, b->len);
    assert_int_equal(i.disk_size, b->len);
    assert_int_equal(i.compatible_features, QCBM_COMPAT_LAZY_REFCOUNTS);
    assert_int_equal(i.autoclear_features, QCBM_AUTOCLEAR_BITMAPS);
    assert_int_equal(i.snapshot_count, 1);
    assert_int_equal(i.bitmap_count, 1);
    assert_false(i.bitmaps_stale);
    assert_string_equal(i.backing_file, "base");
    assert_string_equal(i.backing_format, "raw");
    assert_null(i.data_file);
}

static void version_2_and_data_files_too(void **state)
{
    struct build_options v2 = { .size = KIB(64), .version = 2 };
    struct build_options df = { .size = KIB(64), .data_file = "name of it" };
    struct image_builder b;
    struct qcbm_image *img;
    struct qcbm_image_info i;

    (void)state;
    build_start(&b, &v2);
    build_finish(&b);
    img = build_open(&b, 0);
    qcbm_image_get_info(img, &i, sizeof(i));
    assert_int_equal(i.version, 2);
    assert_int_equal(i.header_length, 72);
    assert_int_equal(i.refcount_bits, 16);
    assert_null(i.backing_file);
    qcbm_close(img);
    build_free(&b);
    build_start(&b, &df);
    build_finish(&b);
    img = build_open(&b, 0);
    qcbm_image_get_info(img, &i, sizeof(i));
    assert_string_equal(i.data_file, "name of it");
    qcbm_close(img);
    build_free(&b);
}

/* A caller with a shorter struct gets as much as it knows, one with a longer struct zeros at the end. */
static void structs_of_other_sizes_are_filled_as_far_as_they_go(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct build_options opt = { .size = KIB(64) };
    struct qcbm_image *img;
    struct {
        struct qcbm_image_info i;
        uint8_t more[16];
    } large;
    uint8_t *small;

    build_start(b, &opt);
    build_bitmap(b, "a", 12, 0, NULL, 0);
    build_finish(b);
    img = bench_image(state, 0);
    small = exact_copy("\1\1\1\1\1\1", 6); /* in the middle of a field */
    qcbm_image_get_info(img, (struct qcbm_image_info *)(void *)small, 6);
    memset(&large, 0xff, sizeof(large));
    qcbm_image_get_info(img, &large.i, sizeof(large));
    assert_memory_equal(small, &large.i, 6);
    for (size_t k = 0; k < sizeof(large.more); k++)
        assert_int_equal(large.more[k], 0);
    free(small);
    small = exact_copy("01234567", 8);
    qcbm_bitmap_get(img, 0, (struct qcbm_bitmap_info *)(void *)small, 8);
    free(small);
}

static void snapshots_are_loaded_on_request(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct build_options opt = { .size = KIB(64) };
    struct qcbm_image *img;
    struct qcbm_error err = { 0 };
    struct qcbm_snapshot_info s;
    uint32_t n = 9;

    build_start(b, &opt);
    build_snapshot(b, "1", "first");
    build_snapshot(b, "17", "");
    build_finish(b);
    img = bench_image(state, 0);
    for (int round = 0; round < 2; round++) { /* a second call serves the same */
        assert_ok(qcbm_snapshots_load(img, &n, &err), &err);
        assert_int_equal(n, 2);
        for (uint32_t i = 0; i < n; i++) {
            qcbm_snapshot_get(img, i, &s, sizeof(s));
            assert_string_equal(s.id, b->snapshots[i].id);
            assert_string_equal(s.name, b->snapshots[i].name);
            assert_int_equal(s.l1_offset, b->snapshots[i].l1);
            assert_int_equal(s.l1_entries, 2);
            assert_int_equal(s.disk_size, KIB(64));
            assert_int_equal(s.icount, UINT64_MAX);
            assert_int_equal(s.entry_offset, b->snapshots[i].entry);
        }
    }
}

static void usage_counts_bits_bytes_and_clusters(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct build_options opt = { .size = MIB(4) + 512 };
    struct qcbm_image *img;
    struct qcbm_error err = { 0 };
    struct qcbm_bitmap_usage u;
    uint64_t entries[3];

    build_start(b, &opt);
    entries[0] = build_clusters(b, 1);
    entries[1] = 1;
    entries[2] = build_clusters(b, 1);
    memset(b->bytes + entries[0], 0x11, 200);
    b->bytes[entries[2]] = 0xff;            /* one granule, and tail bits */
    build_bitmap(b, "a", 9, 1, entries, 3); /* in use: counted as stored */
    entries[0] = build_clusters(b, 1);
    memset(b->bytes + entries[0], 0x11, 200);
    build_bitmap(b, "b", 16, 0, entries, 1);
    build_finish(b);
    img = bench_image(state, 0);
    assert_ok(qcbm_bitmap_usage(img, 0, &u, sizeof(u), NULL, &err), &err);
    assert_int_equal(u.granules, 8193);
    assert_int_equal(u.dirty_granules, 400 + 4096 + 1);
    assert_int_equal(u.dirty_bytes, (400 + 4096 + 1) * 512);
    assert_int_equal(u.disk_bytes, 3 * 512);
    assert_ok(qcbm_bitmap_usage(img, 1, &u, sizeof(u), NULL, &err), &err);
    assert_int_equal(u.granules, 65);
    assert_int_equal(u.dirty_granules, 17); /* every fourth of 65, the last one partial */
    assert_int_equal(u.dirty_bytes, 16 * 65536 + 512);
}

static void flags_that_exclude_each_other_are_refused(void **state)
{
    static const unsigned flags[] = { QCBM_OPEN_WRITE | QCBM_OPEN_FORCE_SHARE, QCBM_OPEN_WRITE | QCBM_OPEN_INFO };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(flags); i++) {
        struct build_options opt = { .size = KIB(64) };
        struct image_builder b;
        struct qcbm_image *img = (struct qcbm_image *)&opt;
        struct qcbm_error err = { 0 };

        build_start(&b, &opt);
        build_finish(&b);
        assert_failure(build_try_open(&b, flags[i], &img, &err), &err, QCBM_E_ARG, QCBM_NO_OFFSET, "force-share");
        assert_null(img);
        img = (struct qcbm_image *)&opt;
        assert_failure(qcbm_open("no such file", flags[i], &img, &err), &err, QCBM_E_ARG, QCBM_NO_OFFSET,
                       "force-share");
        assert_null(img);
        img = (struct qcbm_image *)&opt;
        assert_failure(qcbm_open_io(NULL, NULL, flags[i], &img, &err), &err, QCBM_E_ARG, QCBM_NO_OFFSET,
                       "struct_size"); /* nothing of the backend is called before it was looked at */
        assert_null(img);
        build_free(&b);
    }
}

static void a_file_that_cannot_be_opened_leaves_no_handle(void **state)
{
    const struct temp_dir *d = bench_dir(state);
    struct qcbm_error err = { 0 };
    struct qcbm_image *img = (struct qcbm_image *)&err;

    assert_failure(qcbm_open(temp_path(d, "missing"), 0, &img, &err), &err, QCBM_E_NOTFOUND, QCBM_NO_OFFSET,
                   "No such file");
    assert_true(err.sys_errno != 0);
    assert_null(img);
    assert_int_equal(qcbm_open(temp_path(d, "missing"), 0, &img, NULL), QCBM_E_NOTFOUND);
}

static void a_descriptor_is_taken_over(void **state)
{
    static const struct {
        int flags;
        unsigned open;
        int code;
        const char *text;
    } cases[] = {
        { O_RDONLY, 0, 0, NULL },
        { O_RDWR, QCBM_OPEN_WRITE, 0, NULL },
        { O_RDONLY | O_APPEND, 0, 0, NULL },
        { O_RDONLY, QCBM_OPEN_WRITE, QCBM_E_ARG, "not opened for writing" },
        { O_WRONLY, 0, QCBM_E_ARG, "not opened for reading" },
        { O_RDWR | O_APPEND, QCBM_OPEN_WRITE, QCBM_E_ARG, "O_APPEND" },
        { O_PATH, 0, QCBM_E_ARG, "O_PATH" },
        { O_RDWR, QCBM_OPEN_WRITE | QCBM_OPEN_FORCE_SHARE, QCBM_E_ARG, "force-share" },
    };
    struct build_options opt = { .size = KIB(64) };
    struct image_builder b;
    const struct temp_dir *d = bench_dir(state);

    build_start(&b, &opt);
    build_finish(&b);
    build_write_file(&b, temp_path(d, "image"));
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        int fd = open(temp_path(d, "image"), cases[i].flags);
        struct qcbm_error err = { 0 };
        struct qcbm_image *img;

        assert_true(fd >= 0);
        if (cases[i].code == 0)
            assert_ok(qcbm_open_fd(fd, cases[i].open, &img, &err), &err);
        else
            assert_failure(qcbm_open_fd(fd, cases[i].open, &img, &err), &err, cases[i].code, QCBM_NO_OFFSET,
                           cases[i].text);
        if (cases[i].open == QCBM_OPEN_WRITE && cases[i].code == 0) { /* its locks keep others out */
            struct qcbm_image *other;

            assert_int_equal(qcbm_open(temp_path(d, "image"), 0, &other, NULL), QCBM_E_LOCKED);
        }
        qcbm_close(img);
        assert_int_equal(fcntl(fd, F_GETFD), -1); /* closed, whatever happened */
    }
    assert_int_equal(qcbm_open_fd(-1, 0, &(struct qcbm_image *){ NULL }, NULL), QCBM_E_IO);
    build_free(&b);
}

static void success_does_not_touch_the_error(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct build_options opt = { .size = KIB(64) };
    struct qcbm_image *img;
    struct qcbm_error err, before;
    struct qcbm_edit *edit;
    struct qcbm_bitmap_usage u;
    uint32_t n;

    memset(&err, 0x5a, sizeof(err));
    before = err;
    build_start(b, &opt);
    build_data(b, 0);
    build_bitmap(b, "a", 12, 0, NULL, 0);
    build_finish(b);
    assert_int_equal(build_try_open(b, QCBM_OPEN_WRITE, &img, &err), 0);
    assert_int_equal(qcbm_snapshots_load(img, &n, &err), 0);
    assert_int_equal(qcbm_bitmap_usage(img, 0, &u, sizeof(u), NULL, &err), 0);
    assert_int_equal(qcbm_edit_begin(img, &edit, &err), 0);
    assert_int_equal(qcbm_edit_add(edit, "b", 0, 0, &err), 0);
    assert_int_equal(qcbm_edit_synth(edit, img, "c", NULL, NULL, &err), 0);
    assert_int_equal(qcbm_edit_merge(edit, "b", NULL, "c", &err), 0);
    assert_int_equal(qcbm_edit_commit(edit, NULL, 0, &err), 0);
    assert_memory_equal(&err, &before, sizeof(err));
    qcbm_edit_free(edit);
    qcbm_close(img);
}

static void close_takes_null(void **state)
{
    (void)state;
    qcbm_close(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        image_test(the_info_is_what_the_header_says),
        cmocka_unit_test(version_2_and_data_files_too),
        image_test(structs_of_other_sizes_are_filled_as_far_as_they_go),
        image_test(snapshots_are_loaded_on_request),
        image_test(usage_counts_bits_bytes_and_clusters),
        cmocka_unit_test(flags_that_exclude_each_other_are_refused),
        image_test(a_file_that_cannot_be_opened_leaves_no_handle),
        image_test(a_descriptor_is_taken_over),
        image_test(success_does_not_touch_the_error),
        cmocka_unit_test(close_takes_null),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
