/* test_synth_since.c - what changed since a snapshot as a bitmap: which options go together, and what is told
 * SPDX-License-Identifier: MIT */
#include "image_unit.h"

static void build_two(struct image_builder *b)
{
    struct build_options opt = { .size = KIB(64) };

    build_start(b, &opt);
    build_data(b, 0);
    build_snapshot(b, "1", "a");
    build_data(b, KIB(32));
    build_snapshot(b, "2", "b");
    build_data(b, KIB(48));
    build_finish(b);
}

static int synth(struct session *s, struct qcbm_synth_options opt, struct qcbm_synth_result **r, struct qcbm_error *err)
{
    opt.granularity = 512;
    return qcbm_synth(s->img, "n", &opt, r, err);
}

static void up_to_now_it_records(void **state)
{
    struct qcbm_synth_options opt = QCBM_SYNTH_OPTIONS_INIT;
    struct bench *t = bench_open(state, build_two);
    struct qcbm_synth_result *r;
    struct qcbm_synth_summary sum;
    struct qcbm_error err = { 0 };

    opt.since_snapshot = "a";
    assert_ok(synth(&t->s, opt, &r, &err), &err);
    assert_int_equal(qcbm_synth_result_summary(r, &sum, sizeof(sum)), 0);
    assert_string_equal(sum.since_snapshot_id, "1");
    assert_string_equal(sum.since_snapshot_name, "a");
    assert_null(sum.snapshot_id);
    assert_true(sum.enabled);
    assert_int_equal(sum.dirty_granules, 2);
    assert_dirty(t->s.img, "n", "32768-33280 49152-49664");
    qcbm_synth_result_free(r);
}

static void up_to_a_snapshot_it_does_not(void **state)
{
    struct qcbm_synth_options opt = QCBM_SYNTH_OPTIONS_INIT;
    struct bench *t = bench_open(state, build_two);
    struct qcbm_synth_result *r;
    struct qcbm_synth_summary sum;
    struct qcbm_error err = { 0 };

    opt.since_snapshot = "id:1";
    opt.snapshot = "name:b";
    assert_failure(synth(&t->s, opt, &r, &err), &err, QCBM_E_ARG, QCBM_NO_OFFSET, "snapshot 2 'b'");
    assert_null(r);
    assert_untouched(&t->s, &t->b);
    opt.flags = QCBM_SYNTH_DISABLED;
    assert_ok(synth(&t->s, opt, &r, &err), &err);
    assert_int_equal(qcbm_synth_result_summary(r, &sum, sizeof(sum)), 0);
    assert_string_equal(sum.snapshot_id, "2");
    assert_string_equal(sum.snapshot_name, "b");
    assert_false(sum.enabled);
    assert_dirty(t->s.img, "n", "32768-33280");
    qcbm_synth_result_free(r);
}

static void what_does_not_go_together_is_refused(void **state)
{
    static const struct {
        const char *since_snapshot, *snapshot, *since;
        unsigned flags;
        int code;
        const char *text;
    } cases[] = {
        { NULL, "b", NULL, 0, QCBM_E_ARG, "one to begin at" },
        { "a", NULL, "base", 0, QCBM_E_ARG, "no base" },
        { "a", NULL, NULL, QCBM_SYNTH_DIRTY_TAIL, QCBM_E_ARG, "tail" },
        { "c", NULL, NULL, 0, QCBM_E_NOTFOUND, "there are: 1 'a', 2 'b'" },
        { "a", "c", NULL, QCBM_SYNTH_DISABLED, QCBM_E_NOTFOUND, "'c'" },
    };
    struct bench *t = bench_open(state, build_two);

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct qcbm_synth_options opt = QCBM_SYNTH_OPTIONS_INIT;
        struct qcbm_error err = { 0 };

        opt.since_snapshot = cases[i].since_snapshot;
        opt.snapshot = cases[i].snapshot;
        opt.since = cases[i].since;
        opt.flags = cases[i].flags;
        assert_failure(synth(&t->s, opt, NULL, &err), &err, cases[i].code, QCBM_NO_OFFSET, cases[i].text);
        assert_untouched(&t->s, &t->b);
    }
}

static void nothing_differs_from_itself(void **state)
{
    struct qcbm_synth_options opt = QCBM_SYNTH_OPTIONS_INIT;
    struct bench *t = bench_open(state, build_two);
    struct qcbm_error err = { 0 };

    opt.since_snapshot = opt.snapshot = "b";
    opt.flags = QCBM_SYNTH_DISABLED;
    assert_ok(synth(&t->s, opt, NULL, &err), &err);
    assert_dirty(t->s.img, "n", "");
}

static void build_lost(struct image_builder *b)
{
    build_two(b);
    memset(b->bytes + b->l1, 0, 8); /* the table that it named is there, and nothing else leads to it */
}

/* Whether the bitmap goes into the image itself or into another one. */
static void a_lost_table_is_refused_wherever_the_bitmap_goes(void **state)
{
    static const char *const ends[] = { NULL, "b" };
    struct image_builder other;
    struct session to;
    struct bench *t;

    t = bench_open(state, build_lost);
    build_two(&other);
    session_open(&to, &other);
    for (size_t i = 0; i < 2 * ARRAY_LEN(ends); i++) {
        struct qcbm_synth_options opt = QCBM_SYNTH_OPTIONS_INIT;
        struct session *s = i / 2 ? &to : &t->s;
        struct qcbm_edit *edit;
        struct qcbm_error err = { 0 };

        opt.since_snapshot = "a";
        opt.snapshot = ends[i % 2];
        opt.granularity = 512;
        opt.flags = QCBM_SYNTH_DISABLED;
        assert_ok(qcbm_edit_begin(s->img, &edit, &err), &err);
        assert_failure(qcbm_edit_synth(edit, t->s.img, "n", &opt, NULL, &err), &err, QCBM_E_UNSAFE, QCBM_NO_OFFSET,
                       "a mapping table is lost");
        opt.flags |= QCBM_SYNTH_FORCE;
        assert_ok(qcbm_edit_synth(edit, t->s.img, "n", &opt, NULL, &err), &err);
        qcbm_edit_free(edit);
    }
    session_close(&to);
    build_free(&other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        image_test(up_to_now_it_records),
        image_test(up_to_a_snapshot_it_does_not),
        image_test(what_does_not_go_together_is_refused),
        image_test(nothing_differs_from_itself),
        image_test(a_lost_table_is_refused_wherever_the_bitmap_goes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
