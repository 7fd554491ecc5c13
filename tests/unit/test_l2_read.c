/* test_l2_read.c - many L2 tables: order, size of reads, holes, the end of the file, budget, results, progress
 * SPDX-License-Identifier: MIT */
#include "image_unit.h"

#include <time.h>

#include "image/l2_read.h"

/* The memory backend, counting reads and questions for holes. The clusters from hole_start to hole_end are one hole. */
static unsigned n_reads, n_asked;
static uint64_t hole_start, hole_end;

static int counting_read(void *self, uint64_t off, void *buf, size_t len, struct qcbm_error *err)
{
    n_reads++;
    return qcbm_mem_ops()->read_at(self, off, buf, len, err);
}

static int one_hole(void *self, uint64_t off, bool *is_data, uint64_t *end, struct qcbm_error *err)
{
    (void)self;
    (void)err;
    n_asked++;
    *is_data = off < hole_start || off >= hole_end;
    *end = off < hole_start ? hole_start : off < hole_end ? hole_end : UINT64_MAX;
    return 0;
}

/* A file of @clusters clusters with a number in each. */
static struct qcbm_image *open_numbered(struct image_builder *b, uint64_t clusters)
{
    static struct qcbm_io_ops ops;
    struct build_options opt = { .size = KIB(64), .cluster_bits = 12 };
    struct qcbm_image *img;
    struct qcbm_mem *mem;
    uint64_t first;

    build_start(b, &opt);
    first = build_clusters(b, clusters);
    for (uint64_t i = 0; i < clusters; i++)
        be64_store(b->bytes + first + i * 4096, i);
    build_finish(b);
    ops = *qcbm_mem_ops();
    ops.read_at = counting_read;
    ops.extent = one_hole;
    hole_start = hole_end = UINT64_MAX;
    assert_int_equal(qcbm_mem_new(b->bytes, b->len, &mem, NULL), 0);
    assert_int_equal(qcbm_open_io(&ops, mem, 0, &img, NULL), 0);
    n_reads = n_asked = 0;
    return img;
}

struct seen {
    const struct image_builder *b;
    size_t n, holes, stop_at;
    uint64_t last;
    uint64_t afforded;
};

static int see(void *opaque, void *result, const struct qcbmi_l2_ref *ref, const uint8_t *table, struct qcbm_error *err)
{
    struct seen *s = opaque;
    uint64_t left = s->b->len > ref->offset ? s->b->len - ref->offset : 0, inside = left < 4096 ? left : 4096;

    (void)err;
    assert_null(result);
    assert_true(s->n == 0 || ref->offset > s->last);
    s->last = ref->offset;
    s->holes += !table;
    if (table)
        assert_memory_equal(table, s->b->bytes + ref->offset, (size_t)inside);
    for (uint64_t i = inside; table && i < 4096; i++)
        assert_int_equal(table[i], 0);
    return ++s->n == s->stop_at ? QCBM_E_ABORTED : 0;
}

static struct qcbmi_l2_job job_of(const struct qcbmi_l2_ref *refs, size_t n, struct seen *seen)
{
    return (struct qcbmi_l2_job){
        .refs = refs, .n = n, .stride = sizeof(*refs), .what = "L2 table", .opaque = seen, .look = see
    };
}

static void tables_are_read_in_file_order_in_large_pieces(void **state)
{
    static const struct {
        unsigned step; /* clusters from table to table */
        unsigned max_reads;
    } cases[] = { { 1, 1 }, { 2, 2 }, { 16, 10 }, { 17, 14 }, { 20, 40 } };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct qcbmi_l2_ref refs[40];
        struct image_builder b;
        struct seen seen = { .b = &b };
        struct qcbm_image *img = open_numbered(&b, 820);
        struct qcbmi_l2_job job = job_of(refs, 40, &seen);

        for (uint64_t k = 0; k < 40; k++)
            refs[k] = (struct qcbmi_l2_ref){ (4 + k * cases[i].step) * 4096, k };
        assert_int_equal(qcbmi_l2_read(img->image, &job, NULL), 0);
        assert_int_equal(seen.n, 40);
        assert_int_equal(seen.holes, 0);
        assert_true(n_reads <= cases[i].max_reads);
        qcbm_close(img);
        build_free(&b);
    }
}

