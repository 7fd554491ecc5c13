/* test_verdict.c - may a stranger's image be passed on: a reason a kind, counted, and the end by the caller
 * SPDX-License-Identifier: MIT */
#include "image_unit.h"

struct told {
    char text[1024];
    size_t n, stop_at;
};

static int tell(void *opaque, const struct qcbm_verdict_reason *r)
{
    struct told *t = opaque;
    size_t n = strlen(t->text);

    assert_null(strchr(r->message, '\n'));
    snprintf(t->text + n, sizeof(t->text) - n, "%s%s*%llu ", r->refuse ? "!" : "", r->code,
             (unsigned long long)r->count);
    return ++t->n == t->stop_at;
}

static int judge(const struct image_builder *b, struct told *t, struct qcbm_verdict *v, struct qcbm_error *err)
{
    struct qcbm_verdict_options o = QCBM_VERDICT_OPTIONS_INIT;
    struct qcbm_image *img = build_open(b, 0);
    int ret;

    o.reason = tell;
    o.opaque = t;
    ret = qcbm_verdict(img, &o, v, sizeof(*v), err);
    qcbm_close(img);
    return ret;
}

static void expect(const struct image_builder *b, const char *want)
{
    struct told told = { .n = 0 };
    struct qcbm_error err = { 0 };
    struct qcbm_verdict v;

    assert_ok(judge(b, &told, &v, &err), &err);
    assert_string_equal(told.text, want);
    assert_int_equal(v.harmless, strchr(want, '!') == NULL);
    assert_int_equal(v.reasons + v.notes, told.n);
}

static void start(struct image_builder *b, struct build_options opt)
{
    opt.size = KIB(64);
    build_start(b, &opt);
    build_data(b, 0);
}

static void a_plain_image_is_harmless(void **state)
{
    struct image_builder *b = bench_builder(state);

    start(b, (struct build_options){ 0 });
    build_finish(b);
    expect(b, "");
}

static void each_name_of_another_file_is_a_reason(void **state)
{
    static const struct {
        const char *backing, *format, *want;
    } cases[] = {
        { "base", "raw", "!backing-file*1 " },
        { "base", NULL, "!backing-file*1 !backing-format-missing*1 " },
        { "nbd:unix:/x", "raw", "!backing-file*1 !name-protocol*1 " },
        { "/dev/sda", "raw", "!backing-file*1 !name-device*1 " },
        { "a\033b", "raw", "!name-characters*1 !backing-file*1 " },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct image_builder b;

        start(&b, (struct build_options){ .backing = cases[i].backing, .backing_format = cases[i].format });
        build_finish(&b);
        expect(&b, cases[i].want);
        build_free(&b);
    }
}

static void what_is_not_known_is_a_reason_or_a_note(void **state)
{
    struct image_builder *b = bench_builder(state);

    start(b, (struct build_options){ .compatible = UINT64_C(1) << 50, .autoclear = UINT64_C(1) << 60 });
    build_extension(b, 0x12345678, "x", 1);
    build_finish(b);
    expect(b, "unknown-extension*1 !feature-compatible*1 !feature-autoclear*1 ");
}

/* However often it is met: an image cannot make the answer long. */
static void what_the_check_finds_is_counted_by_kind(void **state)
{
    struct image_builder *b = bench_builder(state);
    uint64_t entry;

    start(b, (struct build_options){ 0 });
    build_clusters(b, 3);
    entry = build_l2_entry(b, 512);
    build_finish(b);
    be64_store(b->bytes + entry, 2);
    be64_store(b->bytes + entry + 8, 4);
    expect(b, "!l2-reserved-bits*2 cluster-leaked*3 ");
}

static void the_caller_can_stop_at_each_reason(void **state)
{
    struct image_builder *b = bench_builder(state);

    start(b, (struct build_options){ .backing = "/dev/x" });
    build_finish(b);
    for (size_t stop = 1; stop <= 3; stop++) {
        struct told told = { .stop_at = stop };
        struct qcbm_error err = { 0 };
        struct qcbm_verdict v;

        assert_failure(judge(b, &told, &v, &err), &err, QCBM_E_ABORTED, QCBM_NO_OFFSET, "stopped by the caller");
        assert_int_equal(told.n, stop);
    }
}

static void a_refused_image_has_a_reason_unless_it_is_the_file(void **state)
{
    struct qcbm_error by_header = { .code = QCBM_E_CORRUPT, .offset = 20, .message = "cluster_bits" };
    struct qcbm_error by_file = { .code = QCBM_E_IO, .offset = QCBM_NO_OFFSET, .message = "no" };
    struct qcbm_error err = { 0 };
    struct qcbm_verdict v;

    (void)state;
    assert_int_equal(qcbm_verdict_refused(&by_header, NULL, &v, sizeof(v), &err), 0);
    assert_true(!v.harmless && v.reasons == 1);
    assert_int_equal(qcbm_verdict_refused(&by_file, NULL, &v, sizeof(v), &err), QCBM_E_IO);
    assert_string_equal(err.message, "no");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        image_test(a_plain_image_is_harmless),
        cmocka_unit_test(each_name_of_another_file_is_a_reason),
        image_test(what_is_not_known_is_a_reason_or_a_note),
        image_test(what_the_check_finds_is_counted_by_kind),
        image_test(the_caller_can_stop_at_each_reason),
        cmocka_unit_test(a_refused_image_has_a_reason_unless_it_is_the_file),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
