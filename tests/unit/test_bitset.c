/* test_bitset.c - the sparse bitset against a plain array of bool
 * SPDX-License-Identifier: MIT */
#include "unit.h"

#include "base/bitset.h"

#define CHUNK ((uint64_t)QCBMI_BITSET_CHUNK_BITS)
#define CHUNK_BYTES (QCBMI_BITSET_CHUNK_BITS / 8)

static const uint64_t sizes[] = { 0,
                                  1,
                                  7,
                                  8,
                                  9,
                                  63,
                                  64,
                                  65,
                                  4095,
                                  CHUNK - 1,
                                  CHUNK,
                                  CHUNK + 1,
                                  CHUNK + 7,
                                  2 * CHUNK - 8,
                                  2 * CHUNK,
                                  2 * CHUNK + 63,
                                  3 * CHUNK + 17 };

struct pair {
    struct qcbmi_bitset set;
    bool *naive;
    uint64_t n;
};

static void pair_init(struct pair *p, uint64_t n)
{
    p->n = n;
    assert_int_equal(qcbmi_bitset_init(&p->set, n, NULL), 0);
    p->naive = calloc((size_t)n + 1, sizeof(bool));
    assert_non_null(p->naive);
}

static void pair_free(struct pair *p)
{
    qcbmi_bitset_free(&p->set);
    free(p->naive);
}

static uint64_t naive_count(const bool *naive, uint64_t first, uint64_t end)
{
    uint64_t n = 0;

    for (; first < end; first++)
        n += naive[first];
    return n;
}

static uint64_t naive_next(const struct pair *p, uint64_t from, bool value)
{
    while (from < p->n && p->naive[from] != value)
        from++;
    return from < p->n ? from : p->n;
}

static void naive_bytes(const struct pair *p, uint64_t first_byte, uint8_t *out, size_t len)
{
    memset(out, 0, len);
    for (size_t i = 0; i < len * 8; i++)
        if (first_byte * 8 + i < p->n && p->naive[first_byte * 8 + i])
            out[i / 8] = (uint8_t)(out[i / 8] | 1u << i % 8);
}

/* Positions at which a fault would show: around bytes, words, chunks, the end. */
static uint64_t some_position(const struct pair *p, uint64_t *seed)
{
    uint64_t at = next_random(seed);

    switch (at >> 8 & 3) {
    case 0:
        at = at / 1024 % (p->n / CHUNK + 1) * CHUNK + (at >> 40) % 5;
        at = at < 2 ? at : at - 2;
        break;
    case 1:
        at = at / 1024 % (p->n / 64 + 1) * 64 + (at >> 50) % 3;
        break;
    case 2:
        at = p->n - (at >> 20) % 10;
        break;
    default:
        at = at / 1024 % (p->n + 1);
        break;
    }
    return at > p->n ? p->n : at;
}

static void some_range(const struct pair *p, uint64_t *seed, uint64_t *first, uint64_t *end)
{
    uint64_t a = some_position(p, seed), b = some_position(p, seed);

    if (next_random(seed) % 4 == 0)
        b = a + next_random(seed) % 20 < p->n ? a + next_random(seed) % 20 : p->n;
    if (b > p->n)
        b = p->n;
    *first = a < b ? a : b;
    *end = a < b ? b : a;
}

static void check_bytes(const struct pair *p, uint64_t first_byte, size_t len)
{
    uint8_t *got = malloc(len ? len : 1), *want = malloc(len ? len : 1);

    assert_non_null(got);
    assert_non_null(want);
    memset(got, 0xa5, len);
    naive_bytes(p, first_byte, want, len);
    qcbmi_bitset_load_bytes(&p->set, first_byte, got, len);
    assert_memory_equal(got, want, len);
    free(got);
    free(want);
}

static void check_all(const struct pair *p)
{
    for (uint64_t i = 0; i < p->n; i++)
        assert_int_equal(qcbmi_bitset_get(&p->set, i), p->naive[i]);
    assert_int_equal(qcbmi_bitset_count(&p->set), naive_count(p->naive, 0, p->n));
    check_bytes(p, 0, (size_t)(p->n / 8 + 3));
}