/* The answer may cost a walk over all of the file. */
static void where_there_is_data_nobody_asks_for_holes(void **state)
{
    struct qcbmi_l2_ref refs[3] = { { 5 * 4096, 0 }, { 300 * 4096, 1 }, { 600 * 4096, 2 } };
    struct image_builder b;
    struct seen seen = { .b = &b };
    struct qcbm_image *img = open_numbered(&b, 700);
    struct qcbmi_l2_job job = job_of(refs, 3, &seen);

    (void)state;
    assert_int_equal(qcbmi_l2_read(img->image, &job, NULL), 0);
    assert_int_equal(seen.n, 3);
    assert_int_equal(n_asked, 0);
    qcbm_close(img);
    build_free(&b);
}

/* After the first zeros: cluster 4 has number 0. */
static void a_hole_is_told_and_not_read(void **state)
{
    struct qcbmi_l2_ref refs[3] = { { 4 * 4096, 0 }, { 300 * 4096, 1 }, { 301 * 4096, 2 } };
    struct image_builder b;
    struct seen seen = { .b = &b };
    struct qcbm_image *img = open_numbered(&b, 700);
    struct qcbmi_l2_job job = job_of(refs, 3, &seen);

    (void)state;
    hole_start = 299 * 4096;
    hole_end = 302 * 4096;
    assert_int_equal(qcbmi_l2_read(img->image, &job, NULL), 0);
    assert_int_equal(seen.n, 3);
    assert_int_equal(seen.holes, 2);
    assert_int_equal(n_reads, 1);
    hole_end = 302 * 4096 - 1; /* a byte of data, and it is no hole */
    seen = (struct seen){ .b = &b };
    assert_int_equal(qcbmi_l2_read(img->image, &job, NULL), 0);
    assert_int_equal(seen.holes, 0);
    qcbm_close(img);
    build_free(&b);
}

static void what_lies_past_the_end_reads_as_zeros(void **state)
{
    struct qcbmi_l2_ref refs[2] = { { 0, 0 }, { 0, 1 } };
    struct image_builder b, cut;
    struct seen seen = { .b = &cut };
    struct qcbm_image *img;
    struct qcbmi_l2_job job = job_of(refs, 2, &seen);
    struct qcbm_mem *mem;

    (void)state;
    qcbm_close(open_numbered(&b, 3));
    memset(b.bytes + b.len - 4096, 0x11, 4096);
    build_resize(&b, b.len - 4000);
    cut = b;
    assert_int_equal(qcbm_mem_new(b.bytes, b.len, &mem, NULL), 0);
    assert_int_equal(qcbm_open_io(qcbm_mem_ops(), mem, 0, &img, NULL), 0);
    refs[0].offset = b.len - 96;
    refs[1].offset = UINT64_C(1) << 40; /* nowhere */
    assert_int_equal(qcbmi_l2_read(img->image, &job, NULL), 0);
    assert_int_equal(seen.n, 2);
    assert_int_equal(seen.holes, 1);
    qcbm_close(img);
    build_free(&b);
}

static bool pay(void *opaque, uint64_t bytes)
{
    struct seen *s = opaque;

    if (s->afforded < bytes)
        return false;
    s->afforded -= bytes;
    return true;
}

/* Eight tables in one cluster: each costs, the aligned ones do not. */
static void tables_inside_clusters_come_out_of_a_budget(void **state)
{
    struct qcbmi_l2_ref refs[8];
    struct image_builder b;
    struct seen seen = { .b = &b, .afforded = 2 * 4096 };
    struct qcbm_image *img = open_numbered(&b, 20);
    struct qcbmi_l2_job job = job_of(refs, 8, &seen);

    (void)state;
    for (uint64_t k = 0; k < 8; k++)
        refs[k] = (struct qcbmi_l2_ref){ 4 * 4096 + 512 * k, k };
    assert_int_equal(qcbmi_l2_read(img->image, &job, NULL), 0);
    assert_int_equal(seen.n, 8); /* nobody counts */
    assert_int_equal(n_reads, 8);
    seen.n = 0;
    job.afford = pay;
    assert_int_equal(qcbmi_l2_read(img->image, &job, NULL), 0);
    assert_int_equal(seen.n, 3);
    qcbm_close(img);
    build_free(&b);
}

static int count_calls(void *opaque, uint64_t done, uint64_t total)
{
    unsigned *left = opaque;

    assert_true(done <= total);
    return (*left)-- == 0;
}

