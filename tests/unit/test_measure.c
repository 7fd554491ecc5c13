/* test_measure.c - how large a copy would be: what qemu-img measure says of the same images and options
 * SPDX-License-Identifier: MIT */
#include "image_unit.h"

#include "fixture.h"

/* The numbers are those of qemu-img 7.2. */
static void a_copy_is_as_large_as_qemu_says(void **state)
{
    static const struct {
        const char *name; /* NULL: a new image of @size */
        uint64_t size;
        uint32_t cluster_size, refcount_bits;
        uint64_t required, full, bitmaps;
        bool has_bitmaps;
    } cases[] = {
        { "tiny-plain", 0, 0, 0, 393216, 393216, 327680, true },
        { "tiny-plain", 0, 4096, 8, 32768, 86016, 20480, true },
        { "tiny-snapshots", 0, 0, 0, 393216, 393216, 196608, true },
        { "tiny-version2", 0, 0, 0, 393216, 393216, 0, false },
        { "one-bitmaps", 0, 0, 0, 393216, 1376256, 327680, true },
        { NULL, GIB(1), 0, 0, 393216, 1074135040, 0, false },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct qcbm_image *img = cases[i].name ? fixture_open(cases[i].name) : NULL;
        struct qcbm_measure_options opt = QCBM_MEASURE_OPTIONS_INIT;
        struct qcbm_measure m;
        struct qcbm_error err = { 0 };

        opt.cluster_size = cases[i].cluster_size;
        opt.refcount_bits = cases[i].refcount_bits;
        assert_ok(qcbm_measure(img, cases[i].size, &opt, &m, sizeof(m), &err), &err);
        assert_int_equal(m.required, cases[i].required);
        assert_int_equal(m.fully_allocated, cases[i].full);
        assert_int_equal(m.bitmaps, cases[i].bitmaps);
        assert_int_equal(m.has_bitmaps, cases[i].has_bitmaps);
        qcbm_close(img);
    }
}

static void all_at_once_needs_the_whole_from_the_start(void **state)
{
    struct qcbm_image *img = fixture_open("one-bitmaps");
    struct qcbm_measure_options opt = QCBM_MEASURE_OPTIONS_INIT;
    struct qcbm_measure m;
    struct qcbm_error err = { 0 };

    (void)state;
    opt.flags = QCBM_MEASURE_PREALLOCATED;
    assert_ok(qcbm_measure(img, 0, &opt, &m, sizeof(m), &err), &err);
    assert_int_equal(m.required, 1376256);
    assert_int_equal(m.fully_allocated, 1376256);
    qcbm_close(img);
}

static void options_that_no_image_has_are_refused(void **state)
{
    static const struct {
        uint32_t cluster_size, refcount_bits, version;
        uint64_t size;
        int code;
    } cases[] = {
        { 1000, 0, 0, GIB(1), QCBM_E_ARG },    { 256, 0, 0, GIB(1), QCBM_E_ARG }, { 0, 3, 0, GIB(1), QCBM_E_ARG },
        { 0, 128, 0, GIB(1), QCBM_E_ARG },     { 0, 0, 4, GIB(1), QCBM_E_ARG },   { 0, 8, 2, GIB(1), QCBM_E_ARG },
        { 512, 0, 0, GIB(256), QCBM_E_LIMIT },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct qcbm_measure_options opt = QCBM_MEASURE_OPTIONS_INIT;
        struct qcbm_measure m;
        struct qcbm_error err = { 0 };

        opt.cluster_size = cases[i].cluster_size;
        opt.refcount_bits = cases[i].refcount_bits;
        opt.version = cases[i].version;
        assert_int_equal(qcbm_measure(NULL, cases[i].size, &opt, &m, sizeof(m), &err), cases[i].code);
        assert_int_equal(err.code, cases[i].code);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_copy_is_as_large_as_qemu_says),
        cmocka_unit_test(all_at_once_needs_the_whole_from_the_start),
        cmocka_unit_test(options_that_no_image_has_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
