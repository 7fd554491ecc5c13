/* test_check_report.c - what a check keeps is what its callback gets, page by page, up to the bound
 * SPDX-License-Identifier: MIT */
#include "image_unit.h"

#include "check/check_report.h"
#include "fail_calls.h"

#define SMALL "a message that would fit"

static uint64_t seed;

static uint64_t random_below(uint64_t n)
{
    seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (seed >> 33) % n;
}

/* What the callback got, as text: its strings die with it. */
struct told {
    char *text;
    size_t len, n, stop_at;
};

static void tell_line(struct told *t, const struct qcbm_check_finding *f)
{
    char line[2048];
    int len = snprintf(line, sizeof(line), "%s %llu %s %llu %u: %s; %s\n", f->problem->code,
                       (unsigned long long)f->offset, f->table ? f->table : "-", (unsigned long long)f->index,
                       f->bitmap, f->message, f->hint ? f->hint : "-");

    assert_true(len > 0 && (size_t)len < sizeof(line));
    t->text = realloc(t->text, t->len + (size_t)len + 1);
    assert_non_null(t->text);
    memcpy(t->text + t->len, line, (size_t)len + 1);
    t->len += (size_t)len;
    t->n++;
}

static int tell(void *opaque, const struct qcbm_check_finding *f)
{
    struct told *t = opaque;

    tell_line(t, f);
    return t->n == t->stop_at;
}

static int count_kind(void *opaque, const struct qcbm_check_kind *kind)
{
    (void)opaque;
    assert_true(kind->count > 0);
    return 0;
}

static void build_rich(struct image_builder *b)
{
    struct build_options opt = { .size = KIB(64) };

    build_start(b, &opt);
    build_data(b, 0);
    build_snapshot(b, "1", "s");
    for (uint64_t at = KIB(8); at < KIB(64); at += KIB(5))
        build_data(b, at);
    build_clusters(b, 2);
    build_bitmap(b, "b", 9, 1, NULL, 0);
    build_finish(b);
}

/* Behind the header, which would keep it from opening. */
static void damage(struct image_builder *b)
{
    for (uint64_t n = 1 + random_below(12); n > 0; n--)
        b->bytes[b->cluster_size + random_below(b->len - b->cluster_size)] ^= (uint8_t)(1 + random_below(255));
}

static void pages_to_text(const struct qcbm_check_report *report, struct told *pages)
{
    struct qcbm_error err = { 0 };
    uint64_t from = 0;
    size_t got;

    do {
        size_t wanted = 1 + (size_t)random_below(5);
        struct qcbm_check_finding *page = calloc(wanted, sizeof(*page)); /* alone, for the sanitizer */
        uint64_t first = from;

        assert_ok(qcbm_check_fill(report, first, page, sizeof(*page), wanted, &got, &from, &err), &err);
        assert_int_equal(from, first + got);
        for (size_t i = 0; i < got; i++)
            tell_line(pages, &page[i]);
        free(page);
    } while (got > 0);
}

/* Asked when the image is closed: nothing in a report is the image's. Returns how many findings there were. */
static size_t compare(const struct image_builder *b)
{
    struct qcbm_check_options o = QCBM_CHECK_OPTIONS_INIT;
    struct told plain = { 0 }, beside = { 0 }, pages = { 0 };
    struct qcbm_check_result r, kept;
    struct qcbm_check_report *report;
    struct qcbm_error err = { 0 };
    struct qcbm_image *img;

    if (build_try_open(b, 0, &img, &err) < 0)
        return 0;
    o.finding = tell;
    o.kind = count_kind;
    o.opaque = &plain;
    assert_ok(qcbm_check(img, &o, &r, sizeof(r), &err), &err);
    o.opaque = &beside;
    assert_ok(qcbm_check_open(img, &o, &report, &kept, sizeof(kept), &err), &err);
    qcbm_close(img);
    pages_to_text(report, &pages);
    assert_int_equal(qcbm_check_left_out(report), 0);
    qcbm_check_close(report);
    assert_memory_equal(&r, &kept, sizeof(r));
    assert_int_equal(pages.n, plain.n);
    assert_int_equal(beside.n, plain.n);
    if (plain.n > 0) {
        assert_string_equal(pages.text, plain.text);
        assert_string_equal(beside.text, plain.text);
    }
    free(plain.text);
    free(beside.text);
    free(pages.text);
    return plain.n;
}

