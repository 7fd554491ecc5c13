/* test_plan.c - staged writes: collected, counted, told, and carried out in order
 * SPDX-License-Identifier: MIT */
#include "image_unit.h"

#include "write/commit.h"

static void stage(struct qcbmi_plan *plan, const char *name, bool switches)
{
    assert_int_equal(qcbmi_plan_stage(plan, name, switches, NULL), 0);
}

static void write_text(struct qcbmi_plan *plan, uint64_t off, const char *text)
{
    assert_int_equal(qcbmi_plan_write(plan, "text", off, text, strlen(text), NULL), 0);
}

static void build_plain(struct image_builder *b)
{
    struct build_options opt = { .size = KIB(64) };

    build_start(b, &opt);
    build_clusters(b, 4);
    build_finish(b);
}

static void stages_are_written_in_order_with_a_flush_behind_each(void **state)
{
    static const enum record_kind kinds[] = { RECORD_GROW,  RECORD_WRITE, RECORD_WRITE,
                                              RECORD_FLUSH, RECORD_WRITE, RECORD_FLUSH };
    struct bench *t = bench_open(state, build_plain);
    struct qcbmi_plan plan = { 0 };
    struct qcbm_error err = { 0 };
    struct qcbm_plan_summary sum;

    stage(&plan, "one", false);
    write_text(&plan, 2048, "first");
    stage(&plan, "empty", false);
    stage(&plan, "two", true);
    write_text(&plan, 3072, "third");
    plan.current = 0; /* back to the first stage */
    write_text(&plan, 2560, "second");
    plan.end = t->b.len + 1000;
    qcbmi_plan_summary(&plan, t->s.img->image, &sum);
    assert_int_equal(sum.writes, 3);
    assert_int_equal(sum.flushes, 2);
    assert_int_equal(sum.bytes_written, 16);
    assert_int_equal(sum.file_growth, 1000);
    assert_ok(qcbmi_plan_commit(&plan, t->s.img->image, &err), &err);
    assert_int_equal(t->s.rec->n, ARRAY_LEN(kinds));
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        assert_int_equal(t->s.rec->events[i].kind, kinds[i]);
    assert_int_equal(t->s.rec->events[0].off, t->b.len + 1000);
    assert_memory_equal(t->s.rec->events[1].bytes, "first", 5);
    assert_memory_equal(t->s.rec->events[2].bytes, "second", 6);
    assert_memory_equal(t->s.rec->events[4].bytes, "third", 5);
    qcbmi_plan_free(&plan);
}

static void payload_comes_from_the_bits_and_zeros_behind_them(void **state)
{
    struct bench *t = *state;
    struct qcbmi_plan plan = { 0 };
    struct qcbmi_bitset bits;
    struct qcbm_error err = { 0 };

    build_plain(&t->b);
    memset(t->b.bytes + 2048, 0xaa, 2048);
    session_open(&t->s, &t->b);
    assert_int_equal(qcbmi_bitset_init(&bits, 4100, NULL), 0);
    assert_int_equal(qcbmi_bitset_set(&bits, 8, 4100, NULL), 0);
    stage(&plan, "s", false);
    assert_int_equal(
        qcbmi_plan_write_from(&plan, "bits", 2048, 512, &(struct qcbmi_source){ .bits = &bits, .first = 0 }, NULL), 0);
    assert_int_equal(
        qcbmi_plan_write_from(&plan, "bits", 2560, 512, &(struct qcbmi_source){ .bits = &bits, .first = 512 }, NULL),
        0); /* joined */
    assert_int_equal(plan.stages[0].n, 1);
    assert_int_equal(
        qcbmi_plan_write_from(&plan, "bits", 3584, 512, &(struct qcbmi_source){ .bits = &bits, .first = 1024 }, NULL),
        0); /* a gap in the file */
    assert_int_equal(plan.stages[0].n, 2);
    assert_ok(qcbmi_plan_commit(&plan, t->s.img->image, &err), &err);
    assert_int_equal(t->s.rec->events[0].len, 1024);
    assert_memory_equal(t->s.rec->events[0].bytes, "\x00\xff\xff", 3);
    assert_memory_equal(t->s.rec->events[0].bytes + 511, "\xff\x0f\x00", 3);
    assert_int_equal(t->s.rec->events[1].bytes[0], 0);
    qcbmi_bitset_free(&bits);
    qcbmi_plan_free(&plan);
}

