/* test_checkpoint_faults.c - a checkpoint of several disks made, mended or reclaimed, and its recovery, in which one
 * call fails, whichever it is
 * SPDX-License-Identifier: MIT */
#include "fail_calls.h"
#include <errno.h>

#include "image_unit.h"

#include "format/q2_bitmap_dir.h"

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

struct machine;
struct action {
    int (*run)(struct machine *m, struct qcbm_error *err);
    bool has_overlay, has_checkpoint;
    uint32_t flags; /* of that */
};

struct machine {
    const struct action *action;
    const struct temp_dir *dir;
    struct image_builder b[N];
    struct qcbm_checkpoint_disk disks[N];
    char image[N][128], overlay[128], journal[128];
};

static void machine_make(struct machine *m, const struct action *action, void **state)
{
    memset(m, 0, sizeof(*m));
    m->action = action;
    m->dir = bench_dir(state);
    snprintf(m->overlay, sizeof(m->overlay), "%s/new.qcow2", m->dir->path);
    snprintf(m->journal, sizeof(m->journal), "%s/C1.qcbm-checkpoint", m->dir->path);
    for (unsigned i = 0; i < N; i++) {
        snprintf(m->image[i], sizeof(m->image[i]), "%s/%u.qcow2", m->dir->path, i);
        m->disks[i] =
            (struct qcbm_checkpoint_disk){ names[i], m->image[i], i && action->has_overlay ? m->overlay : NULL };
        build_start(&m->b[i], &(struct build_options){ .size = KIB(64), .cluster_bits = 9 });
        build_data(&m->b[i], 4096);
        build_bitmap(&m->b[i], "old", 12, Q2_BITMAP_AUTO, NULL, 0);
        if (action->has_checkpoint)
            build_bitmap(&m->b[i], "C1", 12, action->flags, NULL, 0);
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

static void machine_free(struct machine *m)
{
    for (unsigned i = 0; i < N; i++)
        build_free(&m->b[i]);
}

/* ---- what is done, and how it shows --------------------------------------------------------------------- */

static int create(struct machine *m, struct qcbm_error *err)
{
    return qcbm_checkpoint_create("C1", m->disks, sizeof(m->disks[0]), N, NULL, NULL, 0, err);
}

static int mend(struct machine *m, struct qcbm_error *err)
{
    struct qcbm_checkpoint_mend_options o = QCBM_CHECKPOINT_MEND_OPTIONS_INIT;

    o.flags = QCBM_OPEN_WRITE;
    o.journal = m->journal;
    return qcbm_checkpoint_mend(m->disks, sizeof(m->disks[0]), N, "C1", &o, err);
}

static int reclaim(struct machine *m, struct qcbm_error *err)
{
    static const char *const keep[] = { "C1" };
    struct qcbm_checkpoint_reclaim_options o = QCBM_CHECKPOINT_RECLAIM_OPTIONS_INIT;

    o.flags = QCBM_OPEN_WRITE;
    o.journal = m->journal;
    o.keep = keep;
    o.n_keep = 1;
    return qcbm_checkpoint_reclaim(m->disks, sizeof(m->disks[0]), N, &o, err);
}

static const struct action actions[] = {
    { create, true, false, 0 },
    { mend, false, true, 0 }, /* one that is disabled becomes one that records */
    { reclaim, false, true, Q2_BITMAP_AUTO },
};

/* Has the image what it was done for? What it was not done for it has in any case. */
static bool has(const struct machine *m, const char *path)
{
    struct qcbm_image *img;
    struct qcbm_error err = { 0 };
    bool found = false, old = false, records = true;

    if (access(path, F_OK) != 0)
        return false;
    assert_ok(qcbm_open(path, QCBM_OPEN_WRITE, &img, &err), &err); /* no link is left, either */
    for (uint32_t i = 0; i < bitmap_count(img); i++) {
        struct qcbm_bitmap_info b;

        qcbm_bitmap_get(img, i, &b, sizeof(b));
        assert_true(!b.in_use && b.usable);
        records &= b.enabled;
        found |= strcmp(b.name, "C1") == 0;
        old |= strcmp(b.name, "old") == 0;
    }
    qcbm_close(img);
    assert_true(old || m->action->run == reclaim);
    assert_true(found || m->action->run == create);
    assert_true(records || m->action->run == mend);
    return m->action->run == create ? found : m->action->run == mend ? records : !old;
}

static bool is_left(const char *path)
{
    char unfinished[160];

    snprintf(unfinished, sizeof(unfinished), "%s.qcbm-new", path);
    return access(unfinished, F_OK) == 0;
}

/* All have it, or none; and nothing that is unfinished is left. */
static bool judge(const struct machine *m)
{
    bool a = has(m, m->image[0]), b = has(m, m->action->has_overlay ? m->overlay : m->image[1]);

    assert_false(m->action->has_overlay && has(m, m->image[1]));
    assert_true(a == b);
    assert_int_not_equal(access(m->journal, F_OK), 0);
    assert_false(is_left(m->overlay) || is_left(m->journal));
    return a;
}

static void fail_each_call(const struct action *action, void **state)
{
    struct machine m;
    unsigned fired = 0, open_journals = 0;

    machine_make(&m, action, state);
    for (size_t k = 0; k < ARRAY_LEN(faults); k++)
        for (uint64_t at = 1; at < 5000; at++) {
            struct qcbm_error err = { 0 };
            struct fail_report report;
            bool journal;
            int ret;

            machine_reset(&m);
            fail_arm(&(struct fail_plan){ faults[k].call, at, faults[k].how, faults[k].sys_errno });
            ret = action->run(&m, &err);
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
    machine_free(&m);
}

static void whichever_call_of_a_create_fails(void **state)
{
    fail_each_call(&actions[0], state);
}

static void whichever_call_of_a_mend_fails(void **state)
{
    fail_each_call(&actions[1], state);
}

static void whichever_call_of_a_reclaim_fails(void **state)
{
    fail_each_call(&actions[2], state);
}

/* A journal that is decided: a flush of a switch had failed. */
static bool leave_journal(struct machine *m, uint64_t at)
{
    struct qcbm_error err = { 0 };

    machine_reset(m);
    fail_arm(&(struct fail_plan){ FAIL_FLUSH, at, FAIL_ALL, EIO });
    (void)m->action->run(m, &err);
    fail_disarm();
    return access(m->journal, F_OK) == 0;
}

static void fail_each_call_of_a_recovery(const struct action *action, void **state)
{
    struct machine m;
    uint64_t flush = 1;
    unsigned fired = 0;

    machine_make(&m, action, state);
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
    machine_free(&m);
}

static void whichever_call_of_a_recovery_fails(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(actions); i++)
        fail_each_call_of_a_recovery(&actions[i], state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        image_test(whichever_call_of_a_create_fails),
        image_test(whichever_call_of_a_mend_fails),
        image_test(whichever_call_of_a_reclaim_fails),
        image_test(whichever_call_of_a_recovery_fails),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
