/* test_session.c - an edit from its plan to its commit: what is told, what stops it
 * SPDX-License-Identifier: MIT */
#include "edit_unit.h"

/* ---- plan and commit ---- */

struct steps {
    unsigned n, stop_at;
    uint64_t bytes;
    uint32_t last_stage;
};

static int see_step(void *opaque, const struct qcbm_plan_step *step)
{
    struct steps *t = opaque;

    assert_true(step->stage == t->last_stage || step->stage == t->last_stage + 1);
    assert_true(step->stage_name[0] != '\0' && step->what[0] != '\0' && step->length > 0);
    t->last_stage = step->stage;
    t->bytes += step->length;
    return ++t->n == t->stop_at;
}

static void the_plan_tells_every_write_of_the_commit(void **state)
{
    struct bench *t = bench_open(state, build_abc);
    struct qcbm_edit *edit = begin(&t->s);
    struct qcbm_error err = { 0 };
    struct qcbm_plan_summary sum, done;
    struct steps steps = { 0 }, stopped = { .stop_at = 2 };
    uint64_t bytes = 0;
    size_t writes = 0;

    assert_ok(qcbm_edit_clear(edit, "a", &err), &err);
    assert_ok(qcbm_edit_plan(edit, &sum, sizeof(sum), see_step, &steps, &err), &err);
    assert_untouched(&t->s, &t->b);
    assert_failure(qcbm_edit_plan(edit, NULL, 0, see_step, &stopped, &err), &err, QCBM_E_ABORTED, QCBM_NO_OFFSET,
                   "stopped");
    assert_failure(qcbm_edit_add(edit, "n", 0, 0, &err), &err, QCBM_E_ARG, QCBM_NO_OFFSET, "has been planned");
    assert_failure(qcbm_edit_clear(edit, "a", &err), &err, QCBM_E_ARG, QCBM_NO_OFFSET, "has been planned");
    assert_ok(qcbm_edit_commit(edit, &done, sizeof(done), &err), &err);
    qcbm_edit_free(edit);
    assert_memory_equal(&sum, &done, sizeof(sum));
    for (size_t i = 0; i < t->s.rec->n; i++)
        if (t->s.rec->events[i].kind == RECORD_WRITE) {
            writes++;
            bytes += t->s.rec->events[i].len;
        }
    assert_int_equal(sum.writes, writes);
    assert_int_equal(steps.n, writes);
    assert_int_equal(sum.bytes_written, bytes);
    assert_int_equal(steps.bytes, bytes);
    assert_int_equal(sum.flushes, session_count(&t->s, RECORD_FLUSH));
    assert_int_equal(sum.flushes, steps.last_stage + 1);
}

static void a_reading_handle_does_not_commit(void **state)
{
    struct bench *t = *state;
    struct qcbm_error err = { 0 };
    struct qcbm_edit *edit;

    build_abc(&t->b);
    session_on(&t->s, t->b.bytes, t->b.len, 0);
    edit = begin(&t->s);
    assert_ok(qcbm_edit_clear(edit, "a", &err), &err);
    assert_failure(qcbm_edit_commit(edit, NULL, 0, &err), &err, QCBM_E_READONLY, QCBM_NO_OFFSET, "for reading");
    qcbm_edit_free(edit);
    assert_untouched(&t->s, &t->b);
}

static void a_first_cluster_that_changed_meanwhile_stops_the_commit(void **state)
{
    struct bench *t = bench_open(state, build_abc);
    struct qcbm_edit *edit = begin(&t->s);
    struct qcbm_error err = { 0 };

    assert_ok(qcbm_edit_clear(edit, "a", &err), &err);
    t->b.bytes[511] ^= 1;
    assert_int_equal(qcbm_mem_ops()->write_at(t->s.rec->mem, 511, t->b.bytes + 511, 1, NULL), 0);
    assert_failure(qcbm_edit_commit(edit, NULL, 0, &err), &err, QCBM_E_UNSAFE, 0, "nothing was written");
    qcbm_edit_free(edit);
    assert_untouched(&t->s, &t->b);
}