static void check_some(const struct pair *p, uint64_t *seed)
{
    uint64_t first, end, n;
    enum qcbmi_bitset_state want = QCBMI_BITS_MIXED;

    some_range(p, seed, &first, &end);
    n = naive_count(p->naive, first, end);
    assert_int_equal(qcbmi_bitset_count_range(&p->set, first, end), n);
    if (n == 0)
        want = QCBMI_BITS_CLEAR;
    else if (n == end - first)
        want = QCBMI_BITS_SET;
    assert_int_equal(qcbmi_bitset_state(&p->set, first, end), want);
    assert_int_equal(qcbmi_bitset_next_set(&p->set, first), naive_next(p, first, true));
    assert_int_equal(qcbmi_bitset_next_clear(&p->set, first), naive_next(p, first, false));
    assert_int_equal(qcbmi_bitset_count(&p->set), naive_count(p->naive, 0, p->n));
    check_bytes(p, first / 8, (size_t)((end - first) / 8 + next_random(seed) % 3));
}

static void do_store(struct pair *p, uint64_t first_byte, size_t len, unsigned kind, uint64_t *seed)
{
    uint8_t *in = malloc(len ? len : 1);

    assert_non_null(in);
    for (size_t i = 0; i < len; i++)
        in[i] = kind == 0 ? 0 : kind == 1 ? 0xff : (uint8_t)(next_random(seed) >> 16);
    assert_int_equal(qcbmi_bitset_store_bytes(&p->set, first_byte, in, len, NULL), 0);
    for (size_t i = 0; i < len * 8; i++)
        if (first_byte * 8 + i < p->n)
            p->naive[first_byte * 8 + i] = in[i / 8] >> i % 8 & 1;
    free(in);
}

static void check_outside(const struct pair *p, const struct pair *other)
{
    uint64_t i = 0;

    while (i < p->n && (!p->naive[i] || (i < other->n && other->naive[i])))
        i++;
    assert_int_equal(qcbmi_bitset_first_outside(&p->set, &other->set), i);
}

static void do_or(struct pair *p, uint64_t *seed)
{
    struct pair other;
    uint64_t first, end;

    pair_init(&other, p->n);
    for (int i = 0; i < 4; i++) {
        some_range(p, seed, &first, &end);
        assert_int_equal(qcbmi_bitset_set(&other.set, first, end, NULL), 0);
        memset(other.naive + first, 1, (size_t)(end - first));
    }
    check_outside(p, &other);
    check_outside(&other, p);
    assert_int_equal(qcbmi_bitset_or(&p->set, &other.set, NULL), 0);
    for (uint64_t i = 0; i < p->n; i++)
        p->naive[i] = p->naive[i] || other.naive[i];
    check_outside(&other, p);
    check_all(&other);
    pair_free(&other);
}

static void do_something(struct pair *p, uint64_t *seed)
{
    unsigned op = (unsigned)(next_random(seed) >> 30) % 16;
    uint64_t first, end;

    some_range(p, seed, &first, &end);
    if (op < 6) {
        assert_int_equal(qcbmi_bitset_set(&p->set, first, end, NULL), 0);
        memset(p->naive + first, 1, (size_t)(end - first));
    } else if (op < 11) {
        assert_int_equal(qcbmi_bitset_clear(&p->set, first, end, NULL), 0);
        memset(p->naive + first, 0, (size_t)(end - first));
    } else if (op < 14) {
        do_store(p, first / 8, (size_t)((end - first) / 8 + next_random(seed) % 4), op - 11, seed);
    } else if (op == 14) {
        do_or(p, seed);
    } else if (next_random(seed) % 8 == 0) {
        qcbmi_bitset_clear_all(&p->set);
        memset(p->naive, 0, (size_t)p->n);
    }
}

