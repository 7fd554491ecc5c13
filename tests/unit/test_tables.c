/* test_tables.c - the active L1, and damage that is met in tables
 * SPDX-License-Identifier: MIT */
#include "image_unit.h"

#include "image/tables.h"

/* The memory backend, counting reads. */
static unsigned n_reads;

static int counting_read(void *self, uint64_t off, void *buf, size_t len, struct qcbm_error *err)
{
    n_reads++;
    return qcbm_mem_ops()->read_at(self, off, buf, len, err);
}

static struct qcbm_image *open_counting(const struct image_builder *b)
{
    static struct qcbm_io_ops ops;
    struct qcbm_image *img;
    struct qcbm_mem *mem;

    ops = *qcbm_mem_ops();
    ops.read_at = counting_read;
    assert_int_equal(qcbm_mem_new(b->bytes, b->len, &mem, NULL), 0);
    assert_int_equal(qcbm_open_io(&ops, mem, 0, &img, NULL), 0);
    n_reads = 0;
    return img;
}

static void the_l1_table_is_read_once_as_far_as_it_maps_the_disk(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct build_options opt = { .size = KIB(32) + 512, .l1_entries = 60 };
    struct qcbm_image *img;

    build_start(b, &opt);
    build_finish(b);
    build_resize(b, (size_t)b->l1 + 16); /* what maps VM state may be missing */
    img = open_counting(b);
    assert_int_equal(qcbmi_l1_load(img->image, NULL), 0);
    assert_int_equal(qcbmi_l1_load(img->image, NULL), 0);
    assert_int_equal(n_reads, 1);
    assert_memory_equal(img->image->l1, b->bytes + b->l1, 16);
    qcbm_close(img);
}

static void an_l1_table_that_the_file_cuts_is_refused(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct build_options opt = { .size = KIB(64) };
    struct qcbm_image *img;
    struct qcbm_error err = { 0 };

    build_start(b, &opt);
    build_finish(b);
    build_resize(b, (size_t)b->l1 + 15);
    img = bench_image(state, 0);
    assert_failure(qcbmi_l1_load(img->image, &err), &err, QCBM_E_CORRUPT, 40, "pass the end of the file");
    assert_null(img->image->l1);
}

static void an_empty_disk_needs_no_l1_table(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct build_options opt = { .size = 0 };
    struct qcbm_image *img;

    build_start(b, &opt);
    build_finish(b);
    img = bench_image(state, 0);
    assert_int_equal(qcbmi_l1_load(img->image, NULL), 0);
}

static void damage_is_counted_and_the_first_kept(void **state)
{
    struct qcbmi_damage d = { 0 };

    (void)state;
    qcbmi_damage_add(&d, 100, "entry %d", 1);
    qcbmi_damage_add(&d, 200, "entry %d", 2);
    assert_int_equal(d.count, 2);
    assert_int_equal(d.first.code, QCBM_E_CORRUPT);
    assert_int_equal(d.first.offset, 100);
    assert_string_equal(d.first.message, "entry 1");
}

static void damage_that_was_met_later_does_not_hide_the_first(void **state)
{
    struct qcbmi_damage all = { 0 }, some = { 0 };

    (void)state;
    qcbmi_damage_merge(&all, &some);
    assert_int_equal(all.count, 0);
    qcbmi_damage_add(&some, 100, "one");
    qcbmi_damage_add(&some, 200, "two");
    qcbmi_damage_merge(&all, &some);
    assert_int_equal(some.count, 0);
    qcbmi_damage_add(&some, 50, "three");
    qcbmi_damage_merge(&all, &some);
    assert_int_equal(all.count, 3);
    assert_int_equal(all.first.offset, 100);
    assert_string_equal(all.first.message, "one");
}

static void host_ranges_may_reach_to_the_end_of_the_last_cluster(void **state)
{
    static const struct {
        uint64_t from_end; /* of the rounded file */
        uint64_t len;
        bool fits;
    } cases[] = { { 512, 512, true }, { 1, 1, true }, { 512, 513, false }, { 0, 1, false }, { 0, 0, true } };
    struct image_builder *b = bench_builder(state);
    struct build_options opt = { .size = KIB(64) };
    struct qcbm_image *img;
    struct q2_l2_entry e = { 0 };

    build_start(b, &opt);
    build_finish(b);
    build_resize(b, b->len - 100);
    img = bench_image(state, 0);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        e.host_offset = b->len + 100 - cases[i].from_end;
        e.host_len = cases[i].len;
        assert_int_equal(qcbmi_l2_entry_in_file(img->image, &e), cases[i].fits);
    }
    e.host_offset = UINT64_MAX;
    assert_false(qcbmi_l2_entry_in_file(img->image, &e) && e.host_len);
    img->image->g.data_file = true; /* the range lies in another file */
    e.host_len = 512;
    assert_true(qcbmi_l2_entry_in_file(img->image, &e));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        image_test(the_l1_table_is_read_once_as_far_as_it_maps_the_disk),
        image_test(an_l1_table_that_the_file_cuts_is_refused),
        image_test(an_empty_disk_needs_no_l1_table),
        cmocka_unit_test(damage_is_counted_and_the_first_kept),
        cmocka_unit_test(damage_that_was_met_later_does_not_hide_the_first),
        image_test(host_ranges_may_reach_to_the_end_of_the_last_cluster),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
