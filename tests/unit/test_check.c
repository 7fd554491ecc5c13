/* test_check.c - the check as a whole: findings and their order, passes, the budget, the end by the caller, no memory
 * SPDX-License-Identifier: MIT */
#include "image_unit.h"

#include "fail_calls.h"

#define RESERVED UINT64_C(2)

struct told {
    char text[2048];
    size_t n, stop_at;
};

static int tell(void *opaque, const struct qcbm_check_finding *f)
{
    struct told *t = opaque;
    size_t n = strlen(t->text);

    assert_true(f->message[0] != '\0');
    assert_null(strchr(f->message, '\n'));
    if (f->offset == QCBM_NO_OFFSET)
        snprintf(t->text + n, sizeof(t->text) - n, "%s ", f->problem->code);
    else
        snprintf(t->text + n, sizeof(t->text) - n, "%s@%llu ", f->problem->code, (unsigned long long)f->offset);
    return ++t->n == t->stop_at;
}

static int check(const struct image_builder *b, uint64_t memory, struct told *t, struct qcbm_check_result *r,
                 struct qcbm_error *err)
{
    struct qcbm_check_options o = QCBM_CHECK_OPTIONS_INIT;
    struct qcbm_image *img = build_open(b, 0);
    int ret;

    if (memory)
        o.memory = memory;
    o.finding = t ? tell : NULL;
    o.opaque = t;
    ret = qcbm_check(img, &o, r, sizeof(*r), err);
    qcbm_close(img);
    return ret;
}

/* Two L2 tables, a snapshot, a bitmap in use. */
static void build_sound(struct image_builder *b)
{
    struct build_options opt = { .size = KIB(64) };

    build_start(b, &opt);
    build_data(b, 0);
    build_snapshot(b, "1", "s");
    build_data(b, KIB(32));
    build_data(b, KIB(40));
    build_bitmap(b, "b", 9, 0, NULL, 0);
    build_finish(b);
}

static void a_sound_image_has_nothing_to_tell(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct told told = { .n = 0 };
    struct qcbm_check_result r;
    struct qcbm_error err = { 0 };
    char want[64];

    build_sound(b);
    assert_ok(check(b, 0, &told, &r, &err), &err);
    snprintf(want, sizeof(want), "snapshots-and-bitmaps@%llu ", (unsigned long long)b->snapshot_table);
    assert_string_equal(told.text, want);
    assert_int_equal(r.corruptions + r.leaks + r.check_errors + r.damages, 0);
    assert_int_equal(r.warnings, 1);
    assert_int_equal(r.allocated_clusters, 3);
    assert_int_equal(r.passes, 1);
    assert_int_equal(r.image_end_offset, b->len);
}

struct place {
    uint64_t snapshot_l1, first, second, third; /* the entries */
    uint64_t zero, leak;                        /* clusters: refcount 0, and no reference */
};

/* Everything at once: in the L1 of the snapshot, in two L2 tables, in refcounts, flags and bitmaps. */
static void build_broken(struct image_builder *b, struct place *p)
{
    struct build_options opt = { .size = KIB(64) };

    build_start(b, &opt);
    build_data(b, 0);
    build_snapshot(b, "1", "s");
    p->zero = build_data(b, KIB(32));
    build_data(b, KIB(40));
    p->leak = build_clusters(b, 1);
    build_bitmap(b, "b", 9, 1, NULL, 0);
    p->first = build_l2_entry(b, KIB(32));
    p->second = build_l2_entry(b, KIB(40));
    p->third = build_l2_entry(b, KIB(41));
    build_finish(b);
    p->snapshot_l1 = b->snapshots[0].l1;
    b->bytes[p->snapshot_l1 + 7] |= 1;                  /* reserved */
    b->bytes[p->first] &= 0x7f;                         /* COPIED is missing */
    b->bytes[p->second + 7] |= RESERVED;                /* of guest 40K */
    be64_store(b->bytes + p->third, UINT64_C(1) << 40); /* past the end, without COPIED */
    build_set_refcount(b, p->zero, 0);
}

static void findings_come_in_the_order_of_qemu(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct told told = { .n = 0 };
    struct qcbm_check_result r;
    struct qcbm_error err = { 0 };
    struct place p;
    char want[512];

    build_broken(b, &p);
    assert_ok(check(b, 0, &told, &r, &err), &err);
    snprintf(
        want, sizeof(want),
        "l2-reserved-bits@%llu reference-past-end@%llu l1-reserved-bits@%llu refcount-zero@%llu cluster-leaked@%llu "
        "bitmap-in-use@%llu ",
        (unsigned long long)p.second, (unsigned long long)p.third, (unsigned long long)p.snapshot_l1,
        (unsigned long long)p.zero, (unsigned long long)p.leak, (unsigned long long)b->bitmaps[0].entry);
    assert_string_equal(told.text, want);
    assert_int_equal(r.check_errors, 0);
}

/* One bit can tell one user: the second of two entries is one too many. */
static void a_reference_too_many_is_told_where_it_stands(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct build_options opt = { .size = KIB(64), .refcount_bits = 1 };
    struct told told = { .n = 0 };
    struct qcbm_check_result r;
    struct qcbm_error err = { 0 };
    char want[64];
    uint64_t host;

    build_start(b, &opt);
    host = build_data(b, 0);
    build_finish(b);
    be64_store(b->bytes + build_l2_entry(b, 512), host | BUILD_COPIED);
    assert_ok(check(b, 0, &told, &r, &err), &err);
    snprintf(want, sizeof(want), "refcount-overflow@%llu ", (unsigned long long)build_l2_entry(b, 512));
    assert_memory_equal(told.text, want, strlen(want));
    assert_int_equal(r.corruptions, 1);
}