/* It would repeat its writes over what came after them. */
static void a_second_commit_of_one_edit_writes_nothing(void **state)
{
    struct bench *t = *state;
    struct build_options opt = { .size = KIB(64) };
    struct qcbm_error err = { 0 };
    struct qcbm_edit *edit;
    size_t n;

    build_start(&t->b, &opt);
    build_finish(&t->b);
    session_open(&t->s, &t->b);
    assert_ok(qcbm_edit_begin(t->s.img, &edit, &err), &err);
    assert_ok(qcbm_edit_add(edit, "n", 0, 0, &err), &err);
    assert_ok(qcbm_edit_commit(edit, NULL, 0, &err), &err);
    n = t->s.rec->n;
    assert_int_equal(qcbm_edit_commit(edit, NULL, 0, &err), QCBM_E_ARG);
    assert_int_equal(t->s.rec->n, n);
    qcbm_edit_free(edit);
}

/* It knows a directory that is gone. */
static void an_edit_that_another_commit_overtook_is_refused(void **state)
{
    struct bench *t = *state;
    struct build_options opt = { .size = KIB(64) };
    struct qcbm_error err = { 0 };
    struct qcbm_edit *one, *two;

    build_start(&t->b, &opt);
    build_bitmap(&t->b, "a", 9, 2, NULL, 0);
    build_finish(&t->b);
    session_open(&t->s, &t->b);
    assert_ok(qcbm_edit_begin(t->s.img, &one, &err), &err);
    assert_ok(qcbm_edit_begin(t->s.img, &two, &err), &err);
    assert_ok(qcbm_edit_add(one, "one", 0, 0, &err), &err);
    assert_ok(qcbm_edit_add(two, "two", 0, 0, &err), &err);
    assert_ok(qcbm_edit_commit(one, NULL, 0, &err), &err);
    assert_int_equal(qcbm_edit_commit(two, NULL, 0, &err), QCBM_E_ARG);
    qcbm_edit_free(one);
    qcbm_edit_free(two);
    assert_int_equal(bitmap_count(t->s.img), 2);
}

static void without_room_in_the_first_cluster_nothing_is_written(void **state)
{
    struct bench *t = *state;
    struct build_options opt = { .size = KIB(64) };
    struct qcbm_error err = { 0 };
    struct qcbm_edit *edit;

    build_start(&t->b, &opt);
    build_extension(&t->b, 0x12345678, NULL, 360);
    build_finish(&t->b);
    session_open(&t->s, &t->b);
    edit = begin(&t->s);
    assert_ok(qcbm_edit_add(edit, "n", 0, 0, &err), &err);
    assert_failure(qcbm_edit_plan(edit, NULL, 0, NULL, NULL, &err), &err, QCBM_E_NOSPACE, t->b.end_ext, "no room");
    assert_failure(qcbm_edit_commit(edit, NULL, 0, &err), &err, QCBM_E_NOSPACE, t->b.end_ext, "nothing was written");
    qcbm_edit_free(edit);
    assert_untouched(&t->s, &t->b);
}

static void bits_in_clusters_past_the_end_go_with_their_bitmap(void **state)
{
    static const uint64_t far[] = { UINT64_C(1) << 40 };
    struct bench *t = *state;
    struct build_options opt = { .size = KIB(64) };
    struct qcbm_error err = { 0 };
    struct qcbm_edit *edit;

    build_start(&t->b, &opt);
    build_bitmap(&t->b, "lost", 9, 0, far, 1);
    build_finish(&t->b);
    session_open(&t->s, &t->b);
    edit = begin(&t->s);
    assert_ok(qcbm_edit_add(edit, "n", 0, 0, &err), &err);
    assert_int_equal(qcbm_edit_commit(edit, NULL, 0, &err),
                     QCBM_E_UNSAFE); /* growing would make clean what is not known */
    assert_untouched(&t->s, &t->b);
    assert_ok(qcbm_edit_remove(edit, "lost", &err), &err);
    commit(edit);
    assert_stored(&t->s, "n2");
}

