/* test_checkpoint_faults.c - a checkpoint of several disks, and its recovery, in which one call fails, whichever it is
 * SPDX-License-Identifier: MIT */
#include "fail_calls.h"
#include <errno.h>

#include "image_unit.h"

#define N 2u

static const char *const names[N] = { "vda", "vdb" };
/* One call fails; or the disk is full from there on, until somebody makes room and recovers. */
static const struct {
    enum fail_call call;
    enum fail_how how;
    int sys_errno;
} faults[] = {
    { FAIL_ALLOC, FAIL_ERROR, ENOMEM }, { FAIL_OPEN, FAIL_ERROR, EIO },    { FAIL_LOCK, FAIL_ERROR, EIO },
    { FAIL_READ, FAIL_ERROR, EIO },     { FAIL_WRITE, FAIL_ERROR, EIO },   { FAIL_FLUSH, FAIL_ERROR, EIO },
    { FAIL_GROW, FAIL_ERROR, EIO },     { FAIL_RESERVE, FAIL_ERROR, EIO }, { FAIL_SEEK, FAIL_ERROR, EIO },
    { FAIL_WRITE, FAIL_ALL, ENOSPC },   { FAIL_GROW, FAIL_ALL, ENOSPC },   { FAIL_RESERVE, FAIL_ALL, ENOSPC },
    { FAIL_FLUSH, FAIL_ALL, ENOSPC },
};

struct machine {
    const struct temp_dir *dir;
    struct image_builder b[N];
    struct qcbm_checkpoint_disk disks[N];
    char image[N][128], overlay[128], journal[128];
};

static void machine_make(struct machine *m, void **state)
{
    memset(m, 0, sizeof(*m));
    m->dir = bench_dir(state);
    snprintf(m->overlay, sizeof(m->overlay), "%s/new.qcow2", m->dir->path);
    snprintf(m->journal, sizeof(m->journal), "%s/C1.qcbm-checkpoint", m->dir->path);
    for (unsigned i = 0; i < N; i++) {
        snprintf(m->image[i], sizeof(m->image[i]), "%s/%u.qcow2", m->dir->path, i);
        m->disks[i] = (struct qcbm_checkpoint_disk){ names[i], m->image[i], i ? m->overlay : NULL };
        build_start(&m->b[i], &(struct build_options){ .size = KIB(64), .cluster_bits = 9 });
        build_data(&m->b[i], 4096);
        build_bitmap(&m->b[i], "old", 12, 2, NULL, 0);
        build_finish(&m->b[i]);
    }
}

static void machine_reset(struct machine *m)
{
    char path[160];

    for (unsigned i = 0; i < N; i++) {
        unlink(m->image[i]);
        snprintf(path, sizeof(path), "%s.qcbm-journal", m->image[i]);
        unlink(path);
        build_write_file(&m->b[i], m->image[i]);
    }
    unlink(m->overlay);
    snprintf(path, sizeof(path), "%s.qcbm-journal", m->overlay);
    unlink(path);
    snprintf(path, sizeof(path), "%s.qcbm-new", m->overlay);
    unlink(path);
    unlink(m->journal);
    snprintf(path, sizeof(path), "%s.qcbm-new", m->journal);
    unlink(path);
}

static int create(struct machine *m, struct qcbm_error *err)
{
    return qcbm_checkpoint_create("C1", m->disks, sizeof(m->disks[0]), N, NULL, NULL, 0, err);
}

static bool has(const char *path)
{
    struct qcbm_image *img;
    struct qcbm_error err = { 0 };
    bool found = false, old = false;

    if (access(path, F_OK) != 0)
        return false;
    assert_ok(qcbm_open(path, QCBM_OPEN_WRITE, &img, &err), &err); /* no link is left, either */
    for (uint32_t i = 0; i < bitmap_count(img); i++) {
        struct qcbm_bitmap_info b;

        qcbm_bitmap_get(img, i, &b, sizeof(b));
        assert_true(b.enabled && !b.in_use && b.usable);
        found |= strcmp(b.name, "C1") == 0;
        old |= strcmp(b.name, "old") == 0;
    }
    assert_true(old);
    qcbm_close(img);
    return found;
}

/* All have it, or none. */
static bool judge(const struct machine *m)
{
    bool a = has(m->image[0]), b = has(m->overlay);

    assert_false(has(m->image[1]));
    assert_true(a == b);
    assert_int_not_equal(access(m->journal, F_OK), 0);
    return a;
}

static void whichever_call_of_a_create_fails(void **state)
{
    struct machine m;
    unsigned fired = 0, open_journals = 0;

    machine_make(&m, state);
    for (size_t k = 0; k < ARRAY_LEN(faults); k++)
        for (uint64_t at = 1; at < 5000; at++) {
            struct qcbm_error err = { 0 };
            struct fail_report report;
            bool journal;
            int ret;

            machine_reset(&m);
            fail_arm(&(struct fail_plan){ faults[k].call, at, faults[k].how, faults[k].sys_errno });
            ret = create(&m, &err);
            report = fail_disarm();
            assert_int_equal(report.live_blocks, 0);
            journal = access(m.journal, F_OK) == 0;
            open_journals += journal;
            if (journal) {
                assert_true(ret < 0);
                assert_non_null(strstr(err.message, "recover"));
                assert_ok(qcbm_checkpoint_recover(m.journal, NULL, NULL, 0, &err), &err);
                (void)judge(&m);
            } else {
                bool there = judge(&m);

                if (there != (ret == 0))
                    print_error("fault %d, call %llu: %d, %s\n", (int)k, (unsigned long long)at, ret, err.message);
                assert_true(there == (ret == 0));
            }
            if (!report.fired)
                break;
            fired++;
        }
    assert_true(fired > 200);
    assert_true(open_journals > 3);
    for (unsigned i = 0; i < N; i++)
        build_free(&m.b[i]);
}

/* A journal that is decided: a flush of a switch had failed. */
static bool leave_journal(struct machine *m, uint64_t at)
{
    struct qcbm_error err = { 0 };

    machine_reset(m);
    fail_arm(&(struct fail_plan){ FAIL_FLUSH, at, FAIL_ALL, EIO });
    (void)create(m, &err);
    fail_disarm();
    return access(m->journal, F_OK) == 0;
}

static void whichever_call_of_a_recovery_fails(void **state)
{
    struct machine m;
    uint64_t flush = 1;
    unsigned fired = 0;

    machine_make(&m, state);
    while (flush < 100 && !leave_journal(&m, flush))
        flush++;
    assert_true(flush < 100);
    flush += 1; /* behind the decision */
    for (size_t k = 0; k < ARRAY_LEN(faults); k++)
        for (uint64_t at = 1; at < 5000; at++) {
            struct qcbm_error err = { 0 };
            struct fail_report report;
            int ret;

            if (!leave_journal(&m, flush))
                break;
            fail_arm(&(struct fail_plan){ faults[k].call, at, faults[k].how, faults[k].sys_errno });
            ret = qcbm_checkpoint_recover(m.journal, NULL, NULL, 0, &err);
            report = fail_disarm();
            assert_int_equal(report.live_blocks, 0);
            if (access(m.journal, F_OK) == 0)
                assert_ok(qcbm_checkpoint_recover(m.journal, NULL, NULL, 0, &err), &err);
            else if (ret < 0)
                assert_true(report.fired);
            (void)judge(&m);
            if (!report.fired)
                break;
            fired++;
        }
    assert_true(fired > 50);
    for (unsigned i = 0; i < N; i++)
        build_free(&m.b[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        image_test(whichever_call_of_a_create_fails),
        image_test(whichever_call_of_a_recovery_fails),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
