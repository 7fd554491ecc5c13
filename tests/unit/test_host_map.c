/* test_host_map.c - what the clusters of a file are used for: sums by kind, and one call that fails, whichever it is
 * SPDX-License-Identifier: MIT */
#include "fail_calls.h"

#include <errno.h>

#include "image_unit.h"

#define CLUSTER 4096u
#define MAX_RUNS 64u

struct told {
    struct qcbm_host_extent runs[MAX_RUNS];
    size_t n;
    uint64_t bytes[QCBM_HOST_SNAPSHOTS + 1];
};

static int on_run(void *opaque, const struct qcbm_host_extent *run)
{
    struct told *t = opaque;

    assert_true(t->n < MAX_RUNS && run->kind <= QCBM_HOST_SNAPSHOTS && run->length > 0);
    assert_int_equal(run->offset, t->n ? t->runs[t->n - 1].offset + t->runs[t->n - 1].length : 0);
    t->runs[t->n++] = *run;
    t->bytes[run->kind] += run->length;
    return 0;
}

/* Something of nearly each kind. */
static void build_all(struct image_builder *b)
{
    uint64_t bits;

    build_start(b, &(struct build_options){ .size = MIB(2), .cluster_bits = 12 });
    build_data(b, 0);
    build_data(b, CLUSTER);
    build_snapshot(b, "1", "s");
    build_map(b, CLUSTER, build_data(b, MIB(1)) | BUILD_COPIED, 0); /* of the snapshot alone is what was there */
    build_map(b, MIB(1), 0, 0);
    bits = build_clusters(b, 1);
    build_bitmap(b, "b", 12, 0, &bits, 1);
    build_clusters(b, 1); /* leaked */
    build_map(b, 3 * CLUSTER, build_clusters(b, 1) | BUILD_COPIED, 0);
    build_finish(b);
    build_resize(b, b->len + CLUSTER + 512); /* free, the last one in part */
}

static int map_file(const char *path, struct told *t, struct qcbm_error *err)
{
    struct qcbm_image *img;
    int ret = qcbm_open(path, 0, &img, err);

    memset(t, 0, sizeof(*t));
    if (ret < 0)
        return ret;
    ret = qcbm_host_map(img, on_run, t, NULL, err);
    qcbm_close(img);
    return ret;
}

static void each_kind_has_its_bytes(void **state)
{
    const char *path = temp_path(bench_dir(state), "i");
    struct qcbm_error err = { 0 };
    struct image_builder b;
    struct told t;
    uint64_t sum = 0;

    build_all(&b);
    build_write_file(&b, path);
    assert_ok(map_file(path, &t, &err), &err);
    for (unsigned kind = 0; kind <= QCBM_HOST_SNAPSHOTS; kind++)
        sum += t.bytes[kind];
    assert_int_equal(sum, b.len);
    assert_int_equal(t.bytes[QCBM_HOST_FREE], CLUSTER + 512);
    assert_int_equal(t.bytes[QCBM_HOST_LEAKED], CLUSTER);
    assert_int_equal(t.bytes[QCBM_HOST_DATA], 3 * CLUSTER);
    assert_int_equal(t.bytes[QCBM_HOST_SNAPSHOTS], CLUSTER);
    assert_int_equal(t.bytes[QCBM_HOST_BITMAPS], 3 * CLUSTER); /* directory, table and bits */
    assert_int_equal(t.bytes[QCBM_HOST_TABLES], 4 * CLUSTER);
    assert_int_equal(t.bytes[QCBM_HOST_UNCOUNTED] + t.bytes[QCBM_HOST_COMPRESSED], 0);
    build_free(&b);
}

/* It is one error, and nothing is leaked; or it was made up for, and then all is as it is without it. */
static void whichever_call_fails(void **state)
{
    static const struct {
        enum fail_call call;
        int sys_errno, code;
    } faults[] = { { FAIL_ALLOC, ENOMEM, QCBM_E_NOMEM }, { FAIL_READ, EIO, QCBM_E_IO } };
    const char *path = temp_path(bench_dir(state), "i");
    struct qcbm_error err = { 0 };
    struct image_builder b;
    struct told want, t;

    build_all(&b);
    build_write_file(&b, path);
    assert_ok(map_file(path, &want, &err), &err);
    for (size_t k = 0; k < ARRAY_LEN(faults); k++) {
        bool fired = true;
        uint64_t at;

        for (at = 1; fired; at++) {
            struct fail_report report;
            int ret;

            fail_arm(&(struct fail_plan){ faults[k].call, at, FAIL_ERROR, faults[k].sys_errno });
            ret = map_file(path, &t, &err);
            report = fail_disarm();
            fired = report.fired;
            assert_int_equal(report.live_blocks, 0);
            assert_int_equal(ret, fired ? faults[k].code : 0);
            if (ret == 0)
                assert_memory_equal(&t, &want, sizeof(t));
        }
        assert_true(at > (faults[k].call == FAIL_ALLOC ? 10 : 4));
    }
    build_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        image_test(each_kind_has_its_bytes),
        image_test(whichever_call_fails),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
