/* test_synth_faults.c - a plan of synth made by several threads, in which one allocation fails, or reads do: one error,
 * nothing leaked, and an end
 * SPDX-License-Identifier: MIT */
#include "image_unit.h"

#include "fail_calls.h"

/* Tables so far from each other that each is a piece of its own. */
#define TABLES 10u
#define SPAN MIB(512)

static void build_wide(struct image_builder *b, bool leaks)
{
    struct build_options opt = { .size = TABLES * SPAN, .cluster_bits = 16 };

    build_start(b, &opt);
    for (uint64_t i = 0; i < TABLES; i++) {
        build_data(b, i * SPAN);
        build_data(b, i * SPAN + (i + 1) * KIB(128));
        if (leaks) /* then all is counted, by the same readers */
            build_clusters(b, 1);
    }
    build_finish(b);
}

/* Reads from number @fail_from on fail, or that one alone. */
static uint64_t n_reads, fail_from;
static bool fail_one;

static int faulty_read(void *self, uint64_t off, void *buf, size_t len, struct qcbm_error *err)
{
    uint64_t n = __atomic_add_fetch(&n_reads, 1, __ATOMIC_RELAXED);

    if (fail_from && (fail_one ? n == fail_from : n >= fail_from)) {
        err->code = QCBM_E_IO;
        err->offset = off;
        snprintf(err->message, sizeof(err->message), "injected");
        return QCBM_E_IO;
    }
    return qcbm_mem_ops()->read_at(self, off, buf, len, err);
}

static int open_wide(const struct image_builder *b, struct qcbm_image **img, struct qcbm_error *err)
{
    static struct qcbm_io_ops ops;
    struct qcbm_mem *mem;
    int ret = qcbm_mem_new(b->bytes, b->len, &mem, err);

    ops = *qcbm_mem_ops();
    ops.read_at = faulty_read;
    return ret < 0 ? ret : qcbm_open_io(&ops, mem, 0, img, err);
}

/* All of a dry run, from opening to closing. */
static int plan_it(const struct image_builder *b, struct qcbm_plan_summary *sum, struct qcbm_error *err)
{
    struct qcbm_image *img = NULL;
    struct qcbm_edit *edit = NULL;
    int ret;

    n_reads = 0;
    ret = open_wide(b, &img, err);
    if (ret == 0) {
        qcbm_set_threads(img, 4);
        ret = qcbm_edit_begin(img, &edit, err);
    }
    if (ret == 0)
        ret = qcbm_edit_synth(edit, img, "new", NULL, NULL, err);
    if (ret == 0)
        ret = qcbm_edit_plan(edit, sum, sizeof(*sum), NULL, NULL, err);
    qcbm_edit_free(edit);
    qcbm_close(img);
    return ret;
}

/* The plan with allocation @at failing. False when there are not so many. */
static bool allocation_fails(const struct image_builder *b, uint64_t at, const struct qcbm_plan_summary *want)
{
    struct qcbm_plan_summary sum = { 0 };
    struct qcbm_error err = { 0 };
    struct fail_report report;
    int ret;

    fail_arm(&(struct fail_plan){ FAIL_ALLOC, at, FAIL_ERROR, 0 });
    ret = plan_it(b, &sum, &err);
    report = fail_disarm();
    if (report.live_blocks)
        fail_msg("allocation %llu fails: %lld blocks are left", (unsigned long long)at, (long long)report.live_blocks);
    assert_int_equal(ret, report.fired ? QCBM_E_NOMEM : 0);
    if (report.fired)
        assert_int_equal(err.code, QCBM_E_NOMEM);
    else
        assert_memory_equal(&sum, want, sizeof(sum));
    return report.fired;
}

static void an_allocation_that_fails_is_one_error(void **state)
{
    (void)state;
    for (int leaks = 0; leaks < 2; leaks++) {
        struct qcbm_plan_summary want = { 0 };
        struct qcbm_error err = { 0 };
        struct image_builder b;
        uint64_t at = 1;

        build_wide(&b, leaks);
        fail_from = 0;
        assert_ok(plan_it(&b, &want, &err), &err);
        while (allocation_fails(&b, at, &want))
            at++;
        assert_true(at > 40); /* those of the threads among them */
        build_free(&b);
    }
}

/* One read that fails may be made up for, by who reads all for himself. */
static void reads_that_fail_are_one_error(void **state)
{
    (void)state;
    for (int way = 0; way < 4; way++) {
        struct qcbm_plan_summary want = { 0 }, sum;
        struct qcbm_error err = { 0 };
        struct fail_report report;
        struct image_builder b;
        uint64_t last;

        build_wide(&b, way & 1);
        fail_one = way & 2;
        fail_from = 0;
        assert_ok(plan_it(&b, &want, &err), &err);
        last = n_reads;
        assert_true(last > TABLES);
        for (fail_from = 1; fail_from <= last; fail_from++) {
            int ret;

            memset(&sum, 0, sizeof(sum));
            fail_arm(&(struct fail_plan){ .call = FAIL_CALLS });
            ret = plan_it(&b, &sum, &err);
            report = fail_disarm();
            assert_int_equal(report.live_blocks, 0);
            assert_true(ret == QCBM_E_IO || (fail_one && ret == 0));
            if (ret == 0)
                assert_memory_equal(&sum, &want, sizeof(sum));
            else
                assert_non_null(strstr(err.message, "injected"));
        }
        build_free(&b);
    }
    fail_from = 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_allocation_that_fails_is_one_error),
        cmocka_unit_test(reads_that_fail_are_one_error),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
