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

static void equals_a_plain_array(void **state)
{
    static uint16_t plain[N], other[N];
    struct qcbmi_counts c, d;
    uint64_t seed = 1;

    (void)state;
    assert_int_equal(qcbmi_counts_init(&c, 0, N, NULL), 0);
    assert_int_equal(qcbmi_counts_init(&d, 0, N, NULL), 0);
    for (int round = 0; round < 400; round++) {
        uint64_t first, n, weight;

        seed = seed * 6364136223846793005u + 1442695040888963407u;
        first = (seed >> 33) % N;
        n = (seed >> 20) % (round % 3 ? 70 : 5000) + 1;
        weight = round % 5 ? 1 : (seed >> 50) % 300;
        add(&c, first, n, weight, UINT64_MAX, 0);
        if (round % 40)
            add(&d, first, n, weight, UINT64_MAX, 0);
        for (uint64_t i = first; i < first + n && i < N; i++) {
            plain[i] = (uint16_t)(plain[i] + weight);
            other[i] = (uint16_t)(other[i] + (round % 40 ? weight : 0));
        }
    }
    for (uint64_t i = 0, next = 0; i < N; i++) {
        assert_true(qcbmi_counts_get(&c, i) == plain[i]);
        if (next == i)
            next = qcbmi_counts_next_difference(&c, &d, i, N);
        assert_true((plain[i] != other[i]) == (next == i));
        next += next == i;
    }
    qcbmi_counts_free(&c);
    qcbmi_counts_free(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fresh_counters_are_zero),     cmocka_unit_test(full_chunks_take_no_memory),
        cmocka_unit_test(widths_grow_with_the_values), cmocka_unit_test(nothing_counts_beyond_the_maximum),
        cmocka_unit_test(equals_a_plain_array),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
