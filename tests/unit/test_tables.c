/* test_tables.c - reading the mapping tables: the active L1, many L2 tables in large pieces, damage, progress
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

/* ---- many tables ---- */

struct seen {
    const struct image_builder *b;
    size_t n, stop_at;
    uint64_t last;
};

static int see(void *opaque, const struct qcbmi_l2_ref *ref, const uint8_t *table, struct qcbm_error *err)
{
    struct seen *s = opaque;
    uint64_t inside = s->b->len - ref->offset < s->b->cluster_size ? s->b->len - ref->offset : s->b->cluster_size;

    (void)err;
    assert_true(s->n == 0 || ref->offset > s->last);
    s->last = ref->offset;
    assert_memory_equal(table, s->b->bytes + ref->offset, (size_t)inside);
    for (uint64_t i = inside; i < s->b->cluster_size; i++)
        assert_int_equal(table[i], 0);
    return ++s->n == s->stop_at ? QCBM_E_ABORTED : 0;
}

/* A file of @clusters clusters with a number in each. */
static struct qcbm_image *open_numbered(struct image_builder *b, uint64_t clusters)
{
    struct build_options opt = { .size = KIB(64), .cluster_bits = 12 };
    uint64_t first;

    build_start(b, &opt);
    first = build_clusters(b, clusters);
    for (uint64_t i = 0; i < clusters; i++)
        be64_store(b->bytes + first + i * 4096, i);
    build_finish(b);
    return open_counting(b);
}

static void tables_are_read_in_file_order_in_large_pieces(void **state)
{
    static const struct {
        unsigned step; /* clusters from table to table */
        unsigned max_reads;
    } cases[] = { { 1, 4 }, { 2, 4 }, { 16, 4 }, { 17, 4 }, { 20, 40 } };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct qcbmi_l2_ref refs[40];
        struct image_builder b;
        struct seen seen = { .b = &b };
        struct qcbm_image *img = open_numbered(&b, 820);

        for (uint64_t k = 0; k < 40; k++)
            refs[k] = (struct qcbmi_l2_ref){ (4 + k * cases[i].step) * 4096, k };
        assert_int_equal(qcbmi_l2_read_all(img->image, refs, 40, see, &seen, NULL, NULL), 0);
        assert_int_equal(seen.n, 40);
        assert_true(n_reads <= cases[i].max_reads);
        qcbm_close(img);
        build_free(&b);
    }
}

static void a_last_table_that_is_cut_reads_as_zeros_behind(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct qcbmi_l2_ref ref = { 0, 0 };
    struct seen seen = { .b = b };
    struct qcbm_image *img;

    qcbm_close(open_numbered(b, 3));
    memset(b->bytes + b->len - 4096, 0x11, 4096);
    build_resize(b, b->len - 4000);
    ref.offset = b->len - 96;
    img = open_counting(b);
    assert_int_equal(qcbmi_l2_read_all(img->image, &ref, 1, see, &seen, NULL, NULL), 0);
    assert_int_equal(seen.n, 1);
    qcbm_close(img);
}

static int count_calls(void *opaque, uint64_t done, uint64_t total)
{
    unsigned *left = opaque;

    assert_true(done <= total);
    return (*left)-- == 0;
}

static void a_callback_and_progress_stop_the_reading(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct qcbmi_l2_ref refs[3] = { { 4 * 4096, 0 }, { 300 * 4096, 1 }, { 600 * 4096, 2 } };
    unsigned left = 1;
    struct qcbmi_progress progress = { .fn = count_calls, .opaque = &left, .total = 3 * 4096 };
    struct seen seen = { .b = b, .stop_at = 2 }, all = { .b = b };
    struct qcbm_image *img = open_numbered(b, 700);
    struct qcbm_error err = { 0 };

    assert_int_equal(qcbmi_l2_read_all(img->image, refs, 3, see, &seen, NULL, NULL), QCBM_E_ABORTED);
    assert_int_equal(seen.n, 2);
    assert_failure(qcbmi_l2_read_all(img->image, refs, 3, see, &all, &progress, &err), &err, QCBM_E_ABORTED,
                   QCBM_NO_OFFSET, "stopped by the caller");
    assert_int_equal(all.n, 2);
    assert_int_equal(progress.done, 2 * 4096);
    assert_int_equal(qcbmi_l2_read_all(img->image, refs, 0, see, &all, &progress, NULL), 0);
    assert_int_equal(qcbmi_progress_add(NULL, 1, NULL), 0);
    qcbm_close(img);
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
        cmocka_unit_test(tables_are_read_in_file_order_in_large_pieces),
        image_test(a_last_table_that_is_cut_reads_as_zeros_behind),
        image_test(a_callback_and_progress_stop_the_reading),
        cmocka_unit_test(damage_is_counted_and_the_first_kept),
        image_test(host_ranges_may_reach_to_the_end_of_the_last_cluster),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
