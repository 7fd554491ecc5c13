/* test_progress.c - long calls tell how far they are, in one form, and end where the caller asks for it
 * SPDX-License-Identifier: MIT */
#include "undo_unit.h"
#include "watch_unit.h"

#include "base/progress.h"

/* ---- the helper ---- */

static void what_is_told_never_falls_and_never_passes_the_total(void **state)
{
    struct watch w;
    struct qcbmi_progress p = { .total = 10 };
    struct qcbm_error err = { 0 };

    (void)state;
    watch_begin(&w, 5);
    assert_int_equal(qcbmi_progress_add(NULL, 1, &err), 0);
    assert_int_equal(qcbmi_progress_add(&p, 1, &err), 0);
    p.to = &w.to;
    assert_int_equal(qcbmi_progress_at(&p, 7, &err), 0);
    assert_int_equal(qcbmi_progress_at(&p, 3, &err), 0);
    assert_int_equal(w.last, 7);
    assert_int_equal(qcbmi_progress_add(&p, 1, &err), 0);
    assert_int_equal(w.last, 8);
    assert_int_equal(qcbmi_progress_add(&p, UINT64_MAX, &err), 0);
    assert_int_equal(w.last, 10);
    assert_failure(qcbmi_progress_add(&p, 0, &err), &err, QCBM_E_ABORTED, QCBM_NO_OFFSET, "stopped by the caller");
}

/* ---- calls that only read ---- */

typedef int call_fn(struct qcbm_image *img, const struct qcbm_progress *progress, struct qcbm_error *err);

static int bitmap_usage(struct qcbm_image *img, const struct qcbm_progress *progress, struct qcbm_error *err)
{
    struct qcbm_bitmap_usage out;

    return qcbm_bitmap_usage(img, 0, &out, sizeof(out), progress, err);
}

static int image_usage(struct qcbm_image *img, const struct qcbm_progress *progress, struct qcbm_error *err)
{
    struct qcbm_image_usage out;

    return qcbm_image_usage(img, &out, sizeof(out), progress, err);
}

static int check(struct qcbm_image *img, const struct qcbm_progress *progress, struct qcbm_error *err)
{
    struct qcbm_check_options options = QCBM_CHECK_OPTIONS_INIT;
    struct qcbm_check_result out;

    options.progress = progress;
    return qcbm_check(img, &options, &out, sizeof(out), err);
}

static int verdict(struct qcbm_image *img, const struct qcbm_progress *progress, struct qcbm_error *err)
{
    struct qcbm_verdict_options options = QCBM_VERDICT_OPTIONS_INIT;
    struct qcbm_verdict out;

    options.progress = progress;
    return qcbm_verdict(img, &options, &out, sizeof(out), err);
}

static int measure(struct qcbm_image *img, const struct qcbm_progress *progress, struct qcbm_error *err)
{
    struct qcbm_measure_options options = QCBM_MEASURE_OPTIONS_INIT;
    struct qcbm_measure out;

    options.progress = progress;
    return qcbm_measure(img, 0, &options, &out, sizeof(out), err);
}

static int synth(struct qcbm_image *img, const struct qcbm_progress *progress, struct qcbm_error *err)
{
    struct qcbm_synth_options options = QCBM_SYNTH_OPTIONS_INIT;
    struct qcbm_edit *edit = NULL;
    int ret = qcbm_edit_begin(img, &edit, err);

    options.progress = progress;
    if (ret == 0)
        ret = qcbm_edit_synth(edit, img, "new", &options, NULL, err);
    qcbm_edit_free(edit);
    return ret;
}

static const struct call {
    const char *name;
    call_fn *call;
    bool exact; /* the total is no estimate */
} calls[] = {
    { "bitmap usage", bitmap_usage, true }, { "image usage", image_usage, false }, { "check", check, false },
    { "verdict", verdict, false },          { "measure", measure, true },          { "synth", synth, true },
};