static void header_writes_show_all_patches_so_far(void **state)
{
    struct qcbmi_plan plan = { 0 };
    uint8_t cluster[512] = { 0 };

    (void)state;
    assert_int_equal(qcbmi_plan_header_init(&plan, cluster, sizeof(cluster), NULL), 0);
    stage(&plan, "s", false);
    qcbmi_plan_header_patch(&plan, 10, "ab", 2);
    assert_int_equal(qcbmi_plan_header_write(&plan, "header", 8, 6, NULL), 0);
    qcbmi_plan_header_patch(&plan, 13, "c", 1);
    assert_int_equal(qcbmi_plan_header_write(&plan, "header", 8, 6, NULL), 0);
    assert_memory_equal(plan.stages[0].writes[0].source.bytes, "\0\0ab\0\0", 6);
    assert_memory_equal(plan.stages[0].writes[1].source.bytes, "\0\0ab\0c", 6);
    assert_int_equal(cluster[10], 0);
    qcbmi_plan_free(&plan);
}

/* ---- failures ---- */

/* The memory backend, with a failing call: kind and how many of them work before. */
struct faulty {
    struct qcbm_mem *mem;
    enum record_kind kind;
    int good;
    uint64_t available;
    unsigned n_writes;
};

static int fault(struct faulty *f, enum record_kind kind, struct qcbm_error *err)
{
    if (f->kind != kind || f->good-- > 0)
        return 0;
    err->code = QCBM_E_IO;
    err->sys_errno = 5;
    err->offset = QCBM_NO_OFFSET;
    snprintf(err->message, sizeof(err->message), "made to fail");
    return QCBM_E_IO;
}

static int faulty_read(void *self, uint64_t off, void *buf, size_t len, struct qcbm_error *err)
{
    return qcbm_mem_ops()->read_at(((struct faulty *)self)->mem, off, buf, len, err);
}

static int faulty_write(void *self, uint64_t off, const void *buf, size_t len, struct qcbm_error *err)
{
    struct faulty *f = self;
    int ret = fault(f, RECORD_WRITE, err);

    f->n_writes += ret == 0;
    return ret < 0 ? ret : qcbm_mem_ops()->write_at(f->mem, off, buf, len, err);
}

static int faulty_flush(void *self, struct qcbm_error *err)
{
    return fault(self, RECORD_FLUSH, err);
}

static int faulty_size(void *self, uint64_t *len_bytes, struct qcbm_error *err)
{
    return qcbm_mem_ops()->size(((struct faulty *)self)->mem, len_bytes, err);
}

static int faulty_grow(void *self, uint64_t len_bytes, struct qcbm_error *err)
{
    struct faulty *f = self;
    int ret = fault(f, RECORD_GROW, err);

    return ret < 0 ? ret : qcbm_mem_ops()->grow(f->mem, len_bytes, err);
}

static int faulty_space(void *self, uint64_t *available, uint64_t *allocated, struct qcbm_error *err)
{
    (void)err;
    *available = ((struct faulty *)self)->available;
    *allocated = 0;
    return 0;
}

static void faulty_close(void *self)
{
    qcbm_mem_free(((struct faulty *)self)->mem);
}

static const struct qcbm_io_ops faulty_ops = { .struct_size = sizeof(faulty_ops),
                                               .read_at = faulty_read,
                                               .write_at = faulty_write,
                                               .flush = faulty_flush,
                                               .size = faulty_size,
                                               .grow = faulty_grow,
                                               .space = faulty_space,
                                               .close = faulty_close };

