/* test_counts.c - counters that are mostly 0 or 1, against a plain array
 * SPDX-License-Identifier: MIT */
#include "unit.h"

#include <stdlib.h>
#include <string.h>

#include "base/counts.h"

enum { N = 3 * QCBMI_COUNTS_CHUNK + 100 };

static void add(struct qcbmi_counts *c, uint64_t first, uint64_t n, uint64_t weight, uint64_t max, uint64_t excess)
{
    uint64_t got = 0;

    assert_int_equal(qcbmi_counts_add(c, first, n, weight, max, &got, NULL), 0);
    assert_true(got == excess);
}

static void fresh_counters_are_zero(void **state)
{
    struct qcbmi_counts c;

    (void)state;
    assert_int_equal(qcbmi_counts_init(&c, 0, N, NULL), 0);
    assert_true(qcbmi_counts_get(&c, 0) == 0 && qcbmi_counts_get(&c, N - 1) == 0 && qcbmi_counts_get(&c, N) == 0);
    assert_true(qcbmi_counts_used_end(&c, N) == 0);
    assert_true(qcbmi_counts_next_shared(&c, 0, N) == N);
    qcbmi_counts_free(&c);
    qcbmi_counts_free(&c);
}

static void full_chunks_take_no_memory(void **state)
{
    struct qcbmi_counts c;
    uint64_t before;

    (void)state;
    assert_int_equal(qcbmi_counts_init(&c, 0, N, NULL), 0);
    before = c.bytes;
    add(&c, 0, 2 * QCBMI_COUNTS_CHUNK, 1, 1, 0);
    assert_true(c.bytes == before);
    assert_true(qcbmi_counts_number_of_ones(&c, 0, N) == 2 * QCBMI_COUNTS_CHUNK);
    add(&c, 5, 1, 1, 65535, 0);
    assert_true(qcbmi_counts_get(&c, 5) == 2 && qcbmi_counts_get(&c, 4) == 1);
    assert_true(qcbmi_counts_next_shared(&c, 0, N) == 5);
    assert_true(qcbmi_counts_used_end(&c, N) == 2 * QCBMI_COUNTS_CHUNK);
    qcbmi_counts_cut(&c, 0);
    assert_true(c.bytes == before);
    qcbmi_counts_free(&c);
}

/* Whatever their value, and whatever they were on the way. */
static void chunks_of_one_value_take_no_memory(void **state)
{
    static const uint64_t values[] = { 1, 11, 300, 70000, UINT64_C(1) << 40 };

    (void)state;
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        struct qcbmi_counts c;
        uint64_t before;

        assert_int_equal(qcbmi_counts_init(&c, 0, N, NULL), 0);
        before = c.bytes;
        add(&c, 10, 1000, values[i], UINT64_MAX, 0);
        assert_true(c.bytes > before);
        add(&c, 0, 10, values[i], UINT64_MAX, 0);
        assert_true(c.bytes > before);
        add(&c, 1010, QCBMI_COUNTS_CHUNK - 1010, values[i], UINT64_MAX, 0);
        assert_true(c.bytes == before);
        assert_true(qcbmi_counts_get(&c, 0) == values[i] && qcbmi_counts_get(&c, QCBMI_COUNTS_CHUNK) == 0);
        assert_true(qcbmi_counts_next_shared(&c, 0, N) == (values[i] > 1 ? 0 : N));
        add(&c, 0, QCBMI_COUNTS_CHUNK, 1, UINT64_MAX, 0);
        assert_true(c.bytes == before && qcbmi_counts_get(&c, 77) == values[i] + 1);
        qcbmi_counts_free(&c);
    }
}

static void widths_grow_with_the_values(void **state)
{
    static const uint64_t values[] = { 1, 2, 255, 256, 65535, 65536, UINT32_MAX, UINT64_C(1) << 32, UINT64_MAX };
    struct qcbmi_counts c;

    (void)state;
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        assert_int_equal(qcbmi_counts_init(&c, QCBMI_COUNTS_CHUNK, QCBMI_COUNTS_CHUNK + 64, NULL), 0);
        add(&c, QCBMI_COUNTS_CHUNK + 3, 1, 1, UINT64_MAX, 0);
        add(&c, QCBMI_COUNTS_CHUNK + 3, 2, values[i] - 1, UINT64_MAX, 0);
        assert_true(qcbmi_counts_get(&c, QCBMI_COUNTS_CHUNK + 3) == values[i]);
        assert_true(qcbmi_counts_get(&c, QCBMI_COUNTS_CHUNK + 4) == values[i] - 1);
        assert_true(qcbmi_counts_get(&c, QCBMI_COUNTS_CHUNK + 5) == 0);
        qcbmi_counts_free(&c);
    }
}