static void readers_tell_and_stop_at_every_step(void **state)
{
    struct bench *t = bench_open(state, build_ab);
    struct qcbm_error err = { 0 };
    struct watch w;

    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        uint64_t steps;

        watch_begin(&w, 0);
        assert_ok(calls[i].call(t->s.img, &w.to, &err), &err);
        steps = w.calls;
        assert_true(steps > 0 && w.total > 0);
        assert_true(!calls[i].exact || w.last == w.total);
        for (uint64_t stop_at = 1; stop_at <= steps; stop_at++) {
            watch_begin(&w, stop_at);
            assert_failure(calls[i].call(t->s.img, &w.to, &err), &err, QCBM_E_ABORTED, QCBM_NO_OFFSET, "stopped");
            assert_int_equal(w.calls, stop_at);
        }
        assert_ok(calls[i].call(t->s.img, NULL, &err), &err);
    }
}

static int ignore_item(void *opaque, const struct qcbm_dump_item *item)
{
    (void)opaque;
    (void)item;
    return 0;
}

static void a_dump_of_tables_tells_entries(void **state)
{
    static const enum qcbm_dump_kind parts[] = { QCBM_DUMP_L1, QCBM_DUMP_L2, QCBM_DUMP_REFCOUNTS };
    struct bench *t = bench_open(state, build_ab);
    struct qcbm_error err = { 0 };
    struct qcbm_mem *mem;
    struct qcbm_dump *dump;
    struct watch w;

    assert_ok(qcbm_mem_new(t->b.bytes, t->b.len, &mem, &err), &err);
    assert_ok(qcbm_dump_open_io(qcbm_mem_ops(), mem, 0, &dump, &err), &err);
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        watch_begin(&w, 0);
        assert_ok(qcbm_dump_part(dump, parts[i], 0, UINT64_MAX, ignore_item, NULL, &w.to, &err), &err);
        assert_true(w.calls > 0 && w.last == w.total && w.total > 0);
        watch_begin(&w, 1);
        assert_failure(qcbm_dump_part(dump, parts[i], 0, UINT64_MAX, ignore_item, NULL, &w.to, &err), &err,
                       QCBM_E_ABORTED, QCBM_NO_OFFSET, "stopped");
    }
    qcbm_dump_close(dump);
}

/* ---- calls that write ---- */

/* More L2 tables than are read at a time, so that there are steps inside the scan. */
#define WIDE 6400
static void build_wide(struct image_builder *b)
{
    struct build_options opt = { .size = WIDE * KIB(32) };

    build_start(b, &opt);
    for (uint64_t at = 0; at < opt.size; at += KIB(32))
        build_data(b, at);
    build_bitmap(b, "a", 9, 2, NULL, 0);
    build_bitmap(b, "b", 12, 2, NULL, 0);
    build_finish(b);
}

static void edit_begin(struct session *s, struct qcbm_edit **edit)
{
    struct qcbm_error err = { 0 };

    assert_ok(qcbm_edit_begin(s->img, edit, &err), &err);
    assert_ok(qcbm_edit_add(*edit, "new", 0, 0, &err), &err);
    assert_ok(qcbm_edit_set_range(*edit, "new", 0, 4096, &err), &err);
}

/* What is cancelled while it is planned can be planned again, by the same edit; and a plan that stands is not made
 * twice. */
static void a_plan_tells_its_scan_and_stops_at_every_step(void **state)
{
    struct bench *t = bench_open(state, build_wide);
    struct qcbm_plan_summary planned, again;
    struct qcbm_error err = { 0 };
    struct qcbm_edit *edit;
    uint64_t steps;
    struct watch w;

    edit_begin(&t->s, &edit);
    watch_begin(&w, 0);
    qcbm_edit_set_progress(edit, &w.to);
    assert_ok(qcbm_edit_plan(edit, &planned, sizeof(planned), NULL, NULL, &err), &err);
    assert_int_equal(w.last, WIDE * 512); /* the L2 tables */
    assert_int_equal(w.total, w.last);
    steps = w.calls;
    assert_true(steps > 2);
    assert_ok(qcbm_edit_plan(edit, &again, sizeof(again), NULL, NULL, &err), &err);
    assert_int_equal(w.calls, steps);
    qcbm_edit_free(edit);
    edit_begin(&t->s, &edit);
    for (uint64_t stop_at = 1; stop_at <= steps; stop_at++) {
        watch_begin(&w, stop_at);
        qcbm_edit_set_progress(edit, &w.to);
        assert_failure(qcbm_edit_plan(edit, NULL, 0, NULL, NULL, &err), &err, QCBM_E_ABORTED, QCBM_NO_OFFSET,
                       "stopped");
        assert_int_equal(w.calls, stop_at);
    }
    qcbm_edit_set_progress(edit, NULL);
    assert_ok(qcbm_edit_plan(edit, &again, sizeof(again), NULL, NULL, &err), &err);
    assert_memory_equal(&again, &planned, sizeof(planned));
    qcbm_edit_free(edit);
}