static void random_operations_equal_an_array_of_bool(void **state)
{
    uint64_t seed = UINT64_C(0x9e3779b97f4a7c15);

    (void)state;
    for (size_t s = 0; s < ARRAY_LEN(sizes); s++) {
        struct pair p;

        pair_init(&p, sizes[s]);
        for (int i = 0; i < 150; i++) {
            do_something(&p, &seed);
            check_some(&p, &seed);
        }
        check_all(&p);
        pair_free(&p);
    }
}

/* Whatever is set, and whatever the last chunk holds behind the end: what comes is clear. And a set that is shorter has
 * nothing of it. */
static void a_set_that_gets_longer_has_nothing_new(void **state)
{
    static const uint64_t more[] = { 0, 1, 7, 64, 200, CHUNK, 3 * CHUNK + 5 };
    uint64_t seed = 11;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
        for (size_t k = 0; k < ARRAY_LEN(more); k++)
            for (int round = 0; round < 6; round++) {
                struct pair p, was;

                pair_init(&p, sizes[i]);
                pair_init(&was, sizes[i]);
                for (int n = 0; n < round * 2; n++)
                    do_something(&p, &seed);
                if (round == 5) {
                    assert_int_equal(qcbmi_bitset_set(&p.set, 0, p.n, NULL), 0);
                    memset(p.naive, 1, (size_t)p.n);
                }
                assert_int_equal(qcbmi_bitset_or(&was.set, &p.set, NULL), 0);
                memcpy(was.naive, p.naive, (size_t)p.n);
                p.n += more[k];
                p.naive = realloc(p.naive, (size_t)p.n + 1);
                assert_non_null(p.naive);
                memset(p.naive + sizes[i], 0, (size_t)more[k]);
                assert_int_equal(qcbmi_bitset_extend(&p.set, p.n, NULL), 0);
                check_all(&p);
                check_outside(&p, &was);
                do_something(&p, &seed);
                check_outside(&p, &was);
                check_some(&p, &seed);
                pair_free(&was);
                pair_free(&p);
            }
}

/* Chunks with few bits are lists, up to some number of them: bits come and go around it. */
static void few_bits_equal_an_array_of_bool(void **state)
{
    uint64_t seed = 7;
    struct pair p;

    (void)state;
    pair_init(&p, CHUNK + 1000);
    for (int i = 0; i < 6000; i++) {
        bool value = next_random(&seed) % 10 < (i / 1500 % 2 ? 2 : 8);
        uint64_t first = next_random(&seed) % (p.n - 3), end = first + 1 + next_random(&seed) % 3;

        assert_int_equal((value ? qcbmi_bitset_set : qcbmi_bitset_clear)(&p.set, first, end, NULL), 0);
        for (; first < end; first++)
            p.naive[first] = value;
        check_some(&p, &seed);
    }
    check_all(&p);
    pair_free(&p);
}

/* Every pair of edges within the first, around the inner, and at the last chunk boundary. */
static void ranges_at_every_edge(void **state)
{
    const uint64_t n = 2 * CHUNK + 13;
    uint64_t edges[60];
    size_t n_edges = 0;

    (void)state;
    for (uint64_t i = 0; i <= 17; i++)
        edges[n_edges++] = i;
    for (uint64_t i = CHUNK - 9; i <= CHUNK + 9; i++)
        edges[n_edges++] = i;
    for (uint64_t i = n - 14; i <= n; i++)
        edges[n_edges++] = i;
    for (size_t a = 0; a < n_edges; a++)
        for (size_t b = a; b < n_edges; b++) {
            struct qcbmi_bitset set;
            uint64_t first = edges[a], end = edges[b];

            assert_int_equal(qcbmi_bitset_init(&set, n, NULL), 0);
            assert_int_equal(qcbmi_bitset_set(&set, first, end, NULL), 0);
            assert_int_equal(qcbmi_bitset_count(&set), end - first);
            assert_int_equal(qcbmi_bitset_count_range(&set, first, end), end - first);
            assert_int_equal(qcbmi_bitset_next_set(&set, 0), first == end ? n : first);
            assert_int_equal(qcbmi_bitset_next_clear(&set, first), end);
            assert_int_equal(qcbmi_bitset_next_set(&set, end), n);
            assert_int_equal(qcbmi_bitset_clear(&set, first, end, NULL), 0);
            assert_int_equal(qcbmi_bitset_count(&set), 0);
            qcbmi_bitset_free(&set);
        }
}

