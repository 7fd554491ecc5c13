/* test_delta_faults.c - a delta made, and read, in which one allocation fails: one error, nothing leaked, no file
 * SPDX-License-Identifier: MIT */
#include <unistd.h>

#include "image_unit.h"

#include "fail_calls.h"

static void build_layer(struct image_builder *b)
{
    build_start(b, &(struct build_options){ .size = MIB(1), .cluster_bits = 16 });
    build_data(b, 0);
    build_data(b, KIB(256));
    build_finish(b);
}

static int make(const struct image_builder *b, const char *path, const char *form, unsigned compression,
                struct qcbm_error *err)
{
    struct qcbm_delta_options o = QCBM_DELTA_OPTIONS_INIT;
    struct qcbm_image *img = NULL;
    struct qcbm_mem *mem;
    int ret = qcbm_mem_new(b->bytes, b->len, &mem, err);

    if (ret == 0)
        ret = qcbm_open_io(qcbm_mem_ops(), mem, 0, &img, err);
    if (ret < 0)
        return ret;
    qcbm_set_threads(img, 1);
    o.flags = QCBM_DELTA_LAYER;
    o.form = form;
    o.compression = compression;
    o.id = "0123456789abcdef0123456789abcdef";
    ret = qcbm_delta(img, path, -1, &o, NULL, 0, err);
    qcbm_close(img);
    return ret;
}

/* With allocation @at failing. False when there are not so many. */
static bool making_fails(const struct image_builder *b, const char *path, const char *form, unsigned compression,
                         uint64_t at)
{
    struct qcbm_error err = { 0 };
    struct fail_report report;
    int ret;

    fail_arm(&(struct fail_plan){ FAIL_ALLOC, at, FAIL_ERROR, 0 });
    ret = make(b, path, form, compression, &err);
    report = fail_disarm();
    if (report.live_blocks)
        fail_msg("%s, allocation %llu: %lld blocks are left", form, (unsigned long long)at,
                 (long long)report.live_blocks);
    if (ret == 0)
        return report.fired; /* a sample that is left out */
    assert_int_equal(ret, QCBM_E_NOMEM);
    assert_int_equal(err.code, QCBM_E_NOMEM);
    assert_int_equal(access(path, F_OK), -1);
    return true;
}

static void an_allocation_that_fails_makes_no_delta(void **state)
{
    static const char *const forms[] = { "qcow2", "raw+map" };
    struct image_builder b;

    (void)state;
    build_layer(&b);
    for (unsigned i = 0; i < 3; i++) {
        const char *form = forms[i == 2], *path;
        uint64_t at = 1;
        struct temp_dir dir;

        temp_dir_make(&dir);
        path = temp_path(&dir, "d");
        while (making_fails(&b, path, form, i == 1 ? QCBM_DELTA_ZLIB : QCBM_DELTA_PLAIN, at)) {
            unlink(path);
            unlink(temp_path(&dir, "d.map"));
            unlink(temp_path(&dir, "d.json"));
            at++;
            path = temp_path(&dir, "d");
        }
        assert_true(at > 20);
        temp_dir_remove(&dir);
    }
    build_free(&b);
}

static void an_allocation_that_fails_reads_no_delta(void **state)
{
    struct image_builder b;
    struct temp_dir dir;
    struct qcbm_error err;
    bool fired = true;
    char path[128];

    (void)state;
    build_layer(&b);
    temp_dir_make(&dir);
    for (unsigned i = 0; i < 2; i++) {
        snprintf(path, sizeof(path), "%s", temp_path(&dir, i ? "raw" : "qcow2"));
        assert_ok(make(&b, path, i ? "raw+map" : "qcow2", 0, &err), &err);
        fired = true;
        for (uint64_t at = 1; fired; at++) {
            struct qcbm_delta_info info;
            struct fail_report report;
            int ret;

            fail_arm(&(struct fail_plan){ FAIL_ALLOC, at, FAIL_ERROR, 0 });
            ret = qcbm_delta_get_info(path, QCBM_DELTA_VERIFY, NULL, &info, sizeof(info), &err);
            report = fail_disarm();
            fired = report.fired;
            assert_int_equal(report.live_blocks, 0);
            assert_int_equal(ret, fired ? QCBM_E_NOMEM : 0);
        }
    }
    temp_dir_remove(&dir);
    build_free(&b);
}

static void a_time_before_1970_is_refused(void **state)
{
    struct qcbm_delta_options o = QCBM_DELTA_OPTIONS_INIT;
    struct qcbm_image *img = NULL;
    struct qcbm_error err = { 0 };
    struct image_builder b;
    struct qcbm_mem *mem;

    (void)state;
    build_layer(&b);
    assert_int_equal(qcbm_mem_new(b.bytes, b.len, &mem, &err), 0);
    assert_int_equal(qcbm_open_io(qcbm_mem_ops(), mem, 0, &img, &err), 0);
    o.flags = QCBM_DELTA_LAYER | QCBM_DELTA_DRY_RUN;
    assert_int_equal(qcbm_delta(img, NULL, -1, &o, NULL, 0, &err), 0);
    o.created = -1;
    assert_failure(qcbm_delta(img, NULL, -1, &o, NULL, 0, &err), &err, QCBM_E_ARG, QCBM_NO_OFFSET, "before 1970");
    qcbm_close(img);
    build_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_allocation_that_fails_makes_no_delta),
        cmocka_unit_test(an_allocation_that_fails_reads_no_delta),
        cmocka_unit_test(a_time_before_1970_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