/* Commit a plan of three stages, two writes each, the last one a switch; the error. */
static int commit_with(struct faulty *f, unsigned flags, struct qcbm_error *err)
{
    struct qcbmi_plan plan = { 0 };
    struct image_builder b;
    struct qcbm_image *img;
    int ret;

    build_plain(&b);
    assert_int_equal(qcbm_mem_new(b.bytes, b.len, &f->mem, NULL), 0);
    assert_ok(qcbm_open_io(&faulty_ops, f, flags, &img, err), err);
    for (unsigned i = 0; i < 3; i++) {
        stage(&plan, i == 2 ? "switch" : "prepare", i == 2);
        write_text(&plan, 2048 + 64 * i, "one");
        write_text(&plan, 2080 + 64 * i, "two");
    }
    plan.end = b.len + 512;
    ret = qcbmi_plan_commit(&plan, img->image, err);
    qcbmi_plan_free(&plan);
    qcbm_close(img);
    build_free(&b);
    return ret;
}

static void a_failure_says_which_state_is_in_place(void **state)
{
    static const struct {
        enum record_kind kind;
        int good;
        const char *text;
        unsigned n_writes;
    } cases[] = {
        { RECORD_GROW, 0, "the old state is in place", 0 },
        { RECORD_WRITE, 0, "the old state is in place, clusters may have leaked: writing text at 0x800: made to fail",
          0 },
        { RECORD_WRITE, 3, "the old state is in place", 3 },
        { RECORD_FLUSH, 0, "the old state is in place", 2 },
        { RECORD_FLUSH, 1, "the old state is in place", 4 },
        { RECORD_WRITE, 4, "the new state may be in place", 4 },
        { RECORD_WRITE, 5, "the new state may be in place", 5 },
        { RECORD_FLUSH, 2, "the new state may be in place", 6 },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct faulty f = { .kind = cases[i].kind, .good = cases[i].good, .available = UINT64_MAX };
        struct qcbm_error err = { 0 };

        assert_failure(commit_with(&f, QCBM_OPEN_WRITE, &err), &err, QCBM_E_IO, QCBM_NO_OFFSET, cases[i].text);
        assert_int_equal(err.sys_errno, 5);
        assert_int_equal(f.n_writes, cases[i].n_writes);
    }
}

static void too_little_space_is_known_before_the_first_write(void **state)
{
    struct faulty f = { .good = 99, .available = 511 };
    struct qcbm_error err = { 0 };

    (void)state;
    assert_failure(commit_with(&f, QCBM_OPEN_WRITE, &err), &err, QCBM_E_NOSPACE, QCBM_NO_OFFSET, "nothing was written");
    assert_int_equal(f.n_writes, 0);
    f = (struct faulty){ .good = 99, .available = 512 };
    assert_ok(commit_with(&f, QCBM_OPEN_WRITE, &err), &err);
    assert_int_equal(f.n_writes, 6);
}

static void a_reading_handle_writes_nothing(void **state)
{
    struct faulty f = { .good = 99, .available = UINT64_MAX };
    struct qcbm_error err = { 0 };

    (void)state;
    assert_failure(commit_with(&f, 0, &err), &err, QCBM_E_READONLY, QCBM_NO_OFFSET, "for reading");
    assert_int_equal(f.n_writes, 0);
}

static void free_takes_a_zeroed_struct(void **state)
{
    struct qcbmi_plan plan = { 0 };

    (void)state;
    qcbmi_plan_free(&plan);
    qcbmi_plan_free(&plan);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        image_test(stages_are_written_in_order_with_a_flush_behind_each),
        image_test(payload_comes_from_the_bits_and_zeros_behind_them),
        cmocka_unit_test(header_writes_show_all_patches_so_far),
        cmocka_unit_test(a_failure_says_which_state_is_in_place),
        cmocka_unit_test(too_little_space_is_known_before_the_first_write),
        cmocka_unit_test(a_reading_handle_writes_nothing),
        cmocka_unit_test(free_takes_a_zeroed_struct),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