/* How many chunks take memory of their own: neither NULL nor the mark that full chunks share. */
static size_t mixed_chunks(const struct qcbmi_bitset *set)
{
    struct qcbmi_bitset full;
    size_t n = 0;

    assert_int_equal(qcbmi_bitset_init(&full, 1, NULL), 0);
    assert_int_equal(qcbmi_bitset_set(&full, 0, 1, NULL), 0);
    for (uint64_t i = 0; i < set->n_chunks; i++)
        n += set->chunks[i] && set->chunks[i] != full.chunks[0];
    qcbmi_bitset_free(&full);
    return n;
}

static void uniform_chunks_take_no_memory(void **state)
{
    struct qcbmi_bitset set;
    const uint64_t n = 3 * CHUNK + 100;

    (void)state;
    assert_int_equal(qcbmi_bitset_init(&set, n, NULL), 0);
    assert_int_equal(set.n_chunks, 4);
    assert_int_equal(qcbmi_bitset_set(&set, 0, n, NULL), 0);
    assert_int_equal(mixed_chunks(&set), 0);
    assert_int_equal(qcbmi_bitset_clear(&set, 5, n, NULL), 0);
    assert_int_equal(mixed_chunks(&set), 1);
    assert_null(set.chunks[3]); /* the last chunk has 100 bits, all of them clear */
    assert_int_equal(qcbmi_bitset_set(&set, 0, CHUNK, NULL), 0);
    assert_int_equal(mixed_chunks(&set), 0);
    qcbmi_bitset_clear_all(&set);
    assert_int_equal(mixed_chunks(&set), 0);
    assert_int_equal(qcbmi_bitset_next_set(&set, 0), n);
    /* clearing what is clear, setting what is set */
    assert_int_equal(qcbmi_bitset_clear(&set, 7, 9, NULL), 0);
    assert_int_equal(mixed_chunks(&set), 0);
    qcbmi_bitset_free(&set);
}

static void filling_front_to_back_leaves_full_chunks(void **state)
{
    struct qcbmi_bitset set;
    const uint64_t n = 2 * CHUNK + 100;
    uint8_t ones[512];

    (void)state;
    assert_int_equal(qcbmi_bitset_init(&set, n, NULL), 0);
    for (uint64_t i = 0; i < n; i++)
        assert_int_equal(qcbmi_bitset_set(&set, i, i + 1, NULL), 0);
    assert_int_equal(mixed_chunks(&set), 0);
    assert_int_equal(qcbmi_bitset_count(&set), n);
    for (uint64_t i = 0; i + 10 <= n; i += 10)
        assert_int_equal(qcbmi_bitset_clear(&set, i, i + 10, NULL), 0);
    assert_int_equal(mixed_chunks(&set), 1); /* n is no multiple of 10 */
    qcbmi_bitset_clear_all(&set);
    memset(ones, 0xff, sizeof(ones));
    for (uint64_t i = 0; i < n / 8; i += sizeof(ones))
        assert_int_equal(qcbmi_bitset_store_bytes(&set, i, ones, sizeof(ones), NULL), 0);
    assert_int_equal(mixed_chunks(&set), 0);
    assert_int_equal(qcbmi_bitset_count(&set), n);
    qcbmi_bitset_free(&set);
}

static void or_that_completes_a_chunk_collapses_it(void **state)
{
    struct qcbmi_bitset a, b;

    (void)state;
    assert_int_equal(qcbmi_bitset_init(&a, 2 * CHUNK, NULL), 0);
    assert_int_equal(qcbmi_bitset_init(&b, 2 * CHUNK, NULL), 0);
    assert_int_equal(qcbmi_bitset_set(&a, 0, 1000, NULL), 0);
    assert_int_equal(qcbmi_bitset_set(&b, 1000, 2 * CHUNK, NULL), 0);
    assert_int_equal(qcbmi_bitset_or(&a, &b, NULL), 0);
    assert_int_equal(mixed_chunks(&a), 0);
    assert_int_equal(qcbmi_bitset_count(&a), 2 * CHUNK);
    assert_int_equal(qcbmi_bitset_or(&b, &b, NULL), 0);
    assert_int_equal(qcbmi_bitset_count(&b), 2 * CHUNK - 1000);
    qcbmi_bitset_free(&a);
    qcbmi_bitset_free(&b);
}

