/* test_manners.c - a bound on what is read is kept, over all files and threads; without one nothing waits
 * SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdbool.h>
#include <time.h>

#include "io/manners.h"

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Ask for @len bytes as a reader does. */
static void *take(void *len)
{
    for (size_t left = *(const size_t *)len; left > 0;) {
        size_t n = qcbmi_manners_before_read(left);

        assert_in_range(n, 1, left);
        left -= n;
    }
    return NULL;
}

static void without_a_bound_all_may_be_read_at_once(void **state)
{
    (void)state;
    qcbm_set_manners(0, 0);
    assert_int_equal(qcbmi_manners_before_read(SIZE_MAX), SIZE_MAX);
}

/* At least so long: a busy machine takes longer, and never less. The last piece is read when its time begins, and what
 * has begun takes a piece of 256 KiB. */
static void so_many_bytes_take_so_long(void **state)
{
    size_t len = (size_t)1 << 20;
    double begin = now();

    (void)state;
    qcbm_set_manners(0, 4 << 20);
    take(&len);
    assert_true(now() - begin >= 0.1875 - 0.001);
    qcbm_set_manners(0, 0);
}

static void threads_share_the_bound(void **state)
{
    size_t len = (size_t)256 << 10;
    pthread_t threads[4];
    double begin = now();

    (void)state;
    qcbm_set_manners(QCBM_MANNERS_NO_CACHE, 4 << 20);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, take, &len), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    assert_true(now() - begin >= 0.1875 - 0.001);
    qcbm_set_manners(0, 0);
}

/* A rate of which a piece takes longer than the clock will run waits for nothing but its own turn. */
static void the_first_bytes_do_not_wait(void **state)
{
    (void)state;
    qcbm_set_manners(0, 1);
    assert_in_range(qcbmi_manners_before_read(SIZE_MAX), 1, 1 << 20);
    qcbm_set_manners(0, UINT64_MAX);
    for (int i = 0; i < 1000; i++)
        assert_in_range(qcbmi_manners_before_read(SIZE_MAX), 1, 1 << 20);
    qcbm_set_manners(0, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_bound_all_may_be_read_at_once),
        cmocka_unit_test(so_many_bytes_take_so_long),
        cmocka_unit_test(threads_share_the_bound),
        cmocka_unit_test(the_first_bytes_do_not_wait),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