static void a_callback_and_progress_stop_the_reading(void **state)
{
    struct qcbmi_l2_ref refs[3] = { { 4 * 4096, 0 }, { 300 * 4096, 1 }, { 600 * 4096, 2 } };
    unsigned left = 1;
    const struct qcbm_progress to = { count_calls, &left };
    struct qcbmi_progress progress = { .to = &to, .total = 3 * 4096 };
    struct image_builder b;
    struct seen seen = { .b = &b, .stop_at = 2 };
    struct qcbm_image *img = open_numbered(&b, 700);
    struct qcbmi_l2_job job = job_of(refs, 3, &seen);
    struct qcbm_error err = { 0 };

    (void)state;
    assert_int_equal(qcbmi_l2_read(img->image, &job, NULL), QCBM_E_ABORTED);
    assert_int_equal(seen.n, 2);
    seen = (struct seen){ .b = &b };
    job.progress = &progress;
    assert_failure(qcbmi_l2_read(img->image, &job, &err), &err, QCBM_E_ABORTED, QCBM_NO_OFFSET,
                   "stopped by the caller");
    assert_int_equal(seen.n, 2);
    assert_int_equal(progress.done, 2 * 4096);
    job.n = 0;
    assert_int_equal(qcbmi_l2_read(img->image, &job, NULL), 0);
    assert_int_equal(qcbmi_progress_add(NULL, 1, NULL), 0);
    qcbm_close(img);
    build_free(&b);
}

/* ---- results of their own ---- */

struct numbers { /* the numbers of the tables of a piece */
    uint64_t *list;
    size_t n, capacity;
};

struct merged {
    uint64_t got[8];
    size_t n, pieces, stop_at;
};

static unsigned n_dropped;

struct wide_ref {
    struct qcbmi_l2_ref ref;
    uint64_t factor;
};

static int take_number(void *opaque, void *result, const struct qcbmi_l2_ref *ref, const uint8_t *table,
                       struct qcbm_error *err)
{
    const struct wide_ref *wide = (const struct wide_ref *)(const void *)ref;
    struct numbers *to = result;

    (void)opaque;
    if (!to->list)
        to->list = calloc(8, sizeof(*to->list));
    (void)err;
    assert_true(to->n < 8);
    to->list[to->n++] = be64_load(table) * wide->factor;
    return 0;
}

static int merge_numbers(void *opaque, void *result, struct qcbm_error *err)
{
    struct merged *m = opaque;
    struct numbers *from = result;

    (void)err;
    for (size_t i = 0; i < from->n; i++)
        m->got[m->n++] = from->list[i];
    from->n = 0;
    return ++m->pieces == m->stop_at ? QCBM_E_ABORTED : 0;
}

static void drop_numbers(void *result)
{
    n_dropped++;
    free(((struct numbers *)result)->list);
}

static void results_are_merged_piece_by_piece_and_dropped_at_the_end(void **state)
{
    struct wide_ref refs[5] = {
        { { 4 * 4096, 0 }, 1 },   { { 5 * 4096, 0 }, 2 },   { { 300 * 4096, 0 }, 3 },
        { { 302 * 4096, 0 }, 4 }, { { 600 * 4096, 0 }, 5 },
    };
    static const uint64_t want[5] = { 0, 2, 3 * 296, 4 * 298, 5 * 596 };
    struct merged merged = { .n = 0 }, stopped = { .stop_at = 2 };
    struct image_builder b;
    struct qcbm_image *img = open_numbered(&b, 700);
    struct qcbmi_l2_job job = { .refs = refs, .n = 5, .stride = sizeof(refs[0]), .what = "L2 table" };

    (void)state;
    n_dropped = 0;
    job.result_size = sizeof(struct numbers);
    job.opaque = &merged;
    job.look = take_number;
    job.merge = merge_numbers;
    job.drop = drop_numbers;
    assert_int_equal(qcbmi_l2_read(img->image, &job, NULL), 0);
    assert_int_equal(merged.pieces, 3);
    assert_int_equal(merged.n, 5);
    assert_memory_equal(merged.got, want, sizeof(want));
    assert_int_equal(n_dropped, 1);
    job.opaque = &stopped;
    assert_int_equal(qcbmi_l2_read(img->image, &job, NULL), QCBM_E_ABORTED);
    assert_int_equal(stopped.n, 4);
    assert_int_equal(n_dropped, 2);
    qcbm_close(img);
    build_free(&b);
}

