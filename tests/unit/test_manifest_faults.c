/* test_manifest_faults.c - manifests made, read, and brought up to date by several threads, in which one allocation
 * fails, or a read does: one error, nothing leaked, nothing given out that is whole, and an end
 * SPDX-License-Identifier: MIT */
#include "image_unit.h"

#include "fail_calls.h"

struct file {
    uint8_t bytes[65536];
    size_t len;
};

static struct file old_file; /* a manifest of the disk as it was */
static struct image_builder disk;

static int put(void *opaque, const void *bytes, size_t len)
{
    struct file *f = opaque;

    assert_true(len <= sizeof(f->bytes) - f->len);
    memcpy(f->bytes + f->len, bytes, len);
    f->len += len;
    return 0;
}

/* Reads of the disk, or of the manifest: number @fail_at of them fails. */
static uint64_t n_reads, fail_at;

static int faulty_read(void *self, uint64_t off, void *buf, size_t len, struct qcbm_error *err)
{
    if (__atomic_add_fetch(&n_reads, 1, __ATOMIC_RELAXED) != fail_at)
        return qcbm_mem_ops()->read_at(self, off, buf, len, err);
    err->code = QCBM_E_IO;
    err->offset = off;
    snprintf(err->message, sizeof(err->message), "injected");
    return QCBM_E_IO;
}

static int open_backend(const void *bytes, size_t len, struct qcbm_mem **mem, struct qcbm_io_ops *ops,
                        struct qcbm_error *err)
{
    *ops = *qcbm_mem_ops();
    ops->read_at = faulty_read;
    return qcbm_mem_new(bytes, len, mem, err);
}

/* One of the jobs on a disk and its manifest, from opening to closing; @out gets what it writes. */
enum job { MAKE, UPDATE, VERIFY, N_JOBS };

static int work_on(enum job job, struct qcbm_image *img, struct qcbm_manifest *old, struct file *out,
                   struct qcbm_error *err)
{
    struct qcbm_manifest_options o = QCBM_MANIFEST_OPTIONS_INIT;
    struct qcbm_manifest_result result = { 0 };
    struct qcbm_chain *chain = NULL;
    int ret = qcbm_chain_open(img, &chain, err);

    o.threads = 4;
    o.granularity = 4096;
    o.has_seed = true;
    if (ret == 0 && job == MAKE)
        ret = qcbm_manifest_write(chain, &o, put, out, NULL, 0, err);
    else if (ret == 0 && job == UPDATE)
        ret = qcbm_manifest_update(old, chain, img, "c", &o, put, out, NULL, 0, err);
    else if (ret == 0)
        ret = qcbm_manifest_verify(old, chain, &o, NULL, NULL, &result, sizeof(result), err);
    if (ret == 0 && job == VERIFY)
        out->len = (size_t)result.different_bytes;
    qcbm_chain_close(chain);
    return ret;
}

static int run(enum job job, struct file *out, struct qcbm_error *err)
{
    static struct qcbm_io_ops disk_ops, file_ops;
    struct qcbm_manifest *old = NULL;
    struct qcbm_image *img = NULL;
    struct qcbm_mem *mem;
    int ret = open_backend(disk.bytes, disk.len, &mem, &disk_ops, err);

    memset(out, 0, sizeof(*out));
    n_reads = 0;
    if (ret == 0)
        ret = qcbm_open_io(&disk_ops, mem, 0, &img, err);
    if (ret == 0 && job != MAKE) {
        ret = open_backend(old_file.bytes, old_file.len, &mem, &file_ops, err);
        if (ret == 0)
            ret = qcbm_manifest_open_io(&file_ops, mem, &old, err);
    }
    if (ret == 0)
        ret = work_on(job, img, old, out, err);
    qcbm_manifest_close(old);
    qcbm_close(img);
    return ret;
}

/* 4 MiB, of which the bitmap has the first 64 KiB dirty; a manifest of it, where these were other bytes. */
static int build(void **state)
{
    struct build_options opt = { .size = MIB(4), .cluster_bits = 16 };
    struct qcbm_error err = { 0 };
    uint64_t data, first = 0;

    (void)state;
    build_start(&disk, &opt);
    data = build_clusters(&disk, 1);
    disk.bytes[data] = 1;
    build_bitmap(&disk, "c", 16, 0, &data, 1);
    for (uint64_t i = 0; i < 40; i++) {
        uint64_t at = build_data(&disk, i * KIB(64));

        first = i ? first : at;
        memset(disk.bytes + at, (int)i + 1, KIB(64));
    }
    build_finish(&disk);
    assert_ok(run(MAKE, &old_file, &err), &err);
    memset(disk.bytes + first, 99, KIB(64));
    return 0;
}

static int give_back(void **state)
{
    (void)state;
    build_free(&disk);
    return 0;
}

static void each_allocation_fails(void **state)
{
    (void)state;
    for (enum job job = MAKE; job < N_JOBS; job++) {
        static struct file want, got;
        struct qcbm_error err = { 0 };
        struct fail_report report = { .fired = true };

        assert_ok(run(job, &want, &err), &err);
        assert_true(want.len > 0);
        for (uint64_t at = 1; report.fired; at++) {
            int ret;

            fail_arm(&(struct fail_plan){ FAIL_ALLOC, at, FAIL_ERROR, 0 });
            ret = run(job, &got, &err);
            report = fail_disarm();
            assert_int_equal(report.live_blocks, 0);
            if (ret == 0)
                assert_true(got.len == want.len && memcmp(got.bytes, want.bytes, want.len) == 0);
            else
                assert_int_equal(ret, QCBM_E_NOMEM);
            assert_true(report.fired || ret == 0);
        }
    }
}

/* What is not read of the disk differs from a manifest; all else is an error, and what has been given out by then has
 * no end. */
static void each_read_fails(void **state)
{
    (void)state;
    for (enum job job = MAKE; job < N_JOBS; job++) {
        static struct file want, got;
        struct qcbm_error err = { 0 };
        uint64_t n;

        fail_at = 0;
        assert_ok(run(job, &want, &err), &err);
        n = n_reads;
        assert_true(n > 10);
        for (fail_at = 1; fail_at <= n + 20; fail_at++) {
            int ret = run(job, &got, &err);

            if (ret == 0 && job == VERIFY)
                assert_true(got.len >= want.len);
            else if (ret == 0) /* a bitmap that nobody asks for */
                assert_true(got.len == want.len && memcmp(got.bytes, want.bytes, want.len) == 0);
            else
                assert_true(ret == QCBM_E_IO && strstr(err.message, "injected") &&
                            (job == VERIFY || got.len < want.len));
        }
        fail_at = 0;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_allocation_fails),
        cmocka_unit_test(each_read_fails),
    };

    return cmocka_run_group_tests(tests, build, give_back);
}
