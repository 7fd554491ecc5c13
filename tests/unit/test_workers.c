/* test_workers.c - pieces are taken over in their order, the first failure ends it, and no thread stays behind
 * SPDX-License-Identifier: MIT */
#include "unit.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/workers.h"

struct slot {
    unsigned piece;
    uint64_t answer;
};

struct job {
    unsigned n, next, taken;
    unsigned fail_at, stop_at; /* pieces from here on fail in work; the piece at which the taker fails */
    unsigned worked;
    pthread_t caller;
    cpu_set_t processors; /* the caller's */
};

static bool next_piece(void *opaque, void *slot)
{
    struct job *j = opaque;

    assert_true(pthread_equal(j->caller, pthread_self()));
    ((struct slot *)slot)->piece = j->next;
    return j->next < j->n && ++j->next;
}

static uint64_t answer_of(unsigned piece)
{
    uint64_t v = piece;

    for (unsigned i = 0; i < 500 + piece % 7 * 300; i++) /* some pieces take longer */
        v = v * UINT64_C(6364136223846793005) + 1442695040888963407;
    return v;
}

static int work(void *opaque, void *slot, struct qcbm_error *err)
{
    struct job *j = opaque;
    struct slot *s = slot;

    cpu_set_t own;

    __atomic_fetch_add(&j->worked, 1, __ATOMIC_RELAXED);
    if (sched_getaffinity(0, sizeof(own), &own) != 0 || !CPU_EQUAL(&own, &j->processors))
        return qcbmi_fail(err, QCBM_E_IO, s->piece, "a thread may not run where its creator may");
    if (s->piece >= j->fail_at)
        return qcbmi_fail(err, QCBM_E_IO, s->piece, "piece %u", s->piece);
    s->answer = answer_of(s->piece);
    return 0;
}

static int take(void *opaque, void *slot, struct qcbm_error *err)
{
    struct job *j = opaque;
    struct slot *s = slot;

    assert_true(pthread_equal(j->caller, pthread_self()));
    assert_int_equal(s->piece, j->taken);
    assert_int_equal(s->answer, answer_of(s->piece));
    if (s->piece == j->stop_at)
        return qcbmi_fail(err, QCBM_E_ABORTED, s->piece, "stopped");
    j->taken++;
    return 0;
}

static int run(struct job *j, unsigned threads, size_t n_slots, struct qcbm_error *err)
{
    struct slot slots[QCBMI_WORK_SLOTS];
    struct qcbmi_work w = { j, slots, sizeof(slots[0]), n_slots, threads, next_piece, work, take };

    j->caller = pthread_self();
    assert_int_equal(sched_getaffinity(0, sizeof(j->processors), &j->processors), 0);
    return qcbmi_work_run(&w, err);
}

static const unsigned threads[] = { 1, 2, 3, 8, 40 };
static const size_t slots[] = { 1, 2, 5, 32 };
#define EACH_WAY(t, s)                                                                                                 \
    for (size_t t = 0; t < sizeof(threads) / sizeof(threads[0]); t++)                                                  \
        for (size_t s = 0; s < sizeof(slots) / sizeof(slots[0]); s++)

static void all_are_taken_over_in_order(void **state)
{
    static const unsigned counts[] = { 0, 1, 2, 31, 400 };

    (void)state;
    EACH_WAY(t, s)
    {
        for (size_t k = 0; k < 5; k++) {
            struct job j = { .n = counts[k], .fail_at = UINT32_MAX, .stop_at = UINT32_MAX };
            struct qcbm_error err = { .code = 77 };

            assert_int_equal(run(&j, threads[t], slots[s], &err), 0);
            assert_int_equal(j.taken, counts[k]);
            assert_int_equal(err.code, 77); /* untouched */
        }
    }
}

static void the_first_failure_in_order_is_told(void **state)
{
    (void)state;
    EACH_WAY(t, s)
    {
        for (unsigned at = 0; at < 120; at += 7) {
            struct job j = { .n = 120, .fail_at = at, .stop_at = UINT32_MAX };
            struct qcbm_error err = { 0 };
            bool left;

            assert_int_equal(run(&j, threads[t], slots[s], &err), QCBM_E_IO);
            assert_int_equal(err.offset, at);
            assert_int_equal(j.taken, at);
            assert_true(j.worked <= at + 1 + QCBMI_WORK_SLOTS); /* what is behind it is left */
            left = j.next < j.n;                                /* who wants no message gets the code alone */
            assert_int_equal(run(&j, threads[t], slots[s], NULL), left ? QCBM_E_IO : 0);
        }
    }
}

static void who_takes_over_can_end_it(void **state)
{
    (void)state;
    EACH_WAY(t, s)
    {
        for (unsigned at = 0; at < 60; at += 11) {
            struct job j = { .n = 100, .fail_at = UINT32_MAX, .stop_at = at };
            struct qcbm_error err = { 0 };

            assert_int_equal(run(&j, threads[t], slots[s], &err), QCBM_E_ABORTED);
            assert_int_equal(j.taken, at);
            assert_int_equal(err.offset, at);
        }
    }
}

static void threads_are_bounded(void **state)
{
    unsigned found = qcbmi_threads(0, UINT64_MAX);

    (void)state;
    assert_true(found >= 1 && found <= 8);
    assert_int_equal(qcbmi_threads(0, 1), 1);
    assert_int_equal(qcbmi_threads(0, 0), 1);
    assert_int_equal(qcbmi_threads(1, UINT64_MAX), 1);
    assert_int_equal(qcbmi_threads(5, UINT64_MAX), 5);
    assert_int_equal(qcbmi_threads(5, 3), 3);
    assert_int_equal(qcbmi_threads(UINT32_MAX, UINT64_MAX), QCBMI_MAX_THREADS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_are_taken_over_in_order),
        cmocka_unit_test(the_first_failure_in_order_is_told),
        cmocka_unit_test(who_takes_over_can_end_it),
        cmocka_unit_test(threads_are_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
