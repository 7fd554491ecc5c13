/* test_map.c - where the bytes of the disk are: what qemu-img map tells of the same images, ranges, and stopping
 * SPDX-License-Identifier: MIT */
#include "image_unit.h"

#include "fixture.h"

/* Runs as text: "0-2048@2560 2048-10240 ...": guest bytes, end not included; "z" zero, "c" compressed, "@" place. */
struct map_text {
    char text[1024];
    uint64_t end; /* where the next run must begin */
    unsigned runs, stop_after;
};

static int add_run(void *opaque, const struct qcbm_map_entry *e)
{
    struct map_text *t = opaque;
    size_t n = strlen(t->text), size = sizeof(t->text);

    assert_int_equal(e->start, t->end);
    assert_true(e->length > 0);
    t->end = e->start + e->length;
    snprintf(t->text + n, size - n, "%s%llu-%llu%s%s", n ? " " : "", (unsigned long long)e->start,
             (unsigned long long)t->end, e->zero ? "z" : "", e->compressed ? "c" : "");
    n = strlen(t->text);
    if (e->offset != QCBM_NO_OFFSET)
        snprintf(t->text + n, size - n, "@%llu", (unsigned long long)e->offset);
    assert_int_equal(e->depth, 0);
    assert_true(e->present == e->data || e->zero);
    return ++t->runs == t->stop_after;
}

/* The texts are what qemu-img 7.2 prints of these images. */
static void the_map_is_that_of_qemu(void **state)
{
    static const struct {
        const char *name, *map;
    } cases[] = {
        { "tiny-plain", "0-2048@2560 2048-10240z 10240-11264@7168 11264-40960z 40960-41984@5120 41984-65536z" },
        { "tiny-snapshots", "0-512@5120 512-1024@3072 1024-32768z" },
        { "tiny-version2", "0-1024@2560 1024-32768z" },
        { "tiny-extended", "0-1024z@81920 1024-2048@82944 2048-20480z@83968 20480-20992@102400 20992-32768z@102912 "
                           "32768-65536z" },
        { "one-bitmaps", "0-131072z 131072-196608@327680 196608-1048576z" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct qcbm_image *img = fixture_open(cases[i].name);
        struct map_text got = { .runs = 0 };
        struct qcbm_error err = { 0 };

        assert_ok(qcbm_map(img, 0, UINT64_MAX, 0, add_run, &got, &err), &err);
        assert_string_equal(got.text, cases[i].map);
        qcbm_close(img);
    }
}

static void a_range_cuts_the_runs_at_its_ends(void **state)
{
    static const struct {
        uint64_t start, length;
        const char *map;
    } cases[] = {
        { 1024, 512, "1024-1536@3584" },
        { 512, 9984, "512-2048@3072 2048-10240z 10240-10496@7168" },
        { 65024, UINT64_MAX, "65024-65536z" },
        { 65536, 512, "" },
        { MIB(1), 1, "" },
        { 0, 0, "" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct qcbm_image *img = fixture_open("tiny-plain");
        struct map_text got = { .end = cases[i].start };
        struct qcbm_error err = { 0 };

        assert_ok(qcbm_map(img, cases[i].start, cases[i].length, 0, add_run, &got, &err), &err);
        assert_string_equal(got.text, cases[i].map);
        qcbm_close(img);
    }
}

static void a_caller_that_has_enough_gets_no_more(void **state)
{
    struct qcbm_image *img = fixture_open("tiny-plain");
    struct map_text got = { .stop_after = 2 };
    struct qcbm_error err = { 0 };

    (void)state;
    assert_failure(qcbm_map(img, 0, UINT64_MAX, 0, add_run, &got, &err), &err, QCBM_E_ABORTED, QCBM_NO_OFFSET,
                   "stopped");
    assert_int_equal(got.runs, 2);
    qcbm_close(img);
}

/* What comes before it has been given. */
static void an_entry_that_cannot_be_read_ends_the_map(void **state)
{
    struct build_options opt = { .size = KIB(64), .cluster_bits = 12 };
    struct image_builder *b = bench_builder(state);
    struct map_text got = { .runs = 0 };
    struct qcbm_error err = { 0 };
    uint64_t data;

    build_start(b, &opt);
    data = build_data(b, 0);
    build_map(b, KIB(32), 0x1200 | BUILD_COPIED, 0); /* no cluster begins there */
    build_finish(b);
    assert_int_equal(qcbm_map(bench_image(state, 0), 0, UINT64_MAX, 0, add_run, &got, &err), QCBM_E_CORRUPT);
    assert_true(err.offset != QCBM_NO_OFFSET && err.message[0] != '\0');
    assert_int_equal(data, KIB(20));
    assert_string_equal(got.text, "0-4096@20480 4096-32768z");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_map_is_that_of_qemu),
        cmocka_unit_test(a_range_cuts_the_runs_at_its_ends),
        cmocka_unit_test(a_caller_that_has_enough_gets_no_more),
        image_test(an_entry_that_cannot_be_read_ends_the_map),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