/* The scan is behind the caller then: all of the way are the writes. */
static void a_commit_of_a_plan_tells_the_bytes_that_it_writes(void **state)
{
    struct bench *t = bench_open(state, build_wide);
    struct qcbm_plan_summary planned;
    struct qcbm_error err = { 0 };
    struct qcbm_edit *edit;
    struct watch w;

    edit_begin(&t->s, &edit);
    assert_ok(qcbm_edit_plan(edit, &planned, sizeof(planned), NULL, NULL, &err), &err);
    watch_begin(&w, 0);
    qcbm_edit_set_progress(edit, &w.to);
    assert_ok(qcbm_edit_commit(edit, NULL, 0, &err), &err);
    assert_int_equal(w.calls, planned.writes);
    assert_int_equal(w.last, planned.bytes_written);
    assert_int_equal(w.total, planned.bytes_written);
    qcbm_edit_free(edit);
}

/* Add a bitmap, stopping at the step of that number; 0: never. What is in the file then is opened again. */
static int commit_until(uint64_t stop_at, struct watch *w, bool *has_new, bool *untouched, struct qcbm_error *err)
{
    struct image_builder b;
    struct session s, after;
    struct qcbm_edit *edit;
    struct qcbm_image_info info;
    const uint8_t *bytes;
    size_t len;
    int ret;

    build_wide(&b);
    session_open(&s, &b);
    edit_begin(&s, &edit);
    watch_begin(w, stop_at);
    qcbm_edit_set_progress(edit, &w->to);
    ret = qcbm_edit_commit(edit, NULL, 0, err);
    qcbm_edit_free(edit);
    bytes = qcbm_mem_data(s.rec->mem, &len);
    *untouched = len == b.len && memcmp(bytes, b.bytes, len) == 0;
    session_on(&after, bytes, len, 0);
    qcbm_image_get_info(after.img, &info, sizeof(info));
    *has_new = info.bitmap_count == 3;
    session_close(&after);
    session_close(&s);
    build_free(&b);
    return ret;
}

/* While it plans nothing is written; before the switch the old state stays; after it the commit goes to its end,
 * whatever the callback says. */
static void a_commit_stops_before_the_switch_or_not_at_all(void **state)
{
    struct qcbm_error err = { 0 };
    uint64_t steps, aborted = 0, in_scan = 0;
    bool has_new, untouched;
    struct watch w;

    (void)state;
    assert_ok(commit_until(0, &w, &has_new, &untouched, &err), &err);
    assert_true(has_new && w.last == w.total && w.calls > 1);
    steps = w.calls;
    for (uint64_t stop_at = 1; stop_at <= steps; stop_at++) {
        int ret = commit_until(stop_at, &w, &has_new, &untouched, &err);

        if (ret == 0) {
            assert_true(has_new);
            assert_int_equal(w.calls, steps);
            continue;
        }
        assert_failure(ret, &err, QCBM_E_ABORTED, QCBM_NO_OFFSET, untouched ? "stopped" : "the old state is in place");
        assert_false(has_new);
        in_scan += untouched;
        assert_true(w.last < w.total && untouched == (w.last <= WIDE * 512));
        assert_int_equal(aborted, stop_at - 1); /* no step stops behind one that did not */
        aborted++;
    }
    assert_true(in_scan > 2 && aborted > in_scan && aborted < steps);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_told_never_falls_and_never_passes_the_total),
        image_test(readers_tell_and_stop_at_every_step),
        image_test(a_dump_of_tables_tells_entries),
        image_test(a_plan_tells_its_scan_and_stops_at_every_step),
        image_test(a_commit_of_a_plan_tells_the_bytes_that_it_writes),
        cmocka_unit_test(a_commit_stops_before_the_switch_or_not_at_all),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