static void stored_uniform_chunks_take_no_memory_whatever_the_tail_bits(void **state)
{
    struct qcbmi_bitset set;
    uint8_t bytes[CHUNK_BYTES + 4];

    (void)state;
    assert_int_equal(qcbmi_bitset_init(&set, CHUNK + 11, NULL), 0);
    memset(bytes, 0xff, sizeof(bytes));
    assert_int_equal(qcbmi_bitset_store_bytes(&set, 0, bytes, sizeof(bytes), NULL), 0);
    assert_int_equal(mixed_chunks(&set), 0);
    assert_int_equal(qcbmi_bitset_count(&set), CHUNK + 11);
    memset(bytes, 0, sizeof(bytes));
    bytes[CHUNK_BYTES + 1] = 0xf8; /* bits 11.. are past the end */
    bytes[CHUNK_BYTES + 2] = 0xff;
    assert_int_equal(qcbmi_bitset_store_bytes(&set, 0, bytes, sizeof(bytes), NULL), 0);
    assert_int_equal(mixed_chunks(&set), 0);
    assert_int_equal(qcbmi_bitset_count(&set), 0);
    bytes[CHUNK_BYTES + 1] = 0xfc; /* bit 10 is the last one of the set */
    assert_int_equal(qcbmi_bitset_store_bytes(&set, 0, bytes, sizeof(bytes), NULL), 0);
    assert_int_equal(qcbmi_bitset_next_set(&set, 0), CHUNK + 10);
    assert_int_equal(qcbmi_bitset_count(&set), 1);
    qcbmi_bitset_load_bytes(&set, CHUNK_BYTES, bytes, 4);
    assert_memory_equal(bytes, "\x00\x04\x00\x00", 4);
    assert_int_equal(qcbmi_bitset_next_clear(&set, CHUNK + 10), CHUNK + 11);
    qcbmi_bitset_free(&set);
}

static void reads_past_the_end_see_nothing(void **state)
{
    static const uint8_t want[9] = { 0xff, 0xff, 0x0f };
    struct qcbmi_bitset set;
    uint8_t bytes[16];

    (void)state;
    assert_int_equal(qcbmi_bitset_init(&set, 20, NULL), 0);
    assert_int_equal(qcbmi_bitset_set(&set, 0, 20, NULL), 0);
    assert_false(qcbmi_bitset_get(&set, 20));
    assert_false(qcbmi_bitset_get(&set, UINT64_MAX));
    assert_int_equal(qcbmi_bitset_next_set(&set, 20), 20);
    assert_int_equal(qcbmi_bitset_next_set(&set, UINT64_MAX), 20);
    assert_int_equal(qcbmi_bitset_next_clear(&set, UINT64_MAX), 20);
    for (uint64_t at = 0; at < 5; at++) {
        memset(bytes, 0x5a, sizeof(bytes));
        qcbmi_bitset_load_bytes(&set, at, bytes, 4);
        assert_memory_equal(bytes, want + at, 4);
    }
    qcbmi_bitset_load_bytes(&set, UINT64_MAX - 1, bytes, 4);
    assert_memory_equal(bytes, "\0\0\0\0", 4);
    assert_int_equal(qcbmi_bitset_store_bytes(&set, UINT64_MAX - 1, bytes, 4, NULL), 0);
    assert_int_equal(qcbmi_bitset_store_bytes(&set, 3, bytes, 4, NULL), 0);
    assert_int_equal(qcbmi_bitset_count(&set), 20);
    qcbmi_bitset_free(&set);
}