static void pages_are_what_the_callback_gets(void **state)
{
    size_t rich = 0;

    (void)state;
    for (uint64_t i = 1; i < 300; i++) {
        struct image_builder b;

        seed = i;
        build_rich(&b);
        damage(&b);
        rich += compare(&b) > 5;
        build_free(&b);
    }
    assert_true(rich > 50);
}

/* ---- the bound ---- */

static void what_does_not_fit_is_counted(void **state)
{
    struct qcbm_check_report *report = calloc(1, sizeof(*report));
    struct qcbm_check_finding f = { qcbm_problem_get(0), 7, "L2 table", 0, UINT32_MAX, NULL, NULL, 0 }, last;
    struct qcbm_error err = { 0 };
    char message[1000];
    uint64_t next;
    size_t got;

    (void)state;
    memset(message, 'm', sizeof(message) - 1);
    message[sizeof(message) - 1] = '\0';
    f.message = message;
    while (report->left_out == 0) {
        assert_ok(qcbmi_check_report_keep(report, &f, &err), &err);
        f.index++;
    }
    assert_true(report->n >= QCBM_CHECK_REPORT_MAX / 1200 && report->n <= QCBM_CHECK_REPORT_MAX / 1000);
    f.message = SMALL;
    assert_ok(qcbmi_check_report_keep(report, &f, &err), &err);
    assert_int_equal(qcbm_check_left_out(report), 2);
    assert_ok(qcbm_check_fill(report, report->n - 1, &last, sizeof(last), 1, &got, &next, &err), &err);
    assert_int_equal(got, 1);
    assert_int_equal(last.index, report->n - 1);
    assert_string_equal(last.message, message);
    assert_int_equal(qcbm_check_fill(report, next, &last, sizeof(last), 1, &got, &next, &err), 0);
    assert_int_equal(got, 0);
    qcbm_check_close(report);
}

/* ---- failures ---- */

static void no_report_is_left_of_a_check_that_fails(void **state)
{
    struct bench *t = bench_open(state, build_rich);
    struct qcbm_check_options o = QCBM_CHECK_OPTIONS_INIT;
    struct told told = { .stop_at = 1 };
    struct qcbm_check_report *report = (struct qcbm_check_report *)&told;
    struct qcbm_check_finding page[1];
    struct qcbm_check_result r;
    struct qcbm_error err = { 0 };
    uint64_t next;
    size_t got;

    o.finding = tell;
    o.opaque = &told;
    assert_int_equal(qcbm_check_open(t->s.img, &o, &report, &r, sizeof(r), &err), QCBM_E_ABORTED);
    assert_null(report);
    free(told.text);
    o.struct_size = 0;
    assert_int_equal(qcbm_check_open(t->s.img, &o, &report, &r, sizeof(r), &err), QCBM_E_ARG);
    assert_ok(qcbm_check_open(t->s.img, NULL, &report, &r, sizeof(r), &err), &err);
    assert_int_equal(qcbm_check_fill(report, 5, page, 0, 1, &got, &next, &err), QCBM_E_ARG);
    assert_int_equal(got, 0);
    assert_int_equal(next, 5);
    qcbm_check_close(report);
    qcbm_check_close(NULL);
}

static void no_memory_is_told_as_that(void **state)
{
    struct bench *t = bench_open(state, build_rich);
    struct fail_report fired = { .fired = true };
    unsigned failed = 0;

    for (uint64_t at = 1; fired.fired; at++) {
        struct fail_plan plan = { FAIL_ALLOC, at, FAIL_ERROR, 0 };
        struct qcbm_check_report *report;
        struct qcbm_check_result r;
        struct qcbm_error err = { 0 };
        int ret;

        fail_arm(&plan);
        ret = qcbm_check_open(t->s.img, NULL, &report, &r, sizeof(r), &err);
        qcbm_check_close(report);
        fired = fail_disarm();
        assert_true(ret == 0 || (ret == QCBM_E_NOMEM && err.code == QCBM_E_NOMEM && !report));
        assert_int_equal(fired.live_blocks, 0);
        failed += ret != 0;
    }
    assert_true(failed > 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        image_test(pages_are_what_the_callback_gets),
        image_test(what_does_not_fit_is_counted),
        image_test(no_report_is_left_of_a_check_that_fails),
        image_test(no_memory_is_told_as_that),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