/* As a number with a sign it lies before the end of the file; and it is no offset of any file. */
static void an_l1_table_behind_all_offsets_leads_nowhere(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct build_options opt = { .size = KIB(64) };
    struct told told = { .n = 0 };
    struct qcbm_check_result r;
    struct qcbm_error err = { 0 };
    const char *want = "reference-nowhere@14829735430500384768 "; /* the table itself */

    build_start(b, &opt);
    build_data(b, 0);
    build_snapshot(b, "1", "s");
    build_finish(b);
    be64_store(b->bytes + b->snapshot_table, UINT64_C(0xcdcdcdcd80000000));
    assert_ok(check(b, 0, &told, &r, &err), &err);
    assert_memory_equal(told.text, want, strlen(want));
}

static void totals_do_not_depend_on_who_listens(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct told told = { .n = 0 };
    struct qcbm_check_result heard, alone;
    struct qcbm_error err = { 0 };
    struct place p;

    build_broken(b, &p);
    assert_ok(check(b, 0, &told, &heard, &err), &err);
    assert_ok(check(b, 0, NULL, &alone, &err), &err);
    assert_true(heard.corruptions >= 4 && heard.leaks == 1);
    assert_memory_equal(&heard, &alone, sizeof(heard));
}

static void the_caller_can_stop_at_each_finding(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct told all = { .n = 0 };
    struct qcbm_check_result r;
    struct place p;

    build_broken(b, &p);
    assert_int_equal(check(b, 0, &all, &r, NULL), 0);
    assert_true(all.n > 5);
    for (size_t stop = 1; stop <= all.n; stop++) {
        struct told told = { .stop_at = stop };
        struct qcbm_error err = { 0 };

        assert_failure(check(b, 0, &told, &r, &err), &err, QCBM_E_ABORTED, QCBM_NO_OFFSET, "stopped by the caller");
        assert_int_equal(told.n, stop);
        assert_memory_equal(told.text, all.text, strlen(told.text));
    }
}

/* More than 4096 clusters, with something wrong in each part. */
static void little_memory_makes_passes_and_the_same_findings(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct build_options opt = { .size = MIB(8) };
    struct told one = { .n = 0 }, many = { .n = 0 };
    struct qcbm_check_result r, s;
    struct qcbm_error err = { 0 };
    uint64_t host = 0;

    build_start(b, &opt);
    for (uint64_t guest = 0; guest < MIB(8); guest += 1024)
        host = build_data(b, guest);
    build_finish(b);
    build_set_refcount(b, host, 0);
    build_set_refcount(b, host - 512, 5);
    build_set_refcount(b, b->l1 + 512 * 600, 300);
    b->bytes[build_l2_entry(b, MIB(7)) + 7] |= RESERVED;
    assert_ok(check(b, 0, &one, &r, &err), &err);
    assert_ok(check(b, 4096, &many, &s, &err), &err);
    assert_int_equal(r.passes, 1);
    assert_true(s.passes > 1);
    assert_string_equal(one.text, many.text);
    s.passes = r.passes;
    assert_memory_equal(&r, &s, sizeof(r));
}

/* All L1 entries name one table, and 15 entries of that are wrong: one more, and it would be one line. */
static void tables_named_over_and_over_come_out_of_the_budget(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct build_options opt = { .size = GIB(1) };
    struct qcbm_check_result r;
    struct told told = { .n = 0 };
    struct qcbm_error err = { 0 };
    uint64_t l2;

    build_start(b, &opt);
    l2 = build_l2_entry(b, 0);
    for (unsigned i = 0; i < 15; i++)
        be64_store(b->bytes + l2 + 8 * i, UINT64_C(1) << 40 | RESERVED | (uint64_t)i << 9);
    build_finish(b);
    for (uint64_t i = 1; i < GIB(1) / 512 / 64; i++)
        be64_store(b->bytes + b->l1 + 8 * i, l2);
    assert_ok(check(b, 0, &told, &r, &err), &err);
    assert_null(strstr(told.text, "table-overwritten"));
    assert_int_equal(r.check_errors, 1);          /* it is said once */
    assert_true(r.corruptions >= 2 * 15 * 32768); /* and all are counted */
}

static void without_memory_it_fails_and_leaks_nothing(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct qcbm_check_options o = QCBM_CHECK_OPTIONS_INIT;
    struct fail_report report = { .fired = true };
    struct qcbm_image *img;
    struct place p;
    unsigned failed = 0;

    build_broken(b, &p);
    img = bench_image(state, 0);
    for (uint64_t at = 1; report.fired; at++) {
        struct fail_plan plan = { FAIL_ALLOC, at, FAIL_ERROR, 0 };
        struct qcbm_check_result r;
        struct told told = { .n = 0 };
        struct qcbm_error err = { 0 };
        int ret;

        o.finding = tell;
        o.opaque = &told;
        fail_arm(&plan);
        ret = qcbm_check(img, &o, &r, sizeof(r), &err);
        report = fail_disarm();
        assert_true(ret == 0 || ret == QCBM_E_NOMEM);
        assert_true(ret == 0 || err.code == QCBM_E_NOMEM);
        assert_int_equal(report.live_blocks, 0);
        failed += ret != 0;
    }
    assert_true(failed > 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        image_test(a_sound_image_has_nothing_to_tell),
        image_test(findings_come_in_the_order_of_qemu),
        image_test(a_reference_too_many_is_told_where_it_stands),
        image_test(an_l1_table_behind_all_offsets_leads_nowhere),
        image_test(totals_do_not_depend_on_who_listens),
        image_test(the_caller_can_stop_at_each_finding),
        image_test(little_memory_makes_passes_and_the_same_findings),
        image_test(tables_named_over_and_over_come_out_of_the_budget),
        image_test(without_memory_it_fails_and_leaks_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