/* ---- several threads ---- */

/* Reads fail from @fail_from on. */
static uint64_t fail_from;

static int failing_read(void *self, uint64_t off, void *buf, size_t len, struct qcbm_error *err)
{
    if (off >= fail_from) {
        err->code = QCBM_E_IO;
        err->offset = off;
        snprintf(err->message, sizeof(err->message), "bad sector");
        return QCBM_E_IO;
    }
    return qcbm_mem_ops()->read_at(self, off, buf, len, err);
}

static int sum_up(void *opaque, void *result, const struct qcbmi_l2_ref *ref, const uint8_t *table,
                  struct qcbm_error *err)
{
    (void)opaque;
    (void)err;
    *(uint64_t *)result = *(uint64_t *)result * 31 + (table ? be64_load(table) : 7) + ref->l1_index;
    return 0;
}

static int chain_up(void *opaque, void *result, struct qcbm_error *err)
{
    uint64_t *sum = opaque;

    (void)err;
    *sum = *sum * 1000003 + *(uint64_t *)result; /* another order gives another sum */
    *(uint64_t *)result = 0;
    return 0;
}

static struct qcbm_image *open_failing(const struct image_builder *b)
{
    static struct qcbm_io_ops ops;
    struct qcbm_image *img;
    struct qcbm_mem *mem;

    ops = *qcbm_mem_ops();
    ops.read_at = failing_read;
    fail_from = UINT64_MAX;
    assert_int_equal(qcbm_mem_new(b->bytes, b->len, &mem, NULL), 0);
    assert_int_equal(qcbm_open_io(&ops, mem, 0, &img, NULL), 0);
    return img;
}

static void threads_give_the_same_in_the_same_order(void **state)
{
    struct qcbmi_l2_ref refs[40];
    struct image_builder b;
    struct qcbmi_l2_job job = { .refs = refs, .n = 40, .stride = sizeof(refs[0]), .what = "L2 table" };
    uint64_t alone = 0;
    struct qcbm_image *img;

    (void)state;
    qcbm_close(open_numbered(&b, 820));
    img = open_failing(&b);
    for (uint64_t k = 0; k < 40; k++)
        refs[k] = (struct qcbmi_l2_ref){ (4 + k * 20) * 4096, k }; /* each a piece */
    job.result_size = sizeof(uint64_t);
    job.look = sum_up;
    job.merge = chain_up;
    for (unsigned threads = 1; threads <= 20; threads += 3) {
        struct qcbm_error err = { 0 };
        uint64_t sum = 0;

        job.opaque = &sum;
        qcbm_set_threads(img, threads);
        assert_int_equal(qcbmi_l2_read(img->image, &job, NULL), 0);
        alone = threads == 1 ? sum : alone;
        assert_int_equal(sum, alone);
        fail_from = refs[17].offset; /* of those that fail, the first in the file is told */
        assert_failure(qcbmi_l2_read(img->image, &job, &err), &err, QCBM_E_IO, refs[17].offset, "L2 table: bad sector");
        fail_from = UINT64_MAX;
    }
    qcbm_close(img);
    build_free(&b);
}

static void without_a_result_the_caller_looks_in_order(void **state)
{
    struct qcbmi_l2_ref refs[40];
    struct image_builder b;
    struct qcbm_image *img;

    (void)state;
    qcbm_close(open_numbered(&b, 820));
    img = open_failing(&b);
    for (unsigned threads = 1; threads <= 9; threads += 4) {
        struct seen seen = { .b = &b };
        struct qcbmi_l2_job job = job_of(refs, 40, &seen);
        unsigned left = 5;
        const struct qcbm_progress to = { count_calls, &left };
        struct qcbmi_progress progress = { .to = &to, .total = 40 * 4096 };

        for (uint64_t k = 0; k < 40; k++)
            refs[k] = (struct qcbmi_l2_ref){ (4 + k * 20) * 4096, k };
        qcbm_set_threads(img, threads);
        assert_int_equal(qcbmi_l2_read(img->image, &job, NULL), 0);
        assert_int_equal(seen.n, 40);
        seen = (struct seen){ .b = &b };
        job.progress = &progress; /* and he can stop it */
        assert_int_equal(qcbmi_l2_read(img->image, &job, NULL), QCBM_E_ABORTED);
        assert_int_equal(seen.n, 6);
    }
    qcbm_close(img);
    build_free(&b);
}