static void nothing_counts_beyond_the_maximum(void **state)
{
    struct qcbmi_counts c;

    (void)state;
    assert_int_equal(qcbmi_counts_init(&c, 0, 64, NULL), 0);
    add(&c, 1, 2, 1, 1, 0);
    add(&c, 0, 3, 1, 1, 2);
    add(&c, 0, 1, 10, 1, 10);
    add(&c, 7, 1, 5, 3, 2);
    assert_true(qcbmi_counts_get(&c, 0) == 1 && qcbmi_counts_get(&c, 7) == 3);
    add(&c, 60, UINT64_MAX, 1, 1, 0); /* what is not kept is left out */
    assert_true(qcbmi_counts_number_of_ones(&c, 60, 1000) == 4);
    qcbmi_counts_free(&c);
}

struct plain {
    uint64_t at[N], excess;
};

static void add_plainly(struct plain *p, uint64_t first, uint64_t n, uint64_t weight, uint64_t max)
{
    for (uint64_t i = first; i < first + n && i < N; i++) {
        uint64_t room = max > p->at[i] ? max - p->at[i] : 0;

        p->excess += weight > room ? weight - room : 0;
        p->at[i] += weight < room ? weight : room;
    }
}

static void compare_with_plain(const struct qcbmi_counts *c, const struct plain *p, uint64_t from, uint64_t end)
{
    uint64_t ones = 0, shared = end, used = 0;

    for (uint64_t i = from; i < end; i++) {
        assert_true(qcbmi_counts_get(c, i) == p->at[i]);
        ones += p->at[i] == 1;
        shared = shared == end && p->at[i] > 1 ? i : shared;
    }
    for (uint64_t i = 0; i < end; i++)
        used = p->at[i] ? i + 1 : used;
    assert_true(qcbmi_counts_number_of_ones(c, from, end) == ones);
    assert_true(qcbmi_counts_next_shared(c, from, end) == shared);
    assert_true(qcbmi_counts_used_end(c, end) == used);
}

static void compare_with_other(const struct qcbmi_counts *c, const struct qcbmi_counts *d, const struct plain *p,
                               const struct plain *q)
{
    for (uint64_t i = 0, next = 0; i < N; i++) {
        if (next == i)
            next = qcbmi_counts_next_difference(c, d, i, N);
        assert_true((p->at[i] != q->at[i]) == (next == i));
        next += next == i;
    }
}

/* Weights and maxima of all widths; the second has nearly the same, in pieces. */
static void equals_a_plain_array(void **state)
{
    static const uint64_t maxima[] = { 1, 3, 15, 255, 65535, UINT32_MAX, UINT64_MAX };
    static struct plain p, q;
    uint64_t seed = 1;

    (void)state;
    for (int turn = 0; turn < 14; turn++) {
        uint64_t max = maxima[turn % 7], excess = 0, excess_d = 0;
        struct qcbmi_counts c, d;

        p = q = (struct plain){ .excess = 0 };
        assert_int_equal(qcbmi_counts_init(&c, 0, N, NULL), 0);
        assert_int_equal(qcbmi_counts_init(&d, 0, N, NULL), 0);
        for (int round = 0; round < 120; round++) {
            uint64_t first = next_random(&seed) % N, n = next_random(&seed) % (round % 3 ? 70 : 9000) + 1;
            uint64_t r = next_random(&seed), weight = round % 5 ? 1 : r % 7 == 0 ? 0 : r >> r % 64;

            first = round % 4 ? first : first / QCBMI_COUNTS_CHUNK * QCBMI_COUNTS_CHUNK;
            weight = turn < 7 ? weight % 5 : weight;
            assert_int_equal(qcbmi_counts_add(&c, first, n, weight, max, &excess, NULL), 0);
            add_plainly(&p, first, n, weight, max);
            if (round % 40 == 0)
                continue;
            assert_int_equal(qcbmi_counts_add(&d, first, n / 2, weight, max, &excess_d, NULL), 0);
            assert_int_equal(qcbmi_counts_add(&d, first + n / 2, n - n / 2, weight, max, &excess_d, NULL), 0);
            add_plainly(&q, first, n, weight, max);
        }
        assert_true(excess == p.excess && excess_d == q.excess);
        compare_with_plain(&c, &p, 0, N);
        compare_with_plain(&c, &p, 77, QCBMI_COUNTS_CHUNK + 5);
        compare_with_other(&c, &d, &p, &q);
        qcbmi_counts_free(&c);
        qcbmi_counts_free(&d);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fresh_counters_are_zero),
        cmocka_unit_test(full_chunks_take_no_memory),
        cmocka_unit_test(chunks_of_one_value_take_no_memory),
        cmocka_unit_test(widths_grow_with_the_values),
        cmocka_unit_test(nothing_counts_beyond_the_maximum),
        cmocka_unit_test(equals_a_plain_array),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
