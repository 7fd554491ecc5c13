/* test_host_map_runs.c - what each cluster of the file is used for: from the beginning to the end, each in one run
 * SPDX-License-Identifier: MIT */
#include "image_unit.h"

struct seen {
    char text[1024];
    uint64_t next; /* where the next run must begin */
    unsigned left; /* runs until it stops; 0: it does not */
};

static int see(void *opaque, const struct qcbm_host_extent *e)
{
    static const char *const names[] = {
        [QCBM_HOST_FREE] = "free",          [QCBM_HOST_LEAKED] = "leaked", [QCBM_HOST_UNCOUNTED] = "uncounted",
        [QCBM_HOST_HEADER] = "header",      [QCBM_HOST_TABLES] = "tables", [QCBM_HOST_REFCOUNTS] = "refcounts",
        [QCBM_HOST_BITMAPS] = "bitmaps",    [QCBM_HOST_DATA] = "data",     [QCBM_HOST_COMPRESSED] = "compressed",
        [QCBM_HOST_SNAPSHOTS] = "snapshots"
    };
    struct seen *s = opaque;
    size_t n = strlen(s->text);

    assert_int_equal(e->offset, s->next);
    assert_true(e->length > 0);
    s->next += e->length;
    snprintf(s->text + n, sizeof(s->text) - n, "%s %llu; ", names[e->kind], (unsigned long long)e->length);
    return s->left && --s->left == 0;
}

/* What has been built, in bytes of each run. */
static void assert_runs(void **state, const char *want)
{
    struct seen seen = { .text = "" };
    struct qcbm_error err;

    assert_int_equal(qcbm_host_map(bench_image(state, 0), see, &seen, NULL, &err), 0);
    assert_string_equal(seen.text, want);
    assert_int_equal(seen.next, bench_builder(state)->len);
}

static void each_cluster_has_its_kind(void **state)
{
    const struct build_options opt = { .size = KIB(64) };
    struct image_builder *b = bench_builder(state);
    uint64_t packed, leaked;

    build_start(b, &opt);
    build_data(b, 0);
    build_data(b, 512);
    build_snapshot(b, "1", "before");
    build_map(b, 0, 0, 0); /* only the snapshot has it */
    build_data(b, 1024);
    packed = build_clusters(b, 1);
    build_map(b, 2048, BUILD_COMPRESSED | (packed + 100), 0);
    leaked = build_clusters(b, 1);
    build_clusters(b, 1);
    build_bitmap(b, "b", 9, 0, NULL, 1);
    build_finish(b);
    build_set_refcount(b, packed, 0);
    build_set_refcount(b, leaked + 512, 0);
    assert_runs(state, "header 512; refcounts 1024; tables 1024; snapshots 512; data 512; tables 1024; data 512; "
                       "uncounted 512; leaked 512; free 512; bitmaps 512; header 512; bitmaps 512; ");
}

static void the_last_cluster_may_be_cut_short(void **state)
{
    const struct build_options opt = { .size = KIB(64), .cluster_bits = 12 };
    struct image_builder *b = bench_builder(state);

    build_start(b, &opt);
    build_data(b, 0);
    build_finish(b);
    build_resize(b, b->len - 1000);
    assert_runs(state, "header 4096; refcounts 8192; tables 8192; data 3096; ");
}

/* The second table lies in front of the first in the file; with clusters that follow one another over the border it is
 * one run, and with a gap two. */
static void a_run_goes_on_from_table_to_table(void **state)
{
    const struct build_options opt = { .size = KIB(64) };
    struct image_builder *b = bench_builder(state);
    uint64_t data;

    build_start(b, &opt);
    build_l2_entry(b, KIB(32));
    build_l2_entry(b, 0);
    data = build_clusters(b, 3);
    build_map(b, KIB(32) - 512, BUILD_COPIED | data, 0);
    build_map(b, KIB(32), BUILD_COPIED | (data + 512), 0);
    build_map(b, KIB(33), BUILD_COPIED | (data + 1024), 0);
    build_finish(b);
    assert_runs(state, "header 512; refcounts 1024; tables 1536; data 1536; ");
}

static void data_in_pieces_is_in_several_runs(void **state)
{
    const struct build_options opt = { .size = KIB(64) };
    struct image_builder *b = bench_builder(state);
    uint64_t data;

    build_start(b, &opt);
    data = build_clusters(b, 4);
    build_map(b, 0, BUILD_COPIED | (data + 1024), 0);
    build_map(b, 512, BUILD_COPIED | (data + 1536), 0);
    build_map(b, 1024, BUILD_COPIED | data, 0);
    build_map(b, KIB(32), BUILD_COPIED | (data + 512), 0);
    build_finish(b);
    assert_runs(state, "header 512; refcounts 1024; tables 512; data 1024; data 1024; tables 1024; ");
}

static void of_a_data_file_nothing_is_told(void **state)
{
    const struct build_options opt = { .size = KIB(64), .data_file = "elsewhere" };
    struct image_builder *b = bench_builder(state);

    build_start(b, &opt);
    build_map(b, 0, BUILD_COPIED | 0, 0);
    build_map(b, 1024, BUILD_COPIED | 1024, 0);
    build_clusters(b, 1);
    build_finish(b);
    assert_runs(state, "header 512; refcounts 1024; tables 1024; leaked 512; ");
}

static void who_is_told_may_stop(void **state)
{
    const struct build_options opt = { .size = KIB(64) };
    struct image_builder *b = bench_builder(state);
    struct qcbm_image *img;

    build_start(b, &opt);
    build_data(b, 0);
    build_finish(b);
    img = bench_image(state, 0);
    for (unsigned stop = 1; stop <= 4; stop++) {
        struct seen seen = { .left = stop };
        struct qcbm_error err;

        assert_int_equal(qcbm_host_map(img, see, &seen, NULL, &err), QCBM_E_ABORTED);
        assert_int_equal(seen.left, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        image_test(each_cluster_has_its_kind),         image_test(the_last_cluster_may_be_cut_short),
        image_test(a_run_goes_on_from_table_to_table), image_test(data_in_pieces_is_in_several_runs),
        image_test(of_a_data_file_nothing_is_told),    image_test(who_is_told_may_stop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