/* ---- slow storage ---- */

static struct asked {
    uint64_t off[64];
    size_t n, n_reads, unasked; /* reads of what nobody had asked for */
} asked;

static void note_asked(void *self, uint64_t off, uint64_t len)
{
    (void)self;
    assert_int_equal(len, 4096);
    assert_true(asked.n < ARRAY_LEN(asked.off));
    asked.off[asked.n++] = off;
}

static int slow_read(void *self, uint64_t off, void *buf, size_t len, struct qcbm_error *err)
{
    const struct timespec a_while = { 0, 300000 };
    size_t i = 0;

    while (i < asked.n && asked.off[i] != off)
        i++;
    asked.unasked += i == asked.n;
    asked.n_reads++;
    nanosleep(&a_while, NULL);
    return qcbm_mem_ops()->read_at(self, off, buf, len, err);
}

/* Each piece once, in the order of the file, and nothing that is not read. */
static void where_reads_wait_the_next_are_asked_for_ahead(void **state)
{
    struct qcbm_io_ops ops = *qcbm_mem_ops();
    struct qcbmi_l2_ref refs[40];
    struct image_builder b;
    struct seen seen = { .b = &b };
    struct qcbmi_l2_job job = job_of(refs, 40, &seen);
    struct qcbm_image *img;
    struct qcbm_mem *mem;

    (void)state;
    qcbm_close(open_numbered(&b, 820));
    for (uint64_t k = 0; k < 40; k++)
        refs[k] = (struct qcbmi_l2_ref){ (4 + k * 20) * 4096, k };
    ops.read_at = slow_read;
    ops.will_read = note_asked;
    assert_int_equal(qcbm_mem_new(b.bytes, b.len, &mem, NULL), 0);
    assert_int_equal(qcbm_open_io(&ops, mem, 0, &img, NULL), 0);
    qcbm_set_threads(img, 1); /* the list of what was asked has no lock */
    asked = (struct asked){ .n = 0 };
    assert_int_equal(qcbmi_l2_read(img->image, &job, NULL), 0);
    assert_int_equal(seen.n, 40);
    assert_int_equal(asked.n_reads, 40);
    assert_in_range(asked.unasked, 1, 4);
    assert_int_equal(asked.n + asked.unasked, 40);
    for (size_t i = 0; i < asked.n; i++)
        assert_int_equal(asked.off[i], refs[asked.unasked + i].offset);
    qcbm_close(img);
    build_free(&b);
}

static void a_read_that_fails_names_what_was_read(void **state)
{
    struct qcbmi_l2_ref ref = { 4 * 4096, 0 };
    struct image_builder b;
    struct seen seen = { .b = &b };
    struct qcbm_image *img = open_numbered(&b, 20);
    struct qcbmi_l2_job job = job_of(&ref, 1, &seen);
    struct qcbm_error err = { 0 };

    (void)state;
    img->image->io.size = UINT64_C(1) << 30; /* longer than the file is */
    ref.offset = UINT64_C(1) << 29;
    assert_int_not_equal(qcbmi_l2_read(img->image, &job, &err), 0);
    assert_non_null(strstr(err.message, "L2 table"));
    assert_int_equal(seen.n, 0);
    qcbm_close(img);
    build_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tables_are_read_in_file_order_in_large_pieces),
        cmocka_unit_test(where_there_is_data_nobody_asks_for_holes),
        cmocka_unit_test(a_hole_is_told_and_not_read),
        cmocka_unit_test(what_lies_past_the_end_reads_as_zeros),
        cmocka_unit_test(tables_inside_clusters_come_out_of_a_budget),
        cmocka_unit_test(a_callback_and_progress_stop_the_reading),
        cmocka_unit_test(results_are_merged_piece_by_piece_and_dropped_at_the_end),
        cmocka_unit_test(threads_give_the_same_in_the_same_order),
        cmocka_unit_test(without_a_result_the_caller_looks_in_order),
        cmocka_unit_test(where_reads_wait_the_next_are_asked_for_ahead),
        cmocka_unit_test(a_read_that_fails_names_what_was_read),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