/* Two of one name: QEMU refuses the image, so the second must not be written again. With the first gone it is good. */
static void a_namesake_is_not_kept(void **state)
{
    struct bench *t = *state;
    struct build_options opt = { .size = KIB(64) };
    struct qcbm_error err = { 0 };
    struct qcbm_edit *edit;

    build_start(&t->b, &opt);
    build_bitmap(&t->b, "a", 9, AUTO, NULL, 0);
    build_bitmap(&t->b, "a", 10, 0, NULL, 0);
    build_finish(&t->b);
    session_open(&t->s, &t->b);
    edit = begin(&t->s);
    assert_ok(qcbm_edit_add(edit, "n", 0, 0, &err), &err);
    assert_int_equal(qcbm_edit_commit(edit, NULL, 0, &err), QCBM_E_UNSAFE);
    assert_non_null(strstr(err.message, "must be removed first"));
    assert_untouched(&t->s, &t->b);
    qcbm_edit_free(edit);
    edit = begin(&t->s);
    assert_ok(qcbm_edit_remove(edit, "a", &err), &err);
    assert_ok(qcbm_edit_add(edit, "n", 0, 0, &err), &err);
    commit(edit);
    assert_stored(&t->s, "a0 n2");
}

/* A file that grows makes zeros of what its end cut off: of a bitmap that stays, those would be clean granules. */
static void bits_that_the_end_cuts_go_with_their_bitmap(void **state)
{
    struct bench *t = *state;
    struct build_options opt = { .size = KIB(64) };
    struct qcbm_error err = { 0 };
    struct qcbm_plan_summary sum;
    struct qcbm_edit *edit;
    uint64_t data;

    build_start(&t->b, &opt);
    data = build_clusters(&t->b, 2);
    build_bitmap(&t->b, "cut", 9, 0, &data, 1);
    build_finish(&t->b);
    be64_store(t->b.bytes + t->b.bitmaps[0].table,
               t->b.len); /* into a cluster behind the end, of which a part is there */
    build_set_refcount(&t->b, t->b.len, 1);
    build_resize(&t->b, t->b.len + 100);
    session_open(&t->s, &t->b);
    edit = begin(&t->s);
    assert_ok(qcbm_edit_add(edit, "n", 0, 0, &err), &err);
    assert_int_equal(qcbm_edit_commit(edit, NULL, 0, &err), QCBM_E_UNSAFE);
    assert_untouched(&t->s, &t->b);
    qcbm_edit_free(edit);
    edit = begin(&t->s);
    assert_ok(qcbm_edit_remove(edit, "cut", &err), &err);
    assert_ok(qcbm_edit_commit(edit, &sum, sizeof(sum), &err), &err);
    qcbm_edit_free(edit);
    assert_stored(&t->s, "");
    assert_int_equal(sum.clusters_freed, 3); /* directory, table, data */
}

static void free_takes_null(void **state)
{
    (void)state;
    qcbm_edit_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        image_test(the_plan_tells_every_write_of_the_commit),
        image_test(a_reading_handle_does_not_commit),
        image_test(a_first_cluster_that_changed_meanwhile_stops_the_commit),
        image_test(a_second_commit_of_one_edit_writes_nothing),
        image_test(an_edit_that_another_commit_overtook_is_refused),
        image_test(without_room_in_the_first_cluster_nothing_is_written),
        image_test(bits_in_clusters_past_the_end_go_with_their_bitmap),
        image_test(a_namesake_is_not_kept),
        image_test(bits_that_the_end_cuts_go_with_their_bitmap),
        cmocka_unit_test(free_takes_null),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