static void the_largest_set_is_allowed_and_no_larger_one(void **state)
{
    struct qcbmi_bitset set;
    struct qcbm_error err = { 0 };
    const uint64_t n = QCBMI_BITSET_MAX_BITS;

    (void)state;
    assert_int_equal(qcbmi_bitset_init(&set, n + 1, &err), QCBM_E_LIMIT);
    assert_failure(QCBM_E_LIMIT, &err, QCBM_E_LIMIT, QCBM_NO_OFFSET, "68719476737");
    qcbmi_bitset_clear_all(&set);
    qcbmi_bitset_free(&set);
    assert_int_equal(qcbmi_bitset_init(&set, UINT64_MAX, &err), QCBM_E_LIMIT);
    qcbmi_bitset_free(&set);

    assert_int_equal(qcbmi_bitset_init(&set, n, NULL), 0);
    assert_int_equal(qcbmi_bitset_set(&set, 1, n - 1, NULL), 0);
    assert_int_equal(mixed_chunks(&set), 2);
    assert_int_equal(qcbmi_bitset_count(&set), n - 2);
    assert_int_equal(qcbmi_bitset_next_clear(&set, 1), n - 1);
    assert_int_equal(qcbmi_bitset_state(&set, 1, n - 1), QCBMI_BITS_SET);
    assert_int_equal(qcbmi_bitset_state(&set, 0, n), QCBMI_BITS_MIXED);
    qcbmi_bitset_free(&set);
}

static void words_are_set_as_bits_one_by_one(void **state)
{
    uint64_t seed = 4711, words[70];

    (void)state;
    for (size_t k = 0; k < sizeof(sizes) / sizeof(sizes[0]); k++) {
        struct pair p;

        pair_init(&p, sizes[k]);
        for (unsigned round = 0; round < 60; round++) {
            uint64_t first = next_random(&seed) % (sizes[k] / 64 + 2) * 64, n = next_random(&seed) % (70 * 64);
            unsigned kind = (unsigned)(next_random(&seed) % 4);

            for (size_t i = 0; i < 70; i++) /* all clear, few, a half, all set */
                words[i] = kind == 0   ? 0
                           : kind == 1 ? UINT64_C(1) << i % 64 & -(uint64_t)(i % 9 == 0)
                           : kind == 2 ? next_random(&seed)
                                       : UINT64_MAX;
            assert_int_equal(qcbmi_bitset_or_words(&p.set, first, words, n, NULL), 0);
            for (uint64_t i = 0; i < n && first + i < p.n; i++)
                p.naive[first + i] |= words[i / 64] >> i % 64 & 1;
            check_all(&p);
            if (round % 20 == 19) {
                qcbmi_bitset_clear_all(&p.set);
                memset(p.naive, 0, (size_t)p.n);
            }
        }
        pair_free(&p);
    }
}

static void free_takes_a_zeroed_struct_and_a_freed_one(void **state)
{
    struct qcbmi_bitset set = { 0 };

    (void)state;
    qcbmi_bitset_free(&set);
    assert_int_equal(qcbmi_bitset_init(&set, 100, NULL), 0);
    assert_int_equal(qcbmi_bitset_set(&set, 3, 4, NULL), 0);
    qcbmi_bitset_free(&set);
    qcbmi_bitset_free(&set);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_operations_equal_an_array_of_bool),
        cmocka_unit_test(a_set_that_gets_longer_has_nothing_new),
        cmocka_unit_test(few_bits_equal_an_array_of_bool),
        cmocka_unit_test(ranges_at_every_edge),
        cmocka_unit_test(uniform_chunks_take_no_memory),
        cmocka_unit_test(filling_front_to_back_leaves_full_chunks),
        cmocka_unit_test(or_that_completes_a_chunk_collapses_it),
        cmocka_unit_test(stored_uniform_chunks_take_no_memory_whatever_the_tail_bits),
        cmocka_unit_test(reads_past_the_end_see_nothing),
        cmocka_unit_test(the_largest_set_is_allowed_and_no_larger_one),
        cmocka_unit_test(words_are_set_as_bits_one_by_one),
        cmocka_unit_test(free_takes_a_zeroed_struct_and_a_freed_one),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
