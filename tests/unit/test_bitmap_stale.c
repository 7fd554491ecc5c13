/* test_bitmap_stale.c - stale bitmaps: told of, and given up with what is provably theirs
 * SPDX-License-Identifier: MIT */
#include "edit_unit.h"

/* ---- what is written ---- */

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        image_test(stale_bitmaps_are_there_to_be_told_of_only),
        image_test(what_is_provably_a_stale_bitmaps_is_freed_with_it),
        image_test(a_stale_directory_that_is_none_is_not_in_the_way),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
