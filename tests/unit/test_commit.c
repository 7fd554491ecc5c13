/* test_commit.c - the two halves of a commit: all but the switch, then the switch and what it makes free
 * SPDX-License-Identifier: MIT */
#include "image_unit.h"

#include "write/commit.h"

static void build_plain(struct image_builder *b)
{
    struct build_options opt = { .size = KIB(64) };

    build_start(b, &opt);
    build_clusters(b, 4);
    build_finish(b);
}

static void add_stage(struct qcbmi_plan *plan, const char *name, bool switches, uint64_t off)
{
    assert_int_equal(qcbmi_plan_stage(plan, name, switches, NULL), 0);
    if (off)
        assert_int_equal(qcbmi_plan_write(plan, name, off, name, strlen(name), NULL), 0);
}

/* Stages that write nothing are passed over, whatever they are. */
static void make_plan(struct qcbmi_plan *plan, uint64_t end)
{
    memset(plan, 0, sizeof(*plan));
    add_stage(plan, "switch", true, 0);
    add_stage(plan, "prepare", false, 2048);
    add_stage(plan, "refcounts", false, 2560);
    add_stage(plan, "switch", true, 3072);
    add_stage(plan, "more", false, 3328);
    add_stage(plan, "reclaim", true, 3584);
    plan->end = end;
}

/* As kind of event and, for writes, the first letter of what is written. */
static void expect_events(const struct record *rec, const char *want)
{
    char got[64] = "";

    assert_true(rec->n < sizeof(got));
    for (size_t i = 0; i < rec->n; i++)
        got[i] = rec->events[i].kind == RECORD_WRITE   ? (char)rec->events[i].bytes[0]
                 : rec->events[i].kind == RECORD_FLUSH ? '|'
                                                       : '+';
    assert_string_equal(got, want);
}

static void the_first_half_ends_before_the_switch(void **state)
{
    struct bench *t = bench_open(state, build_plain);
    struct qcbm_error err = { 0 };
    struct qcbmi_commit c;
    struct qcbmi_plan plan;

    make_plan(&plan, t->b.len + 512);
    assert_ok(qcbmi_commit_prepare(&c, &plan, t->s.img->image, &err), &err);
    expect_events(t->s.rec, "+p|r|");
    assert_ok(qcbmi_commit_switch(&c, &err), &err);
    expect_events(t->s.rec, "+p|r|s|m|r|");
    qcbmi_commit_end(&c);
    qcbmi_plan_free(&plan);
}

static void without_the_second_half_the_old_state_stays(void **state)
{
    struct bench *t = bench_open(state, build_plain);
    struct qcbm_error err = { 0 };
    struct qcbmi_commit c;
    struct qcbmi_plan plan;
    const uint8_t *now;
    size_t len;

    make_plan(&plan, t->b.len);
    assert_ok(qcbmi_commit_prepare(&c, &plan, t->s.img->image, &err), &err);
    qcbmi_commit_end(&c);
    qcbmi_commit_end(&c);
    now = qcbm_mem_data(t->s.rec->mem, &len);
    assert_memory_equal(now + 3072, t->b.bytes + 3072, 1024);
    qcbmi_plan_free(&plan);
}

static void several_images_are_prepared_before_one_is_switched(void **state)
{
    struct bench *t = bench_open(state, build_plain);
    struct session other;
    struct qcbm_error err = { 0 };
    struct qcbmi_commit a, b;
    struct qcbmi_plan plan;

    session_open(&other, &t->b);
    make_plan(&plan, t->b.len); /* the same for both */
    assert_ok(qcbmi_commit_prepare(&a, &plan, t->s.img->image, &err), &err);
    assert_ok(qcbmi_commit_prepare(&b, &plan, other.img->image, &err), &err);
    expect_events(t->s.rec, "p|r|");
    expect_events(other.rec, "p|r|");
    assert_ok(qcbmi_commit_switch(&a, &err), &err);
    assert_ok(qcbmi_commit_switch(&b, &err), &err);
    expect_events(t->s.rec, "p|r|s|m|r|");
    expect_events(other.rec, "p|r|s|m|r|");
    qcbmi_commit_end(&a);
    qcbmi_commit_end(&b);
    qcbmi_plan_free(&plan);
    session_close(&other);
}

/* The way back has no state worth stopping in: its first half is its checks. */
static void an_undo_begins_with_its_second_half(void **state)
{
    struct bench *t = bench_open(state, build_plain);
    struct qcbm_error err = { 0 };
    struct qcbmi_plan plan = { .undoes = true };
    struct qcbmi_commit c;

    add_stage(&plan, "undo", false, 2048);
    plan.end = t->b.len - 512;
    assert_ok(qcbmi_commit_prepare(&c, &plan, t->s.img->image, &err), &err);
    expect_events(t->s.rec, "");
    assert_ok(qcbmi_commit_switch(&c, &err), &err);
    expect_events(t->s.rec, "u|+|"); /* the cut is a change of length, too */
    qcbmi_commit_end(&c);
    qcbmi_plan_free(&plan);
}

static void a_changed_header_is_seen_before_anything_is_written(void **state)
{
    struct bench *t = bench_open(state, build_plain);
    struct qcbm_error err = { 0 };
    struct qcbmi_commit c;
    struct qcbmi_plan plan;

    make_plan(&plan, t->b.len);
    t->s.img->image->cluster0[100] ^= 1;
    assert_failure(qcbmi_commit_prepare(&c, &plan, t->s.img->image, &err), &err, QCBM_E_UNSAFE, 0,
                   "nothing was written");
    qcbmi_commit_end(&c);
    expect_events(t->s.rec, "");
    qcbmi_plan_free(&plan);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        image_test(the_first_half_ends_before_the_switch),
        image_test(without_the_second_half_the_old_state_stays),
        image_test(several_images_are_prepared_before_one_is_switched),
        image_test(an_undo_begins_with_its_second_half),
        image_test(a_changed_header_is_seen_before_anything_is_written),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
