/* test_refscan.c - what the refcounts alone tell: used clusters and their end, for each width of a refcount
 * SPDX-License-Identifier: MIT */
#include "image_unit.h"

#include "image/refscan.h"

static struct qcbmi_refscan scan(struct qcbm_image *img, uint64_t limit, bool strict)
{
    struct qcbmi_refscan out;
    struct qcbm_error err = { 0 };

    assert_ok(qcbmi_refscan(img->image, limit, strict, &out, &err), &err);
    return out;
}

static void used_clusters_are_those_with_a_refcount(void **state)
{
    static const uint32_t widths[] = { 1, 2, 4, 8, 16, 32, 64 };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(widths); i++) {
        struct build_options opt = { .size = KIB(64), .refcount_bits = widths[i] };
        struct image_builder b;
        struct qcbmi_refscan got;
        struct qcbm_image *img;
        uint64_t free_at;

        build_start(&b, &opt);
        free_at = build_clusters(&b, 3);
        build_data(&b, 0);
        build_finish(&b);
        build_set_refcount(&b, free_at, 0);
        build_set_refcount(&b, free_at + 1024, 0);
        img = build_open(&b, 0);
        got = scan(img, UINT64_MAX, true);
        assert_int_equal(got.used_clusters, b.len / 512 - 2);
        assert_int_equal(got.end_cluster, b.len / 512);
        assert_int_equal(got.bad_entries, 0);
        got = scan(img, free_at / 512 + 1, true); /* the free one is the last that counts */
        assert_int_equal(got.used_clusters, free_at / 512);
        assert_int_equal(got.end_cluster, free_at / 512);
        qcbm_close(img);
        build_free(&b);
    }
}

static void build_plain(struct image_builder *b)
{
    struct build_options opt = { .size = KIB(64) };

    build_start(b, &opt);
    build_data(b, 0);
    build_finish(b);
}

static void bad_entries_name_no_block(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct qcbmi_refscan got;
    struct qcbm_image *img;
    uint64_t used;

    build_plain(b);
    used = b->len / 512;
    be64_store(b->bytes + b->reftable + 8, UINT64_C(1) << 40); /* past the end of the file */
    be64_store(b->bytes + b->reftable + 24, b->refblock);      /* the same block for other clusters */
    img = bench_image(state, 0);
    got = scan(img, UINT64_MAX, false);
    assert_int_equal(got.bad_entries, 1);
    assert_int_equal(got.used_clusters, 2 * used);
    assert_int_equal(got.end_cluster, 3 * 256 + used);
    got = scan(img, UINT64_MAX, true);
    assert_int_equal(got.used_clusters, used);
    assert_int_equal(got.end_cluster, used);
}

static void a_file_of_data_does_not_look_preallocated(void **state)
{
    bool looks = true;

    build_plain(bench_builder(state));
    assert_int_equal(qcbmi_looks_preallocated(bench_image(state, 0)->image, &looks, NULL), 0);
    assert_false(looks);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(used_clusters_are_those_with_a_refcount),
        image_test(bad_entries_name_no_block),
        image_test(a_file_of_data_does_not_look_preallocated),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
